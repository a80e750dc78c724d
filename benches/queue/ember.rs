//! EmberMQ as a server: `:lease` and `:ack` over HTTP/1.1, in protobuf.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use embermq::http::{ServeOptions, Server};
use embermq::{Batch, Broker, Commit, Options, PartitionId, Record, TopicName, TopicSettings};
use embermq_benches::exchange::exchange;
use embermq_benches::wire::Wire;
use embermq_protocol::{media, paths, time, v1};
use prost::Message;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::contest::{Consumer, WorkQueue};
use crate::{FILL_BATCH, Failure, RECORD_BYTES};

const TOPIC: &str = "jobs";

/// Without a wait, a consumer that comes while another one is served gets nothing.
pub(crate) const WAIT: Duration = Duration::from_secs(10);

/// Appends records to the topic of a broker.
pub(crate) async fn fill(broker: &Broker, topic: &TopicName, records: u32) -> Result<(), Failure> {
    let record = Record::new(vec![0x5a; RECORD_BYTES]);
    let batch = Batch::of(&vec![record; FILL_BATCH as usize]);
    broker.create_topic(topic, TopicSettings::default()).await?;
    for _ in 0..records / FILL_BATCH {
        broker.commit(Commit::of_batch(topic, PartitionId(0), batch.clone())).await?;
    }
    Ok(())
}

/// The server in this process.
pub(crate) struct Ember {
    broker: Broker,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Ember {
    pub(crate) async fn start(dir: &Path) -> Result<Self, Failure> {
        let broker = Broker::open(dir.join("ember"), Options::default())?;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServeOptions { listen, ..ServeOptions::default() };
        let server = Server::bind(broker.clone(), options).await?;
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            stopped.await.ok();
        }));
        Ok(Self { broker, address, stop, running })
    }

    pub(crate) fn queue(&self) -> Result<EmberQueue, Failure> {
        let (broker, address) = (self.broker.clone(), self.address);
        Ok(EmberQueue { broker, address, topic: TOPIC.parse()? })
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop.send(()).ok();
        self.running.await?;
        self.broker.shutdown().await;
        Ok(())
    }
}

pub(crate) struct EmberQueue {
    broker: Broker,
    address: SocketAddr,
    topic: TopicName,
}

impl WorkQueue for EmberQueue {
    type Consumer = EmberConsumer;

    async fn fill(&self, records: u32) -> Result<(), Failure> {
        fill(&self.broker, &self.topic, records).await
    }

    async fn consumer(&self) -> Result<Self::Consumer, Failure> {
        Ok(EmberConsumer { wire: Wire::connect(self.address).await?, request: Vec::new() })
    }

    async fn open_group(&mut self, group: &str) -> Result<(), Failure> {
        let (settings, start) = (embermq::GroupSettings::default(), embermq::From::Start);
        self.broker.create_group(&self.topic, &group.parse()?, settings, start).await?;
        Ok(())
    }

    async fn close_group(&mut self, group: &str, _acknowledged: u32) -> Result<(), Failure> {
        Ok(self.broker.delete_group(&self.topic, &group.parse()?).await?)
    }
}

pub(crate) struct EmberConsumer {
    wire: Wire,
    request: Vec<u8>,
}

impl Consumer for EmberConsumer {
    async fn round(&mut self, group: &str, batch: u32) -> Result<u32, Failure> {
        let (max_records, wait) = (batch, Some(time::Duration::from(WAIT)));
        let wish = v1::LeaseRequest { max_records, wait, ..v1::LeaseRequest::default() };
        let answer = self.post(group, "lease", &wish).await?;
        let leases = v1::LeaseResponse::decode(answer)?.leases;
        let settlements = leases
            .into_iter()
            .map(|lease| v1::Settlement { lease: lease.token, decision: None })
            .collect();
        let acks = v1::SettleRequest { settlements, ..v1::SettleRequest::default() };
        let answer = self.post(group, "ack", &acks).await?;
        let results = v1::SettleResponse::decode(answer)?.results;
        if let Some(error) = results.iter().find_map(|result| result.error.as_ref()) {
            return Err(format!("not acknowledged: {error:?}").into());
        }
        Ok(u32::try_from(results.len())?)
    }
}

impl EmberConsumer {
    async fn post(
        &mut self,
        group: &str,
        verb: &str,
        message: &impl Message,
    ) -> Result<Bytes, Failure> {
        self.request.clear();
        let (topics, kind, count) = (paths::TOPICS, media::PROTOBUF, message.encoded_len());
        let head = format!(
            "POST {topics}/{TOPIC}/groups/{group}:{verb} HTTP/1.1\r\nHost: bench\r\n\
             Content-Type: {kind}\r\nAccept: {kind}\r\nContent-Length: {count}\r\n\r\n"
        );
        self.request.extend(head.bytes());
        message.encode(&mut self.request)?;
        exchange(&mut self.wire, &self.request).await
    }
}
