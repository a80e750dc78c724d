//! EmberMQ without a server: leases and acknowledgements as calls.

use std::path::Path;

use embermq::{
    Broker, From, GroupName, GroupSettings, LeaseRequest, Options, Settlement, TopicName, Verdict,
};

use crate::Failure;
use crate::contest::{Consumer, WorkQueue};
use crate::ember::{WAIT, fill};

pub(crate) struct Embedded {
    broker: Broker,
    topic: TopicName,
}

impl Embedded {
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        let broker = Broker::open(dir.join("embedded"), Options::default())?;
        Ok(Self { broker, topic: "jobs".parse()? })
    }

    pub(crate) async fn close(self) {
        self.broker.shutdown().await;
    }
}

impl WorkQueue for Embedded {
    type Consumer = Task;

    async fn fill(&self, records: u32) -> Result<(), Failure> {
        fill(&self.broker, &self.topic, records).await
    }

    async fn consumer(&self) -> Result<Self::Consumer, Failure> {
        Ok(Task { broker: self.broker.clone(), topic: self.topic.clone() })
    }

    async fn open_group(&mut self, group: &str) -> Result<(), Failure> {
        let settings = GroupSettings::default();
        self.broker.create_group(&self.topic, &group.parse()?, settings, From::Start).await?;
        Ok(())
    }

    async fn close_group(&mut self, group: &str, _acknowledged: u32) -> Result<(), Failure> {
        Ok(self.broker.delete_group(&self.topic, &group.parse()?).await?)
    }
}

pub(crate) struct Task {
    broker: Broker,
    topic: TopicName,
}

impl Consumer for Task {
    async fn round(&mut self, group: &str, batch: u32) -> Result<u32, Failure> {
        lease_and_ack(&self.broker, &self.topic, &group.parse()?, batch).await
    }
}

/// Takes records and acknowledges each. How many there were.
pub(crate) async fn lease_and_ack(
    broker: &Broker,
    topic: &TopicName,
    group: &GroupName,
    batch: u32,
) -> Result<u32, Failure> {
    let wish = LeaseRequest { records_max: batch, wait: WAIT, ..LeaseRequest::new(topic, group) };
    let leases = broker.lease(wish).await?;
    let acks: Vec<Settlement> = leases.into_iter().map(|lease| Verdict::ack(lease.token)).collect();
    let mut acknowledged = 0;
    for result in broker.settle(topic, group, acks).await? {
        result?;
        acknowledged += 1;
    }
    Ok(acknowledged)
}
