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
//! The state runs ahead of the sync, but nothing shows it: catalog, ends of partitions and answers are published
//! behind the sync only (behind the write for topics with durability `os`). If the sync fails, the shard is poisoned
//! and what it holds in memory is never shown. Work that takes long comes out as [`Job`]s for another thread.

mod compaction;
#[cfg(test)]
mod damage;
mod evidence;
mod jobs;
mod recovery;
mod retention;
#[cfg(test)]
mod simulation;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use embermq_protocol::names::TopicName;
use embermq_storage::commit_log::{
    CommitLog, FRAME_HEAD_BYTES, FileLog, Group, LogError, WriteJob, Written,
};
use embermq_storage::disk::Disk;
use embermq_storage::partition::{PartitionLog, PartitionManifest};
use embermq_storage::segment::{PartitionIdentity, SegmentError, SegmentOptions, SegmentWrite};
use embermq_storage::snapshot::SnapshotStore;
use embermq_storage::{Entropy, Offset, Position, Timestamp};

pub(crate) use jobs::{Done, Job};
pub use recovery::RecoveryReport;

use crate::catalog::{Catalog, Topics};
use crate::commit::{Appended, Commit, Committed};
use crate::error::CommitError;
use crate::frame::FrameHead;
use crate::metrics::{Metrics, TopicCounters};
use crate::options::Options;
use crate::state::{Decision, Effect, State, Windows};
use crate::topic::{Durability, Partition, PartitionId, Topic, TopicEdit, TopicId, TopicSettings};

/// A snapshot is taken after this many commits at the latest, however small: replaying one takes about a microsecond.
const SNAPSHOT_COMMITS: u64 = 400_000;

/// The bytes that a batch takes in a segment beside its own.
const BATCH_FRAMING_BYTES: u64 = 6;

/// A change of the catalog that somebody asked for.
#[derive(Clone, Debug)]
pub(crate) enum CatalogRequest {
    Create(TopicName, TopicSettings),
    Edit(TopicName, TopicEdit),
    Delete(TopicName),
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
    windows: Windows,
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
    poison: Option<String>,
    read_only: Option<Position>,
}

/// A topic's partitions, with the part of each that only the committer touches.
struct TopicSlot {
    counters: Arc<TopicCounters>,
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
    /// Decides on a commit and stages it. The answer counts only after [`publish`](Self::publish).
    pub(crate) fn stage(
        &mut self,
        commit: &Commit,
        now: Timestamp,
    ) -> Result<Committed, CommitError> {
        self.writable()?;
        let mut head = std::mem::take(&mut self.head);
        let decision = self.state.decide(commit, now, self.windows, &mut head);
        let result = match decision {
            Ok(Decision::Frame(durability)) => self
                .stage_appends(commit, &head)
                .map(|position| answer(commit, &head, position, durability)),
            Ok(Decision::Repeat(original)) => Ok(original),
            Err(refusal) => Err(refusal),
        };
        self.head = head;
        result
    }

    fn stage_appends(
        &mut self,
        commit: &Commit,
        head: &FrameHead,
    ) -> Result<Position, CommitError> {
        let payload_bytes = head.payload_bytes();
        if payload_bytes > self.options.commit_bytes_max {
            let limit = self.options.commit_bytes_max;
            return Err(CommitError::TooLarge { bytes: payload_bytes, limit });
        }
        self.make_log_room(payload_bytes)?;
        self.reserve(head)?;
        let bodies =
            commit.appends.iter().map(|append| (&append.batch.body, append.batch.body_crc));
        let position = self.frame(head, bodies)?;
        for (append, source) in head.appends.iter().zip(&commit.appends) {
            let (body, crc) = (&source.batch.body, source.batch.body_crc);
            self.stage_batch(head, append, body, crc);
        }
        self.full = false;
        Ok(position)
    }

    /// Puts the frame into the group and the state; gives its position.
    fn frame<'a>(
        &mut self,
        head: &FrameHead,
        bodies: impl Iterator<Item = (&'a Bytes, u32)>,
    ) -> Result<Position, CommitError> {
        let position = Position(self.log.end().0 + self.group.bytes());
        head.encode(&mut self.scratch, bodies, &mut self.group);
        self.unsnapped += 1;
        match self.state.apply(head, position) {
            Ok(effect) => {
                self.follow(effect).map_err(|error| self.poisoned_by(&error))?;
                Ok(position)
            }
            // The state decided on this frame itself a moment ago: they cannot disagree unless the program is wrong.
            Err(error) => Err(self.poisoned_by(&error)),
        }
    }

