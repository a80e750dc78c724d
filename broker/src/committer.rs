//! The one writer.
//!
//! It takes everything that gathered while it was busy (a group), stages it, writes it, syncs once, publishes and
//! answers; then the next group. There is no timer in this: under load the sync itself is the clock.
//!
//! Who works it: see the page of `baton`.
//!
//! A large group is written to the log and synced by a second thread: it is in flight. Meanwhile the committer writes
//! its segments and stages the commits of the next group, which takes off as soon as this one has landed, so that
//! neither the disk nor the processor waits for the other. For a small group that would cost more, in wake-ups, than
//! it saves: it is done in line.
//!
//! ```text
//! log writer    | write, sync A   | write, sync B          | write, sync C
//! committer     | segments of A, stage B | answer A, segments of B, stage C | answer B, ..
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use embermq_storage::Timestamp;
use embermq_storage::commit_log::{WriteJob, Written};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::commit::{Commit, Committed};
use crate::courier::{Courier, Parcel, Pending};
use crate::error::CommitError;
use crate::keys::KeyFacts;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::shard::{CatalogRequest, Done, Shard};
use crate::state::{Endings, GroupRequest, Made};
use crate::status::{ShardStatus, StatusCell};
use crate::steady_time::SteadyTime;
use crate::topic::Durability;
use crate::workers::{Keeper, LogWriter, LogWriterGone};

/// Groups up to this size are written and synced in line.
const INLINE_GROUP_BYTES: u64 = 48 << 10;

/// So many requests wake the committer while a group is in flight, to stage them ahead.
const AHEAD: usize = 32;

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
        /// Of the leases that it settles.
        endings: Endings,
        /// What it has to do with keys.
        keys: KeyFacts,
        arrived: Duration,
        answer: oneshot::Sender<Answer>,
    },
    Catalog {
        request: CatalogRequest,
        answer: oneshot::Sender<Result<bool, CommitError>>,
    },
    Group {
        request: GroupRequest,
        answer: oneshot::Sender<Result<Made, CommitError>>,
    },
    /// A background job ended.
    Done(Done),
}

pub(crate) type Answer = Result<Committed, CommitError>;

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
    pub(crate) writer: LogWriter,
    pub(crate) retention_interval: Duration,
    pub(crate) os_sync_interval: Duration,
    pub(crate) os_unsynced_bytes_max: u64,
    /// Taken from the queue, not staged yet, in order.
    pub(crate) arrived: VecDeque<Request>,
    /// What is staged waits here for its answer.
    pub(crate) pending: Vec<Pending>,
    /// Since when something is written that nobody asked to be durable.
    pub(crate) unsynced_since: Option<Duration>,
    /// The group that the log writer has.
    pub(crate) flight: Option<Flight>,
    /// Nothing came for a while, and the tail of the log is proven.
    pub(crate) idle: bool,
    /// Something was just answered: whoever got it may ask again at once.
    pub(crate) eager: bool,
    /// A caller had a turn since the thread last looked.
    pub(crate) borrowed: bool,
    pub(crate) due: Due,
}

/// When work is due that nobody asks for.
#[derive(Debug)]
pub(crate) struct Due {
    retention: Duration,
    space: Duration,
    steady: SteadyTime,
}

impl Due {
    pub(crate) fn new(clock: &dyn Clock, retention_interval: Duration) -> Self {
        let elapsed = clock.elapsed();
        Self {
            retention: elapsed + retention_interval,
            space: elapsed + NAP,
            steady: SteadyTime::new(clock.now(), elapsed),
        }
    }
}

/// A group that the log writer has.
pub(crate) struct Flight {
    pending: Vec<Pending>,
    began: Duration,
    /// What came of its segments.
    segments: Result<(), CommitError>,
}

/// Who waits for a turn to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Its only caller: it ends with the answer.
    Alone,
    /// The next group gathers meanwhile.
    Gathering,
}

