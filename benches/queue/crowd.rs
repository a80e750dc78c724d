//! Producing to a topic that a crowd of groups reads.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use embermq::{
    Batch, Broker, Commit, From, GroupName, GroupSettings, Options, PartitionId, Record, TopicName,
    TopicSettings,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::embedded::lease_and_ack;
use crate::{Failure, RECORD_BYTES};

const IN_FLIGHT: usize = 256;

/// A broker with one topic, and groups on it.
pub(crate) struct Crowd {
    broker: Broker,
    topic: TopicName,
    batch: Batch,
    _dir: TempDir,
}

impl Crowd {
    /// Each group has acknowledged one record, so that it is more than a name.
    pub(crate) async fn open(dir: &Path, groups: usize) -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(dir)?;
        let broker = Broker::open(dir.path(), Options::default())?;
        let topic: TopicName = "load".parse()?;
        let batch = Batch::of(&[Record::new(vec![0x5a; RECORD_BYTES])]);
        broker.create_topic(&topic, TopicSettings::default()).await?;
        broker.commit(Commit::of_batch(&topic, PartitionId(0), batch.clone())).await?;
        let mut openings = JoinSet::new();
        for number in 0..groups {
            let (broker, topic) = (broker.clone(), topic.clone());
            openings.spawn(async move {
                let group: GroupName = format!("group-{number}").parse()?;
                let settings = GroupSettings::default();
                broker.create_group(&topic, &group, settings, From::Start).await?;
                lease_and_ack(&broker, &topic, &group, 1).await
            });
        }
        while let Some(opened) = openings.join_next().await {
            opened??;
        }
        Ok(Self { broker, topic, batch, _dir: dir })
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    pub(crate) async fn commits_per_second(&self, window: Duration) -> Result<f64, Failure> {
        let done = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let (broker, topic, batch) =
                (self.broker.clone(), self.topic.clone(), self.batch.clone());
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    broker.commit(Commit::of_batch(&topic, PartitionId(0), batch.clone())).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), Failure>(())
            });
        }
        tokio::time::sleep(window).await;
        let commits = done.load(Ordering::Relaxed);
        let seconds = start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
        Ok(commits as f64 / seconds)
    }

    pub(crate) async fn close(self) {
        self.broker.shutdown().await;
    }
}
