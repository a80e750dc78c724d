//! The one thread that writes.
//!
//! It takes everything that gathered while it was busy (a group), stages it, writes it, syncs once, publishes and
//! answers; then the next group. There is no timer in this: under load the sync itself is the clock. Segment writes
//! run beside the sync on a second thread when they are large, else inline: a wake-up costs more than a small write.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use embermq_storage::Timestamp;
use embermq_storage::segment::SegmentWrite;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::commit::{Commit, Committed};
use crate::courier::{Courier, Parcel};
use crate::error::CommitError;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::shard::{CatalogRequest, Done, Shard};
use crate::status::{ShardStatus, StatusCell};
use crate::steady_time::SteadyTime;
use crate::topic::Durability;
use crate::workers::{BesideSync, Keeper};

/// Segment writes up to this size are made by the committer itself.
const INLINE_SEGMENT_BYTES: u64 = 64 << 10;

/// After so long without a commit the log is proven, so that rot in its last group can be told from a torn tail.
const IDLE: Duration = Duration::from_millis(50);

/// A group is written when it holds this much, even if more is waiting: nobody waits for a sync of seconds.
const GROUP_BYTES: u64 = 16 << 20;

/// The longest the committer sleeps when nothing happens.
const NAP: Duration = Duration::from_secs(1);

/// What the committer is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    Commit {
        commit: Commit,
        arrived: Duration,
        answer: oneshot::Sender<Answer>,
    },
    Catalog {
        request: CatalogRequest,
        answer: oneshot::Sender<Result<bool, CommitError>>,
    },
    /// A background job ended.
    Done(Done),
}

pub(crate) type Answer = Result<Committed, CommitError>;

/// An answer that waits for its group to be durable.
enum Pending {
    Commit {
        result: Answer,
        arrived: Duration,
        answer: oneshot::Sender<Answer>,
    },
    Catalog {
        result: Result<bool, CommitError>,
        answer: oneshot::Sender<Result<bool, CommitError>>,
    },
}

/// What the committer thread works with.
pub(crate) struct Committer {
    pub(crate) shard: Shard,
    pub(crate) queue: Arc<Queue<Request>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: Arc<StatusCell>,
    pub(crate) courier: Arc<Courier>,
    /// For jobs that the next groups will need soon.
    pub(crate) keeper: Keeper,
    /// For jobs that may take minutes.
    pub(crate) scribe: Keeper,
    pub(crate) beside: BesideSync,
    pub(crate) retention_interval: Duration,
    pub(crate) os_sync_interval: Duration,
    pub(crate) os_unsynced_bytes_max: u64,
}

impl Committer {
    /// Runs until the queue is closed and empty; then makes everything durable and takes a last snapshot.
    pub(crate) fn run(mut self) {
        let _bell = Bell { queue: Arc::clone(&self.queue), status: Arc::clone(&self.status) };
        let mut requests = Vec::new();
        let mut pending = Vec::new();
        let mut writes = Vec::new();
        let mut retention_due = self.clock.elapsed() + self.retention_interval;
        let mut space_due = self.clock.elapsed() + NAP;
        let mut idle = false;
        let mut unsynced_since = None;
        let mut steady = SteadyTime::new(self.clock.now(), self.clock.elapsed());
        loop {
            let patience = self.patience(idle, unsynced_since);
            if !self.queue.take(&mut requests, patience) {
                break;
            }
            let now = self.clock.now();
            let quiet = requests.is_empty();
            for request in requests.drain(..) {
                self.stage(request, now, &mut pending);
                if self.shard.staged_bytes() >= GROUP_BYTES {
                    self.commit_group(&mut pending, &mut writes, &mut unsynced_since);
                }
            }
            if self.clock.elapsed() >= retention_due {
                retention_due = self.clock.elapsed() + self.retention_interval;
                let age_now = steady.accept(now, self.clock.elapsed());
                if self.shard.stage_retention(age_now) {
                    // Its files may go only when it is durable, and nobody waits for that.
                    unsynced_since.get_or_insert(Duration::ZERO);
                }
            }
            if self.clock.elapsed() >= space_due {
                space_due = self.clock.elapsed() + NAP;
                self.shard.retry_space();
            }
            self.commit_group(&mut pending, &mut writes, &mut unsynced_since);
            idle = quiet && self.rest(idle, unsynced_since.is_some());
            self.hand_out_jobs();
            self.report();
        }
        self.close();
    }