    fn stage_batch(
        &mut self,
        head: &FrameHead,
        append: &crate::frame::FrameAppend,
        body: &Bytes,
        crc: u32,
    ) {
        let (topic, partition) = (TopicId(append.topic), PartitionId(append.partition));
        let Some(topic_slot) = self.slots.get_mut(&topic) else { return };
        let counters = &topic_slot.counters;
        counters.records_in.fetch_add(u64::from(append.record_count), Ordering::Relaxed);
        counters.bytes_in.fetch_add(append.body_bytes, Ordering::Relaxed);
        let Some(slot) = topic_slot.partitions.get_mut(partition.0 as usize) else { return };
        slot.log.stage(&head.batch_head(append), body, crc);
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push((topic, partition));
        }
    }

    /// Makes room in the log for one more frame of this group.
    fn make_log_room(&mut self, payload_bytes: u64) -> Result<(), CommitError> {
        let needed = self.group.bytes() + payload_bytes + FRAME_HEAD_BYTES + 8;
        loop {
            match self.log.ensure(needed) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_retryable() => {
                    if !self.drop_spare() {
                        let detail = format!("the commit log needs {needed} more");
                        return Err(self.storage_full(detail));
                    }
                }
                Err(error) => return Err(self.poisoned_by(&error)),
            }
        }
    }

    /// Gives back the space of log files that were kept to be used again. True when there is more room now.
    fn drop_spare(&mut self) -> bool {
        self.log.drop_spare().unwrap_or_else(|error| {
            tracing::warn!(%error, "files of the commit log that are not in use could not be removed");
            false
        })
    }

    /// Makes room in the segments for every append of a frame, or refuses with nothing changed.
    fn reserve(&mut self, head: &FrameHead) -> Result<(), CommitError> {
        let time = Timestamp(head.time_us);
        for (index, append) in head.appends.iter().enumerate() {
            let place = (append.topic, append.partition);
            let same = |other: &&crate::frame::FrameAppend| (other.topic, other.partition) == place;
            // The first append to a partition reserves for all of them.
            if head.appends.iter().take(index).any(|other| same(&other)) {
                continue;
            }
            let rest = head.appends.iter().skip(index).filter(same);
            let bytes = rest.map(|append| append.batch_bytes() + BATCH_FRAMING_BYTES).sum();
            self.reserve_in(TopicId(append.topic), PartitionId(append.partition), bytes, time)?;
        }
        Ok(())
    }

    fn reserve_in(
        &mut self,
        topic: TopicId,
        partition: PartitionId,
        bytes: u64,
        time: Timestamp,
    ) -> Result<(), CommitError> {
        loop {
            let Some(slot) = slot_mut(&mut self.slots, topic, partition) else { return Ok(()) };
            match slot.log.reserve(bytes, time, &mut *self.entropy) {
                Ok(()) => return Ok(()),
                Err(SegmentError::Full { needed_bytes, .. }) => {
                    if !self.drop_spare() {
                        let detail = format!("a segment needs {needed_bytes} more");
                        return Err(self.storage_full(detail));
                    }
                }
                Err(error) => return Err(self.poisoned_by(&error)),
            }
        }
    }

    fn storage_full(&mut self, detail: String) -> CommitError {
        self.full = true;
        let free_bytes = self.disk.free_bytes(&self.dir).unwrap_or(0);
        CommitError::StorageFull { free_bytes, detail }
    }

    /// Decides on a change of the catalog and stages it. `Ok(false)`: nothing had to change.
    pub(crate) fn stage_catalog(
        &mut self,
        request: &CatalogRequest,
        now: Timestamp,
    ) -> Result<bool, CommitError> {
        self.writable()?;
        let head = match request {
            CatalogRequest::Create(name, settings) => {
                self.state.decide_create(name, settings, now)?
            }
            CatalogRequest::Edit(name, edit) => self.state.decide_edit(name, edit, now)?,
            CatalogRequest::Delete(name) => Some(self.state.decide_delete(name, now)?),
        };
        let Some(head) = head else { return Ok(false) };
        if matches!(request, CatalogRequest::Delete(_)) {
            // What makes room must not fail for want of it.
            self.log.set_use_reserve(true);
        }
        self.make_log_room(head.payload_bytes())?;
        self.frame(&head, std::iter::empty())?;
        Ok(true)
    }

    /// Does what an applied frame asks of the shell. The same for live frames and for replayed ones.
    fn follow(&mut self, effect: Effect) -> Result<(), SegmentError> {
        match effect {
            Effect::Appended => {}
            Effect::Created(id) | Effect::Edited(id) => {
                self.open_partitions(id, |_| None)?;
                self.show(id);
            }
            Effect::Deleted(id) => {
                if let Some(slot) = self.slots.remove(&id) {
                    self.closing.extend(slot.partitions.into_iter().map(|slot| slot.view));
                }
                let name =
                    self.topics.values().find(|topic| topic.id == id).map(|t| t.name.clone());
                name.map(|name| self.topics.remove(&name));
                self.topics_changed = true;
                self.dirty.retain(|(topic, _)| *topic != id);
                self.taken.retain(|(topic, _)| *topic != id);
                self.removals.push(Job::RemoveTopic(self.topic_dir(id)));
            }
            Effect::Trimmed(id, partition, start) => {
                if let Some(slot) = slot_mut(&mut self.slots, id, partition) {
                    let removed = slot.log.trim(start);
                    self.removals.extend(removed.into_iter().map(Job::RemoveSegment));
                }
            }
        }
        Ok(())
    }

    /// Opens the logs of the partitions that a topic has and that are not open yet.
    fn open_partitions(
        &mut self,
        id: TopicId,
        mut manifest: impl FnMut(PartitionId) -> Option<PartitionManifest>,
    ) -> Result<(), SegmentError> {
        let Some(topic) = self.state.topic(id) else { return Ok(()) };
        let dir = self.topic_dir(id);
        let slot = self.slots.entry(id).or_insert_with(|| TopicSlot {
            counters: Arc::default(),
            partitions: Vec::with_capacity(topic.partitions.len()),
        });
        for number in slot.partitions.len()..topic.partitions.len() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let identity = PartitionIdentity { topic: topic.name.to_string(), partition: number };
            let dir = dir.join(number.to_string());
            let (disk, options) = (Arc::clone(&self.disk), self.segment_options.clone());
            let log = match manifest(PartitionId(number)) {
                Some(manifest) => PartitionLog::recover(disk, dir, identity, options, &manifest)?,
                None => PartitionLog::create(disk, dir, identity, options, Offset(0))?,
            };
            let view = Arc::new(Partition::new(log.reader()));
            slot.partitions.push(Slot { log, view, dirty: false });
        }
        Ok(())
    }

    /// Puts a topic, as the state has it, where readers will find it.
    fn show(&mut self, id: TopicId) {
        let (Some(topic), Some(slot)) = (self.state.topic(id), self.slots.get(&id)) else { return };
        let view = Topic {
            id,
            name: topic.name.clone(),
            settings: topic.settings.clone(),
            created: topic.created,
            partitions: slot.partitions.iter().map(|slot| Arc::clone(&slot.view)).collect(),
            counters: Arc::clone(&slot.counters),
        };
        self.topics.insert(topic.name.clone(), Arc::new(view));
        self.topics_changed = true;
    }

    /// Writes the staged frames to the commit log. Not durable yet.
    pub(crate) fn write(&mut self) -> Result<(), CommitError> {
        self.alive()?;
        if self.group.frames() == 0 {
            return Ok(());
        }
        let expected = self.log.end();
        let written = self.log.append(expected, &mut self.group);
        self.group.clear();
        self.log.set_use_reserve(false);
        self.said = written.map_err(|error| self.poisoned_by(&error))?;
        Ok(())
    }

    /// The writing and syncing of the staged frames, for another thread; [`written`](Self::written) must follow before
    /// the next write. Commits (and only those) may be staged meanwhile, unless [`wants_quiet`](Self::wants_quiet).
    /// `None` when the group has to be written in line.
    pub(crate) fn write_job(&mut self) -> Result<Option<WriteJob>, CommitError> {
        self.alive()?;
        let expected = self.log.end();
        let job = self.log.write_job(expected, &mut self.group);
        let job = job.map_err(|error| self.poisoned_by(&error))?;
        if job.is_some() {
            self.group = std::mem::take(&mut self.spare_group);
            self.log.set_use_reserve(false);
            self.said = self.log.end();
        }
        Ok(job)
    }

    /// Takes the result of a [`WriteJob`]: its frames are durable.
    pub(crate) fn written(&mut self, written: Written) -> Result<(), CommitError> {
        self.alive()?;
        let group = self.log.written(written);
        self.spare_group = group.map_err(|error| self.poisoned_by(&error))?;
        Ok(())
    }

    /// Takes the staged segment writes; each must have run before [`publish`](Self::publish).
    pub(crate) fn take_writes(&mut self, out: &mut Vec<SegmentWrite>) {
        for (topic, partition) in &self.dirty {
            if let Some(slot) = slot_mut(&mut self.slots, *topic, *partition) {
                slot.log.take_writes(out);
                slot.dirty = false;
            }
        }
        self.taken.append(&mut self.dirty);
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), CommitError> {
        self.alive()?;
        if self.log.durable() == self.log.end() {
            return Ok(());
        }
        self.log.sync().map(|_| ()).map_err(|error| self.poisoned_by(&error))
    }

    /// True when the next publication begins a snapshot: it must find nothing staged behind it.
    pub(crate) fn wants_quiet(&self) -> bool {
        self.snapshot_is_due()
    }

    /// Makes visible what an acknowledgement of `durability` may show: behind the write only the partitions of
    /// topics with durability `os`, behind the sync everything. Only what was written; not what is staged behind it.
    pub(crate) fn publish(&mut self, durability: Durability) {
        let mut taken = std::mem::take(&mut self.taken);
        taken.retain(|(topic, partition)| {
            if durability == Durability::Os && !self.is_os(*topic) {
                return true;
            }
            if let Some(slot) = slot_mut(&mut self.slots, *topic, *partition) {
                slot.log.publish();
                slot.view.grown.notify_waiters();
                self.jobs.extend(slot.log.grow_job().map(Job::Grow));
                let sealing = slot.log.take_jobs().into_iter();
                self.jobs.extend(sealing.map(|job| Job::Segment(*topic, *partition, job)));
            }
            false
        });
        self.taken = taken;
        if durability == Durability::Fsync {
            if std::mem::take(&mut self.topics_changed) {
                self.catalog.publish(self.topics.clone());
            }
            for partition in self.closing.drain(..) {
                partition.deleted.store(true, Ordering::Release);
                partition.grown.notify_waiters();
            }
            self.jobs.extend(self.removals.drain(..));
            self.plan();
        }
    }

    fn is_os(&self, topic: TopicId) -> bool {
        self.state.topic(topic).is_some_and(|t| t.settings.durability == Durability::Os)
    }

    /// Looks for background work that the last group made necessary.
    fn plan(&mut self) {
        if self.read_only.is_some() {
            return;
        }
        if !self.short_of_space {
            self.jobs.extend(self.log.next_file().map(Job::PrepareLogFile));
        }
        if self.snapshot_is_due() && self.group.frames() == 0 {
            self.begin_snapshot();
        }
    }

    fn snapshot_is_due(&self) -> bool {
        let grown = self.log.end().0.saturating_sub(self.snapshot_position.0);
        let due = grown >= self.options.snapshot_log_bytes || self.unsnapped >= SNAPSHOT_COMMITS;
        due && !self.snapshot_running && !self.snapshot_refused
    }

    /// Writes a frame that says nothing but how far the log was durable, so that damage below is told from a torn tail.
    /// True when there was something to prove.
    pub(crate) fn prove(&mut self) -> Result<bool, CommitError> {
        self.alive()?;
        // A damaged log is evidence: nothing is added to it.
        if self.read_only.is_some() || self.said != self.log.end() || self.said == self.log.start()
        {
            return Ok(false);
        }
        self.sync()?;
        self.group.begin_frame();
        self.group.end_frame();
        let expected = self.log.end();
        let written = self.log.append(expected, &mut self.group);
        self.group.clear();
        match written {
            Ok(_) => self.sync().map(|()| true),
            // Full: the proof has to wait until there is room.
            Err(LogError::Full { .. }) => Ok(false),
            Err(error) => Err(self.poisoned_by(&error)),
        }
    }

    /// Tries again what failed for want of space. Worth a call now and then: others free space too.
    pub(crate) fn retry_space(&mut self) {
        if self.read_only.is_some() || !std::mem::take(&mut self.short_of_space) {
            return;
        }
        self.snapshot_refused = false;
        self.jobs.extend(self.log.next_file().map(Job::PrepareLogFile));
        for (topic, slot) in &mut self.slots {
            for (number, slot) in (0..).zip(&mut slot.partitions) {
                let sealing = slot.log.take_jobs().into_iter();
                self.jobs.extend(sealing.map(|job| Job::Segment(*topic, PartitionId(number), job)));
            }
        }
    }

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

    /// Start, durable position and end of the commit log.
    pub(crate) fn log_positions(&self) -> (Position, Position, Position) {
        (self.log.start(), self.log.durable(), self.log.end())
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

fn answer(
    commit: &Commit,
    head: &FrameHead,
    position: Position,
    durability: Durability,
) -> Committed {
    let appends = commit.appends.iter().zip(&head.appends).map(|(asked, decided)| Appended {
        topic: asked.topic.clone(),
        partition: asked.partition,
        base_offset: Offset(decided.base_offset),
        count: decided.record_count,
    });
    Committed {
        position,
        time: Timestamp(head.time_us),
        appends: appends.collect(),
        repeated: false,
        durability,
    }
}