/// A group that can be answered.
struct Landed {
    pending: Vec<Pending>,
    outcome: Result<(), CommitError>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl Committer {
    /// Commits in the thread of the caller; gives the commit back when there is other work.
    pub(crate) fn commit_alone(
        &mut self,
        commit: Commit,
        endings: Endings,
        keys: KeyFacts,
    ) -> Result<Answer, Box<(Commit, Endings, KeyFacts)>> {
        if self.flight.is_some() || !self.arrived.is_empty() || !self.queue.is_idle() {
            return Err(Box::new((commit, endings, keys)));
        }
        let (answer, mut answered) = oneshot::channel();
        let arrived = self.clock.elapsed();
        self.arrived.push_back(Request::Commit { commit, endings, keys, arrived, answer });
        let (was_idle, was_synced) = (self.idle, self.unsynced_since.is_none());
        self.turn(Pace::Alone);
        self.borrowed = true;
        if was_idle || (was_synced && self.unsynced_since.is_some()) {
            // The thread sleeps for longer than what is left to do can wait.
            self.queue.nudge();
        }
        Ok(answered.try_recv().unwrap_or(Err(CommitError::ShuttingDown)))
    }

    /// One group, from what has arrived to its answers, or to its take-off.
    pub(crate) fn turn(&mut self, pace: Pace) {
        let nothing = self.arrived.is_empty() && self.pending.is_empty() && self.flight.is_none();
        let quiet = !std::mem::take(&mut self.borrowed) && nothing;
        let landed = if self.flight.is_some() {
            let Some(written) = self.stage_ahead() else { return };
            self.land(written)
        } else {
            None
        };
        // What was staged ahead takes off as it is: the log must not wait for more.
        if self.pending.is_empty() {
            self.stage_arrived();
        }
        self.stage_what_is_due();
        self.eager = !self.pending.is_empty();
        self.commit_group(landed, pace);
        self.idle = quiet && self.flight.is_none() && self.rest();
        self.hand_out_jobs();
        self.report();
    }

    fn stage_what_is_due(&mut self) {
        let elapsed = self.clock.elapsed();
        if elapsed >= self.due.retention {
            self.due.retention = elapsed + self.retention_interval;
            let age_now = self.due.steady.accept(self.clock.now(), elapsed);
            if self.shard.stage_retention(age_now) {
                // Its files may go only when it is durable, and nobody waits for that.
                self.unsynced_since.get_or_insert(Duration::ZERO);
            }
        }
        if elapsed >= self.due.space {
            self.due.space = elapsed + NAP;
            self.shard.retry_space();
        }
    }

    /// How long to wait for a request, when there is nothing to do without one.
    pub(crate) fn wants_more(&self) -> Option<Duration> {
        let nothing = self.arrived.is_empty() && self.pending.is_empty() && self.flight.is_none();
        nothing.then(|| self.patience())
    }

    /// Takes what has arrived, and waits for the group in flight where there is nothing to do but that. False when all is
    /// done and nothing more will come.
    pub(crate) fn gather(&mut self) -> bool {
        if self.flight.is_none() {
            return self.queue.take(&mut self.arrived) || !self.pending.is_empty();
        }
        match (self.can_stage_ahead(), self.arrived.is_empty()) {
            (true, true) => self.queue.gather(&mut self.arrived, AHEAD),
            (true, false) => {}
            (false, _) => self.queue.gather(&mut self.arrived, usize::MAX),
        }
        true
    }

    /// How long to wait for the next request.
    fn patience(&self) -> Duration {
        if let Some(since) = self.unsynced_since {
            return (since + self.os_sync_interval)
                .saturating_sub(self.clock.elapsed())
                .max(Duration::from_millis(1));
        }
        if self.idle { NAP } else { IDLE }
    }

    /// Nothing came for a while: prove the tail of the log. True when all is proven.
    fn rest(&mut self) -> bool {
        self.idle || (self.unsynced_since.is_none() && self.shard.prove().is_ok())
    }

    /// Stages what has arrived, up to a full group.
    fn stage_arrived(&mut self) {
        let now = self.clock.now();
        while self.shard.staged_bytes() < GROUP_BYTES
            && let Some(request) = self.arrived.pop_front()
        {
            self.stage(request, now);
        }
    }

    /// Stages what has arrived until the group in flight has landed; then gives what came of it.
    fn stage_ahead(&mut self) -> Option<Result<Written, LogWriterGone>> {
        let now = self.clock.now();
        loop {
            if let Some(written) = self.writer.ended() {
                return Some(written);
            }
            if !self.can_stage_ahead() {
                return None;
            }
            let request = self.arrived.pop_front()?;
            self.stage(request, now);
        }
    }

    /// Changes of the catalog and ends of jobs have to find the group before them published, and so does a snapshot.
    fn can_stage_ahead(&self) -> bool {
        let commits = self
            .arrived
            .front()
            .is_none_or(|r| matches!(r, Request::Commit { .. } | Request::Group { .. }));
        commits && !self.shard.wants_quiet() && self.shard.staged_bytes() < GROUP_BYTES
    }

    fn stage(&mut self, request: Request, now: Timestamp) {
        match request {
            Request::Commit { commit, endings, keys, arrived, answer } => {
                let result = self.shard.stage_commit(&commit, &endings, &keys, now);
                self.pending.push(Pending::Commit {
                    result,
                    arrived,
                    answer,
                    spent: commit.appends,
                });
            }
            Request::Catalog { request, answer } => {
                let result = self.shard.stage_catalog(&request, now);
                self.pending.push(Pending::Catalog { result, answer });
            }
            Request::Group { request, answer } => {
                let result = self.shard.stage_group(&request, now);
                self.pending.push(Pending::Group { result, answer });
            }
            Request::Done(done) => self.shard.done(done),
        }
    }

    /// Commits what is staged, and answers the group before it.
    fn commit_group(&mut self, landed: Option<Landed>, pace: Pace) {
        let room = Vec::with_capacity(self.pending.len());
        let pending = std::mem::replace(&mut self.pending, room);
        let needs_sync = pending.iter().any(Pending::needs_sync) || self.sync_is_due();
        let job = match pace {
            Pace::Alone => Ok(None),
            Pace::Gathering => self.take_off(&pending, needs_sync, landed.is_some()),
        };
        match job {
            Ok(Some(job)) => {
                self.writer.start(job);
                let began = self.clock.elapsed();
                self.answer(landed);
                let segments = self.write_segments();
                self.flight = Some(Flight { pending, began, segments });
            }
            Ok(None) => {
                self.answer(landed);
                self.commit_in_line(pending, needs_sync);
            }
            Err(error) => {
                self.answer(landed);
                self.answer(Some(Landed { pending, outcome: Err(error) }));
            }
        }
    }

    /// The work of the log writer, for a group that is worth it: a large one, or one behind another (`busy`).
    fn take_off(
        &mut self,
        pending: &[Pending],
        needs_sync: bool,
        busy: bool,
    ) -> Result<Option<WriteJob>, CommitError> {
        let small = !busy && self.shard.staged_bytes() <= INLINE_GROUP_BYTES;
        // What needs no sync is answered between the write and the sync, which only the committer can do.
        if small || !needs_sync || pending.iter().any(Pending::is_os) {
            return Ok(None);
        }
        self.shard.write_job()
    }

    /// Takes the group in flight back.
    fn land(&mut self, written: Result<Written, LogWriterGone>) -> Option<Landed> {
        let Flight { pending, began, segments } = self.flight.take()?;
        let written = match written {
            Ok(written) => self.shard.written(written),
            Err(gone) => Err(self.shard.poison(&gone)),
        };
        self.note_sync(began);
        let outcome = segments.and(written);
        if outcome.is_ok() {
            self.shard.publish(Durability::Fsync);
            self.unsynced_since = None;
        }
        Some(Landed { pending, outcome })
    }

    fn answer(&self, landed: Option<Landed>) {
        let Some(Landed { pending, outcome }) = landed else { return };
        if !pending.is_empty() {
            self.courier.deliver(Parcel { pending, outcome, landed: self.clock.elapsed() });
        }
    }

    /// Writes a group, syncs it if it has to be, and answers it.
    fn commit_in_line(&mut self, mut pending: Vec<Pending>, needs_sync: bool) {
        let outcome = self.write_in_line(&mut pending, needs_sync);
        if outcome.is_ok() {
            let synced = needs_sync || !self.shard.unsynced();
            self.shard.publish(if synced { Durability::Fsync } else { Durability::Os });
        }
        self.unsynced_since = match self.unsynced_since {
            _ if outcome.is_err() || !self.shard.unsynced() => None,
            Some(since) => Some(since),
            None => Some(self.clock.elapsed()),
        };
        self.answer(Some(Landed { pending, outcome }));
    }

    fn write_in_line(
        &mut self,
        pending: &mut Vec<Pending>,
        needs_sync: bool,
    ) -> Result<(), CommitError> {
        self.shard.write()?;
        self.write_segments()?;
        if !needs_sync {
            return Ok(());
        }
        let os: Vec<Pending> = pending.extract_if(.., |pending| pending.is_os()).collect();
        if !os.is_empty() {
            self.shard.publish(Durability::Os);
            self.answer(Some(Landed { pending: os, outcome: Ok(()) }));
        }
        let began = self.clock.elapsed();
        let outcome = self.shard.sync();
        self.note_sync(began);
        outcome
    }

    fn write_segments(&mut self) -> Result<(), CommitError> {
        let mut writes = Vec::new();
        self.shard.take_writes(&mut writes);
        for write in &writes {
            write.run().map_err(|error| self.shard.poison(&error))?;
        }
        Ok(())
    }

    fn sync_is_due(&self) -> bool {
        let (_, durable, end) = self.shard.log_positions();
        end.0 - durable.0 > self.os_unsynced_bytes_max
            || self
                .unsynced_since
                .is_some_and(|since| self.clock.elapsed() >= since + self.os_sync_interval)
    }

    fn note_sync(&self, began: Duration) {
        self.metrics.fsync.observe_duration(self.clock.elapsed().saturating_sub(began));
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
    pub(crate) fn close(mut self) {
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