    /// How long to wait for the next request.
    fn patience(&self, idle: bool, unsynced_since: Option<Duration>) -> Duration {
        if let Some(since) = unsynced_since {
            return (since + self.os_sync_interval)
                .saturating_sub(self.clock.elapsed())
                .max(Duration::from_millis(1));
        }
        if idle { NAP } else { IDLE }
    }

    /// Nothing came for a while: prove the tail of the log. True when all is proven.
    fn rest(&mut self, idle: bool, unsynced: bool) -> bool {
        idle || (!unsynced && self.shard.prove().is_ok())
    }

    fn stage(&mut self, request: Request, now: Timestamp, pending: &mut Vec<Pending>) {
        match request {
            Request::Commit { commit, arrived, answer } => {
                let result = self.shard.stage(&commit, now);
                pending.push(Pending::Commit { result, arrived, answer });
            }
            Request::Catalog { request, answer } => {
                let result = self.shard.stage_catalog(&request, now);
                pending.push(Pending::Catalog { result, answer });
            }
            Request::Done(done) => self.shard.done(done),
        }
    }

    fn commit_group(
        &mut self,
        pending: &mut Vec<Pending>,
        writes: &mut Vec<SegmentWrite>,
        unsynced_since: &mut Option<Duration>,
    ) {
        let mut outcome = self.shard.write();
        self.shard.take_writes(writes);
        let needs_sync =
            pending.iter().any(Pending::needs_sync) || self.sync_is_due(*unsynced_since);
        let bytes: u64 = writes.iter().map(SegmentWrite::bytes).sum();
        let beside = needs_sync && outcome.is_ok() && bytes > INLINE_SEGMENT_BYTES;
        if beside {
            self.beside.start(std::mem::take(writes));
        } else if outcome.is_ok() {
            outcome = self.write_segments(writes);
        }
        if outcome.is_ok() && !beside && needs_sync && pending.iter().any(Pending::is_os) {
            self.shard.publish(Durability::Os);
            self.answer(pending, Durability::Os, &Ok(()));
        }
        if needs_sync && outcome.is_ok() {
            outcome = self.sync();
        }
        if beside {
            let written = self.beside.finish();
            outcome = outcome.and_then(|()| written.map_err(|error| self.shard.poison(&error)));
        }
        writes.clear();
        if outcome.is_ok() {
            let synced = needs_sync || !self.shard.unsynced();
            self.shard.publish(if synced { Durability::Fsync } else { Durability::Os });
        }
        *unsynced_since = match *unsynced_since {
            _ if outcome.is_err() || !self.shard.unsynced() => None,
            Some(since) => Some(since),
            None => Some(self.clock.elapsed()),
        };
        self.answer(pending, Durability::Fsync, &outcome);
    }

    fn write_segments(&mut self, writes: &[SegmentWrite]) -> Result<(), CommitError> {
        for write in writes {
            write.run().map_err(|error| self.shard.poison(&error))?;
        }
        Ok(())
    }

    fn sync_is_due(&self, unsynced_since: Option<Duration>) -> bool {
        let (_, durable, end) = self.shard.log_positions();
        end.0 - durable.0 > self.os_unsynced_bytes_max
            || unsynced_since
                .is_some_and(|since| self.clock.elapsed() >= since + self.os_sync_interval)
    }

