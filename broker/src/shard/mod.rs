//! One commit log with its state and its segments: the single-threaded heart of the broker.
//!
//! A shard reads no clock and starts no thread. Its shell (the committer thread, or a simulator) drives it:
//!
//! ```text
//! stage(request)*  decide, frame, apply, stage in the segments' buffers      nothing is visible or durable yet
//! write()          one vectored write of all frames to the commit log
//! segment writes   one write per touched partition; may run beside the sync
//! sync()           one fdatasync
//! publish()        what is durable becomes visible; the requests can be answered
//! ```
//!
//! Or, for a large group, `write_job()` in place of `write()` and `sync()`: another thread does both, commits of the next
//! group are staged meanwhile, and `written()` takes the result back before `publish()`.
//!
//! The state runs ahead of the sync, but nothing shows it: catalog, ends of partitions and answers are published
//! behind the sync only (behind the write for topics with durability `os`). If the sync fails, the shard is poisoned
//! and what it holds in memory is never shown. Work that takes long comes out as [`Job`]s for another thread.

mod compaction;
#[cfg(test)]
mod damage;
mod evidence;
#[cfg(test)]
mod full_disk;
mod group;
#[cfg(test)]
mod group_simulation;
mod jobs;
mod key_checks;
#[cfg(test)]
mod power;
mod recent_keys;
mod recovery;
mod retention;
#[cfg(test)]
mod schedule_simulation;
mod schedules;
#[cfg(test)]
mod simulation;
mod snapshot;
mod staging;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use embermq_protocol::names::TopicName;
use embermq_storage::commit_log::{CommitLog, FileLog, Group};
use embermq_storage::disk::Disk;
use embermq_storage::partition::PartitionLog;
use embermq_storage::segment::SegmentOptions;
use embermq_storage::snapshot::SnapshotStore;
use embermq_storage::{Entropy, Offset, Position, Timestamp};
use tokio::sync::Notify;

pub(crate) use jobs::{Done, Job};
#[cfg(test)]
pub(crate) use power::each_seed;
pub use recovery::RecoveryReport;

use crate::catalog::{Catalog, Topics};
use crate::error::CommitError;
use crate::frame::FrameHead;
use crate::metrics::{Metrics, TopicCounters};
use crate::options::Options;
use crate::schedule::Shown;
use crate::state::{Bounds, GroupId, State};
use crate::topic::{Partition, PartitionId, TopicEdit, TopicId, TopicSettings};

/// The bytes that a batch takes in a segment beside its own.
const BATCH_FRAMING_BYTES: u64 = 6;

/// A change of the catalog that somebody asked for.
#[derive(Clone, Debug)]
pub(crate) enum CatalogRequest {
    Create(TopicName, TopicSettings),
    Edit(TopicName, TopicEdit),
    Delete(TopicName),
    /// A partition begins here, or later.
    Trim(TopicId, PartitionId, Offset),
}

/// What a shard lives in.
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) entropy: Box<dyn Entropy>,
}

