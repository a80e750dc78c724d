//! The one writer.
//!
//! It takes everything that gathered while it was busy (a group), stages it, writes it, syncs once, publishes and
//! answers; then the next group. There is no timer in this: under load the sync itself is the clock.
//!
//! Who works it: see the page of `baton`. While a group that was written is synced, nobody does: the sync needs only the
//! file, so that a caller that asks for records of a group can be served at once, which waits for no sync.
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
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use embermq_storage::Timestamp;
use embermq_storage::commit_log::{SyncJob, Synced, WriteJob, Written};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::commit::{Commit, Committed};
use crate::courier::{Courier, Parcel, Pending};
use crate::error::CommitError;
use crate::keys::KeyFacts;
use crate::log_clock::LogClock;
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
    pub(crate) log_clock: Arc<LogClock>,
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
    /// Requests for records that are in the queue.
    pub(crate) grants_waiting: Arc<AtomicU32>,
    /// The group that the log writer has.
    pub(crate) flight: Option<Flight>,
    /// The group that was written, and is being synced.
    pub(crate) syncing: Option<Syncing>,
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
    /// `last`: the time of the last frame of the log. A clock that is far ahead of it has to prove itself before it makes records old.
    pub(crate) fn new(clock: &dyn Clock, last: Timestamp, retention_interval: Duration) -> Self {
        let (now, elapsed) = (clock.now(), clock.elapsed());
        let known = if last == Timestamp(0) { now } else { now.min(last) };
        Self {
            retention: elapsed + retention_interval,
            space: elapsed + NAP,
            steady: SteadyTime::new(known, elapsed),
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

/// A group that was written, and is being synced by whoever had the committer in hand.
pub(crate) struct Syncing {
    pending: Vec<Pending>,
    began: Duration,
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
        if self.is_busy() || !self.queue.is_idle() {
            return Err(Box::new((commit, endings, keys)));
        }
        let (answer, mut answered) = oneshot::channel();
        let arrived = self.clock.elapsed();
        self.arrived.push_back(Request::Commit { commit, endings, keys, arrived, answer });
        let (was_idle, was_synced) = (self.idle, self.unsynced_since.is_none());
        if let Some(job) = self.turn(Pace::Alone) {
            self.synced(job.run());
        }
        self.borrowed = true;
        if was_idle || (was_synced && self.unsynced_since.is_some()) {
            // The thread sleeps for longer than what is left to do can wait.
            self.queue.nudge();
        }
        Ok(answered.try_recv().unwrap_or(Err(CommitError::ShuttingDown)))
    }

    /// Grants records of a group in the thread of the caller, whatever is being synced; gives the request back when there
    /// is other work that it may not overtake. What is granted needs no sync.
    pub(crate) fn grant_here(
        &mut self,
        request: GroupRequest,
    ) -> Result<Result<Made, CommitError>, Box<GroupRequest>> {
        let unsaid = self.flight.is_some() || !self.arrived.is_empty() || !self.pending.is_empty();
        if unsaid
            || self.queue.is_closed()
            || self.shard.wants_quiet()
            || !self.shard.has_room_here()
        {
            return Err(Box::new(request));
        }
        let staged = self.shard.stage_group(&request, self.log_clock.stamp());
        let made = staged.and_then(|(made, _)| {
            self.shard.write().and_then(|()| self.write_segments()).map(|()| made)
        });
        if made.is_ok() {
            self.shard.publish(Durability::Os);
        }
        let first = self.shard.unsynced() && self.unsynced_since.is_none();
        if first {
            self.unsynced_since = Some(self.clock.elapsed());
        }
        self.borrowed = true;
        if self.idle || (first && self.os_sync_interval < IDLE) {
            // The thread sleeps for longer than what is left to do can wait.
            self.idle = false;
            self.queue.nudge();
        }
        Ok(made)
    }

    #[cfg(test)]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.pending.is_empty() && !self.is_busy() && self.queue.is_idle()
    }

    fn is_busy(&self) -> bool {
        self.flight.is_some() || self.syncing.is_some() || !self.arrived.is_empty()
    }

    /// One group, from what has arrived to its answers, to its take-off, or to its sync: that is for the caller to run, and
    /// to say what came of it ([`synced`](Self::synced)) before the next turn.
    #[must_use]
    pub(crate) fn turn(&mut self, pace: Pace) -> Option<SyncJob> {
        let nothing = self.arrived.is_empty() && self.pending.is_empty() && self.flight.is_none();
        let quiet = !std::mem::take(&mut self.borrowed) && nothing;
        let landed = if self.flight.is_some() {
            let written = self.stage_ahead()?;
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
        let job = self.commit_group(landed, pace);
        if job.is_none() {
            self.idle = quiet && self.flight.is_none() && self.rest();
            self.hand_out_jobs();
            self.report();
        }
        job
    }

    /// Goes on with the group of this sync.
    pub(crate) fn synced(&mut self, synced: Synced) {
        let outcome = self.shard.synced(synced);
        if let Some(Syncing { pending, began }) = self.syncing.take() {
            self.note_sync(began);
            self.end_in_line(pending, outcome, true);
        }
        self.idle = false;
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
        // A clock that is wrong for a moment leaves no trace where nothing is decided.
        if self.arrived.is_empty() {
            return;
        }
        let now = self.log_clock.stamp();
        while self.shard.staged_bytes() < GROUP_BYTES
            && let Some(request) = self.arrived.pop_front()
        {
            self.stage(request, now);
        }
    }

    /// Stages what has arrived until the group in flight has landed; then gives what came of it.
    fn stage_ahead(&mut self) -> Option<Result<Written, LogWriterGone>> {
        let mut now = None;
        loop {
            if let Some(written) = self.writer.ended() {
                return Some(written);
            }
            if !self.can_stage_ahead() {
                return None;
            }
            let request = self.arrived.pop_front()?;
            let now = *now.get_or_insert_with(|| self.log_clock.stamp());
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
                let Commit { appends: mut spent, scheduled, .. } = commit;
                spent.extend(scheduled.into_iter().map(|scheduled| scheduled.append));
                self.pending.push(Pending::Commit { result, arrived, answer, spent });
            }
            Request::Catalog { request, answer } => {
                let result = self.shard.stage_catalog(&request, now);
                self.pending.push(Pending::Catalog { result, answer });
            }
            Request::Group { request, answer } => {
                if matches!(request, GroupRequest::Grant { .. }) {
                    self.grants_waiting.fetch_sub(1, Ordering::AcqRel);
                }
                let result = self.shard.stage_group(&request, now);
                self.pending.push(Pending::Group { result, answer });
            }
            Request::Done(done) => self.shard.done(done),
        }
    }

    /// Commits what is staged, and answers the group before it.
    fn commit_group(&mut self, landed: Option<Landed>, pace: Pace) -> Option<SyncJob> {
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
                None
            }
            Ok(None) => {
                self.answer(landed);
                self.commit_in_line(pending, needs_sync)
            }
            Err(error) => {
                self.answer(landed);
                self.answer(Some(Landed { pending, outcome: Err(error) }));
                None
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

    /// Writes a group and answers it; one that has to be durable first is to be synced by the caller.
    fn commit_in_line(&mut self, mut pending: Vec<Pending>, needs_sync: bool) -> Option<SyncJob> {
        let written = self.shard.write().and_then(|()| self.write_segments());
        if written.is_err() || !needs_sync {
            self.end_in_line(pending, written, false);
            return None;
        }
        let os: Vec<Pending> = pending.extract_if(.., |pending| pending.is_os()).collect();
        if !os.is_empty() {
            self.shard.publish(Durability::Os);
            self.answer(Some(Landed { pending: os, outcome: Ok(()) }));
        }
        match self.shard.sync_job() {
            Ok(Some(job)) => {
                self.syncing = Some(Syncing { pending, began: self.clock.elapsed() });
                Some(job)
            }
            Ok(None) => {
                self.end_in_line(pending, Ok(()), true);
                None
            }
            Err(error) => {
                self.end_in_line(pending, Err(error), false);
                None
            }
        }
    }

    /// Publishes a group that was written, and synced where it had to be, and answers it.
    fn end_in_line(
        &mut self,
        pending: Vec<Pending>,
        outcome: Result<(), CommitError>,
        synced: bool,
    ) {
        // Others may have written while this was synced.
        let unsynced = self.shard.unsynced();
        if outcome.is_ok() {
            let durable = synced || !unsynced;
            self.shard.publish(if durable { Durability::Fsync } else { Durability::Os });
        }
        self.unsynced_since = match self.unsynced_since {
            _ if outcome.is_err() || !unsynced => None,
            Some(since) if !synced => Some(since),
            _ => Some(self.clock.elapsed()),
        };
        self.answer(Some(Landed { pending, outcome }));
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
        let (idempotency_bytes, producer_bytes) = self.shard.remembered_bytes();
        self.status.set(ShardStatus {
            poisoned,
            read_only,
            storage_full,
            log_start,
            log_durable,
            log_end,
            idempotency_bytes,
            producer_bytes,
        });
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
