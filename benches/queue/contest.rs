//! What every queue must do to be measured, and how it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use embermq_benches::{SLICES, median, window};

use crate::{CONSUMERS, Failure, RECORDS};

/// A topic that many groups can read.
pub(crate) trait WorkQueue {
    /// A consumer with its connection.
    type Consumer: Consumer;

    /// Appends so many records.
    async fn fill(&self, records: u32) -> Result<(), Failure>;

    async fn consumer(&self) -> Result<Self::Consumer, Failure>;

    /// Makes a group that begins at the topic's start.
    async fn open_group(&mut self, group: &str) -> Result<(), Failure>;

    /// Takes a group away, and makes the topic as it was before.
    async fn close_group(&mut self, group: &str, acknowledged: u32) -> Result<(), Failure>;
}

/// One consumer.
pub(crate) trait Consumer: Send + 'static {
    /// Takes up to `batch` records, of which there are enough, and acknowledges each. How many were acknowledged.
    fn round(
        &mut self,
        group: &str,
        batch: u32,
    ) -> impl Future<Output = Result<u32, Failure>> + Send;
}

/// A queue with its consumers and what they have reached.
pub(crate) struct Contestant<Q: WorkQueue> {
    pub(crate) queue: Q,
    consumers: Vec<Q::Consumer>,
    groups: u32,
    rates: Vec<f64>,
}

impl<Q: WorkQueue> Contestant<Q> {
    pub(crate) async fn enter(queue: Q) -> Result<Self, Failure> {
        queue.fill(RECORDS).await?;
        Ok(Self { queue, consumers: Vec::new(), groups: 0, rates: Vec::new() })
    }

    /// Reads with a new group for one slice of the window, or until all records are done.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    pub(crate) async fn slice(&mut self, batch: u32, counts: bool) -> Result<(), Failure> {
        self.groups += 1;
        let group = format!("group-{}", self.groups);
        // Not earlier: a server closes a connection that says nothing while others are filled.
        while self.consumers.len() < CONSUMERS {
            self.consumers.push(self.queue.consumer().await?);
        }
        self.queue.open_group(&group).await?;
        let asked_for = Arc::new(AtomicU32::new(0));
        let start = Instant::now();
        let end = start + window() / SLICES;
        let mut tasks = Vec::new();
        for mut consumer in self.consumers.drain(..) {
            let (group, asked_for) = (group.clone(), Arc::clone(&asked_for));
            tasks.push(tokio::spawn(async move {
                let mut acknowledged = 0;
                while Instant::now() < end
                    && asked_for.fetch_add(batch, Ordering::Relaxed) + batch <= RECORDS
                {
                    acknowledged += consumer.round(&group, batch).await?;
                }
                Ok::<_, Failure>((consumer, acknowledged))
            }));
        }
        let mut acknowledged = 0;
        for task in tasks {
            let (consumer, its) = task.await??;
            self.consumers.push(consumer);
            acknowledged += its;
        }
        let seconds = start.elapsed().as_secs_f64();
        if counts {
            self.rates.push(f64::from(acknowledged) / seconds);
        }
        self.queue.close_group(&group, acknowledged).await
    }

    /// Acknowledged records per second, of the slices since this was last asked.
    pub(crate) fn rate(&mut self) -> f64 {
        median(std::mem::take(&mut self.rates))
    }
}