    fn sync(&mut self) -> Result<(), CommitError> {
        let before = self.clock.elapsed();
        let outcome = self.shard.sync();
        self.metrics.fsync.observe_duration(self.clock.elapsed().saturating_sub(before));
        outcome
    }

    /// Answers what `durability` suffices for; with `Fsync`, everything.
    fn answer(
        &self,
        pending: &mut Vec<Pending>,
        durability: Durability,
        outcome: &Result<(), CommitError>,
    ) {
        if pending.is_empty() {
            return;
        }
        let now = self.clock.elapsed();
        let mut committed = 0;
        let mut parcel = Parcel::with_capacity(pending.len());
        let answered = |waiting: &mut Pending| durability == Durability::Fsync || waiting.is_os();
        for waiting in pending.extract_if(.., answered) {
            match waiting {
                Pending::Commit { result, arrived, answer } => {
                    let result = outcome.clone().and(result);
                    committed += u32::from(self.note(&result, now.saturating_sub(arrived)));
                    parcel.push((answer, result));
                }
                Pending::Catalog { result, answer } => {
                    answer.send(outcome.clone().and(result)).ok();
                }
            }
        }
        self.courier.deliver(parcel);
        if committed > 0 {
            self.metrics.commits_per_group.observe_count(committed);
            self.metrics.commits.fetch_add(u64::from(committed), Ordering::Relaxed);
        }
    }

    /// Counts a commit's answer; true when it took effect.
    fn note(&self, answer: &Answer, waited: Duration) -> bool {
        match answer {
            Ok(committed) => {
                let histogram = match committed.durability {
                    Durability::Fsync => &self.metrics.append_fsync,
                    Durability::Os => &self.metrics.append_os,
                };
                histogram.observe_duration(waited);
            }
            Err(_) => {
                self.metrics.commits_refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer.is_ok()
    }

    fn hand_out_jobs(&mut self) {
        while let Some(job) = self.shard.next_job() {
            if job.is_long() { self.scribe.give(job) } else { self.keeper.give(job) }
        }
    }

    pub(crate) fn report(&self) {
        let (log_start, log_durable, log_end) = self.shard.log_positions();
        let (poisoned, read_only) = self.shard.health();
        let storage_full = self.shard.is_full();
        let status =
            ShardStatus { poisoned, read_only, storage_full, log_start, log_durable, log_end };
        self.status.set(status);
    }

    /// The last acts: everything durable, jobs done, one snapshot, so that the next start replays nothing.
    fn close(mut self) {
        if let Err(error) = self.shard.sync() {
            tracing::error!(%error, "could not make the end of the log durable");
            return;
        }
        self.shard.publish(Durability::Fsync);
        self.shard.stop_compaction();
        self.keeper.finish(&mut self.shard);
        self.scribe.finish(&mut self.shard);
        self.shard.close();
    }
}

/// Rings when the committer ends, above all when it panics: nobody may wait for it any more.
struct Bell {
    queue: Arc<Queue<Request>>,
    status: Arc<StatusCell>,
}

impl Drop for Bell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status.poison("the committer thread panicked".to_owned());
        }
        self.queue.close();
        // Those who asked are told by the loss of their answer's sender.
        let mut left = Vec::new();
        self.queue.take(&mut left, Duration::ZERO);
    }
}

impl Pending {
    fn needs_sync(&self) -> bool {
        match self {
            Self::Commit { result: Ok(committed), .. } => {
                committed.repeated || committed.durability == Durability::Fsync
            }
            Self::Commit { result: Err(_), .. } => false,
            Self::Catalog { result, .. } => matches!(result, Ok(true)),
        }
    }

    /// True for what can be answered before the sync. A refusal cannot: it may rest on a commit of this very group.
    const fn is_os(&self) -> bool {
        match self {
            Self::Commit { result: Ok(committed), .. } => {
                matches!(committed.durability, Durability::Os) && !committed.repeated
            }
            Self::Commit { result: Err(_), .. } | Self::Catalog { .. } => false,
        }
    }
}
