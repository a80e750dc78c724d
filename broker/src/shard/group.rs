//! A group on its way: written, synced, published. See the page of the shard for the order.

use std::sync::atomic::Ordering;

use embermq_storage::commit_log::{CommitLog, ReserveUse, SyncJob, Synced, WriteJob, Written};
use embermq_storage::segment::SegmentWrite;

use super::{Job, Shard, slot_mut};
use crate::error::CommitError;
use crate::topic::{Durability, PartitionId, TopicId};

/// A snapshot is taken after this many commits at the latest, however small: replaying one takes about a microsecond.
const SNAPSHOT_COMMITS: u64 = 400_000;

/// No frame that says what happened to a group, without records, is larger.
const SMALL_FRAME_BYTES: u64 = 2 << 20;

impl Shard {
    /// Writes the staged frames to the commit log. Not durable yet.
    pub(crate) fn write(&mut self) -> Result<(), CommitError> {
        self.alive()?;
        if self.group.frames() == 0 {
            return Ok(());
        }
        let expected = self.log.end();
        let written = self.log.append(expected, &mut self.group);
        self.group.clear();
        self.log.set_reserve_use(ReserveUse::Nothing);
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
            self.log.set_reserve_use(ReserveUse::Nothing);
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
        self.groups_changed.append(&mut self.groups_staged);
        self.note_written_schedules();
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), CommitError> {
        self.alive()?;
        if self.log.durable() == self.log.end() {
            return Ok(());
        }
        self.log.sync().map(|_| ()).map_err(|error| self.poisoned_by(&error))
    }

    /// The sync of everything written so far, to be run without the shard in hand; [`synced`](Self::synced) must follow
    /// before the next sync. Meanwhile only what [`has_room_here`](Self::has_room_here) may be written. `None` when there is
    /// nothing to sync.
    pub(crate) fn sync_job(&mut self) -> Result<Option<SyncJob>, CommitError> {
        self.alive()?;
        self.log.sync_job().map_err(|error| self.poisoned_by(&error))
    }

    /// Takes the result of a [`SyncJob`].
    pub(crate) fn synced(&mut self, synced: Synced) -> Result<(), CommitError> {
        self.alive()?;
        self.log.synced(synced).map(|_| ()).map_err(|error| self.poisoned_by(&error))
    }

    /// Whether a small frame can be written at once, whatever is being synced.
    pub(crate) fn has_room_here(&self) -> bool {
        self.group.frames() == 0 && self.log.has_room_here(SMALL_FRAME_BYTES)
    }

    /// True when the next publication begins a snapshot: it must find nothing staged behind it.
    pub(crate) fn wants_quiet(&self) -> bool {
        self.snapshot_is_due()
    }

    /// Makes visible what an acknowledgement of `durability` may show: behind the write only the partitions of
    /// topics with durability `os`, behind the sync everything. Only what was written; not what is staged behind it.
    pub(crate) fn publish(&mut self, durability: Durability) {
        // First, so that nothing is seen in its topic and still to come.
        self.show_schedules(durability);
        let mut taken = std::mem::take(&mut self.taken);
        taken.retain(|(topic, partition)| {
            if durability == Durability::Os && !self.is_os(*topic) {
                return true;
            }
            if let Some(topic_slot) = self.slots.get_mut(topic)
                && let Some(slot) = topic_slot.partitions.get_mut(partition.0 as usize)
            {
                slot.log.publish();
                slot.view.grown.notify_waiters();
                topic_slot.grown.notify_waiters();
                self.jobs.extend(slot.log.grow_job().map(Job::Grow));
                let sealing = slot.log.take_jobs().into_iter();
                self.jobs.extend(sealing.map(|job| Job::Segment(*topic, *partition, job)));
            }
            false
        });
        self.taken = taken;
        if !self.groups_changed.is_empty() {
            self.show_groups(durability);
        }
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

    /// Shows groups as the state has them. That is a hint for those who lease: what counts is decided here. New ones and
    /// deleted ones only when they are durable.
    fn show_groups(&mut self, durability: Durability) {
        let settled = durability == Durability::Fsync;
        for id in std::mem::take(&mut self.groups_changed) {
            let state = self.state.group(id);
            let topic = state.and_then(|state| self.state.topic(state.topic));
            let shown = match (state, topic) {
                (Some(state), Some(topic)) => self.catalog.desks.show(state, &topic.name, settled),
                _ => self.catalog.desks.remove(id, settled),
            };
            if !shown {
                self.groups_changed.insert(id);
            }
        }
    }

    pub(super) fn is_os(&self, topic: TopicId) -> bool {
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
        self.plan_snapshot();
    }

    /// Begins a snapshot, if one is due and nothing is staged.
    pub(super) fn plan_snapshot(&mut self) {
        if self.snapshot_is_due() && self.group.frames() == 0 {
            self.begin_snapshot();
        }
    }

    fn snapshot_is_due(&self) -> bool {
        let grown = self.log.end().0.saturating_sub(self.snapshot_position.0);
        // Behind two snapshots the files in front of the present one can go.
        let frees = self.log_full && grown > 0 && self.log.has_old_files();
        let settles = self.compaction_waits() && grown > 0;
        let due = grown >= self.options.snapshot_log_bytes
            || self.unsnapped >= SNAPSHOT_COMMITS
            || frees
            || settles;
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
            // Full, or no file can be made: the proof has to wait.
            Err(error) if error.is_retryable() => Ok(false),
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
}