/// A commit log, its state and its segments.
pub(crate) struct Shard {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    entropy: Box<dyn Entropy>,
    options: Options,
    segment_options: SegmentOptions,
    bounds: Bounds,
    log: FileLog,
    state: State,
    slots: BTreeMap<TopicId, TopicSlot>,
    /// Topics as of the state; published behind the sync when they changed.
    topics: Topics,
    topics_changed: bool,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    group: Group,
    /// Takes the place of `group` while that is written elsewhere.
    spare_group: Group,
    head: FrameHead,
    scratch: Vec<u8>,
    /// Partitions with something staged whose writes were not taken yet.
    dirty: Vec<(TopicId, PartitionId)>,
    /// Partitions whose writes were taken, with something that is not published yet.
    taken: Vec<(TopicId, PartitionId)>,
    /// Partitions of deleted topics: their waiting readers are woken at the next publication.
    closing: Vec<Arc<Partition>>,
    jobs: VecDeque<Job>,
    /// Files that staged frames make superfluous: they may go only when those frames are durable.
    removals: Vec<Job>,
    snapshots: Arc<SnapshotStore>,
    snapshot_position: Position,
    snapshot_running: bool,
    /// Commits since the last snapshot was begun.
    unsnapped: u64,
    compaction: compaction::Progress,
    /// The end of the log behind the last frame that says something; what lies above is proof.
    said: Position,
    /// Work that needs space failed for want of it; it is tried again when some may have become free.
    short_of_space: bool,
    /// The last snapshot could not be written for want of space.
    snapshot_refused: bool,
    /// A commit was refused for want of space, and none was taken since.
    full: bool,
    /// There was no room in the log since the last snapshot was begun.
    log_full: bool,
    /// Groups that staged frames have changed, and those that written frames have changed since they were shown.
    groups_staged: BTreeSet<GroupId>,
    groups_changed: BTreeSet<GroupId>,
    /// Topics whose schedules staged frames have changed.
    schedules_staged: BTreeSet<TopicId>,
    /// Schedules as written frames have them, where that was not shown yet. None: the topic is deleted.
    schedules_written: BTreeMap<TopicId, Option<Shown>>,
    recent_keys: recent_keys::RecentKeys,
    poison: Option<String>,
    read_only: Option<Position>,
}

/// A topic's partitions, with the part of each that only the committer touches.
struct TopicSlot {
    counters: Arc<TopicCounters>,
    /// Woken when any partition is published.
    grown: Arc<Notify>,
    partitions: Vec<Slot>,
}

struct Slot {
    log: PartitionLog,
    view: Arc<Partition>,
    dirty: bool,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("dir", &self.dir)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// A job for another thread.
    pub(crate) fn next_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// True when an acknowledgement with durability `fsync` needs a sync first.
    pub(crate) fn unsynced(&self) -> bool {
        self.log.durable() < self.log.end()
    }

    /// Ends every promise: an I/O error was met.
    pub(crate) fn poison(&mut self, cause: &dyn std::fmt::Display) -> CommitError {
        let cause = self.poison.get_or_insert_with(|| {
            tracing::error!(%cause, "storage failed: nothing is acknowledged any more");
            cause.to_string()
        });
        CommitError::Poisoned { cause: cause.clone() }
    }

    fn poisoned_by(&mut self, cause: &dyn std::fmt::Display) -> CommitError {
        self.poison(cause)
    }

    fn alive(&self) -> Result<(), CommitError> {
        match &self.poison {
            Some(cause) => Err(CommitError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    fn writable(&self) -> Result<(), CommitError> {
        self.alive()?;
        match self.read_only {
            Some(position) => Err(CommitError::ReadOnly { position }),
            None => Ok(()),
        }
    }

    /// What it cannot do any more, and since when.
    pub(crate) fn health(&self) -> (Option<String>, Option<Position>) {
        (self.poison.clone(), self.read_only)
    }

    /// The time of the last frame; zero when there is none.
    pub(crate) const fn log_time(&self) -> Timestamp {
        self.state.time()
    }

    /// Start, durable position and end of the commit log.
    pub(crate) fn log_positions(&self) -> (Position, Position, Position) {
        (self.log.start(), self.log.durable(), self.log.end())
    }

    /// What idempotency keys take, and what producers take.
    pub(crate) const fn remembered_bytes(&self) -> (u64, u64) {
        self.state.remembered_bytes()
    }

    /// True when producing is refused for want of space.
    pub(crate) const fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes of log that are staged and not written yet.
    pub(crate) const fn staged_bytes(&self) -> u64 {
        self.group.bytes()
    }

    fn topic_dir(&self, id: TopicId) -> PathBuf {
        topics_dir(&self.dir).join(id.0.to_string())
    }
}

fn topics_dir(dir: &Path) -> PathBuf {
    dir.join("topics")
}

fn slot_mut(
    slots: &mut BTreeMap<TopicId, TopicSlot>,
    topic: TopicId,
    partition: PartitionId,
) -> Option<&mut Slot> {
    slots.get_mut(&topic)?.partitions.get_mut(partition.0 as usize)
}
