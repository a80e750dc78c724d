//! Staging: decisions become frames, and batches lie in the segments' buffers. Nothing is visible or durable yet.
//!
//! Whatever a commit needs, room in the log and in every segment, is made before anything changes: a refusal leaves
//! nothing behind.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use embermq_storage::commit_log::{
    CommitLog, FRAME_HEAD_BYTES, FRAME_PAYLOAD_BYTES_MAX, LogError, ReserveUse,
};
use embermq_storage::disk::is_too_many_open;
use embermq_storage::partition::{PartitionLog, PartitionManifest};
use embermq_storage::segment::{PartitionIdentity, SegmentError};
use embermq_storage::{Offset, Position, Timestamp};

use super::{BATCH_FRAMING_BYTES, CatalogRequest, Job, Shard, Slot, TopicSlot, slot_mut};
use crate::commit::{Append, Appended, Commit, Committed};
use crate::consume::settled;
use crate::error::CommitError;
use crate::frame::{
    CatalogChange, FrameAppend, FrameHead, PartitionTrimmed, TopicDeleted, TopicEdited,
};
use crate::keys::{AppendKeys, KeyFacts};
use crate::state::{Decided, Decision, Effect, Endings, GroupRequest, Made, State, Sums, arranged};
use crate::topic::{Durability, Partition, PartitionId, Topic, TopicId};

impl Shard {
    /// A commit that has nothing to do with keys.
    #[cfg(test)]
    pub(crate) fn stage(
        &mut self,
        commit: &Commit,
        endings: &Endings,
        now: Timestamp,
    ) -> Result<Committed, CommitError> {
        self.stage_commit(commit, endings, &KeyFacts::default(), now)
    }

    /// Decides on a commit and stages it. The answer counts only after [`publish`](Self::publish).
    pub(crate) fn stage_commit(
        &mut self,
        commit: &Commit,
        endings: &Endings,
        keys: &KeyFacts,
        now: Timestamp,
    ) -> Result<Committed, CommitError> {
        self.writable()?;
        if let Err(refusal) = self.keys_hold(keys) {
            let repeat = self.state.repeat_of((commit, endings), now)?;
            return repeat.ok_or(refusal);
        }
        let mut head = std::mem::take(&mut self.head);
        let seed = if endings.items.is_empty() { 0 } else { self.entropy.next_u64() };
        let decision = self.state.decide((commit, endings, seed), now, self.bounds, &mut head);
        let result = match decision {
            Ok(Decision::Frame(decided)) => {
                let sources = State::sources(commit, endings, &decided.ended);
                // Letters are the broker's own: a record that just fitted has to fit with its history, too.
                let limit = self.options.commit_bytes_max.saturating_add(head.letter_bytes());
                let limit = limit.min(FRAME_PAYLOAD_BYTES_MAX);
                let bounds = (limit, ReserveUse::Nothing);
                let staged = self.stage_frame(&head, bounds, sources, &keys.appended);
                staged.map(|position| answer((commit, endings), &head, position, &decided))
            }
            Ok(Decision::Repeat(original)) => Ok(original),
            Err(refusal) => Err(refusal),
        };
        self.head = head;
        result
    }

    /// Decides on something that is asked of a group, and stages it. Says also whether the answer has to wait for the sync.
    pub(crate) fn stage_group(
        &mut self,
        request: &GroupRequest,
        now: Timestamp,
    ) -> Result<(Made, bool), CommitError> {
        self.writable()?;
        let mut head = std::mem::take(&mut self.head);
        let seed = self.entropy.next_u64();
        let result =
            self.state.decide_group(request, seed, now, &mut head).and_then(|(made, ended)| {
                if !head.is_empty() {
                    let sources = self.state.group_sources(request, &ended);
                    let sources = sources.into_iter();
                    // The limit of commits is for what comes in. What was taken in once is delivered, buried and offered again
                    // whatever the limit is by now, and whatever the broker adds to it.
                    let bounds = (FRAME_PAYLOAD_BYTES_MAX, request.reserve_use());
                    self.stage_frame(&head, bounds, sources, &[])?;
                }
                Ok(made)
            });
        self.head = head;
        let needs_sync = match request {
            // An attempt is counted as soon as it is written; if power fails, it was none.
            GroupRequest::Grant { .. } => false,
            GroupRequest::Settle { endings } => endings
                .items
                .iter()
                .any(|item| self.state.durability_of_group(item.group) == Durability::Fsync),
            GroupRequest::Deliver(delivery) => !self.is_os(delivery.topic),
            _ => true,
        };
        Ok((result?, needs_sync))
    }

    /// Stages a frame whose payload has up to `limit` bytes.
    fn stage_frame<'a>(
        &mut self,
        head: &FrameHead,
        (limit, reserve_use): (u64, ReserveUse),
        sources: impl Iterator<Item = &'a Append> + Clone,
        keys: &[Option<AppendKeys>],
    ) -> Result<Position, CommitError> {
        let payload_bytes = head.payload_bytes();
        if payload_bytes > limit {
            return Err(CommitError::TooLarge { bytes: payload_bytes, limit });
        }
        self.make_log_room(payload_bytes, reserve_use)?;
        self.reserve(head)?;
        let bodies = sources.clone().map(|append| (&append.batch.body, append.batch.body_crc));
        let position = self.frame(head, bodies)?;
        for (append, source) in head.appends.iter().zip(sources) {
            let (body, crc) = (&source.batch.body, source.batch.body_crc);
            self.stage_batch(head, append, body, crc);
        }
        // Where nobody has told the keys, none are known.
        let keys = keys.iter().map(Option::as_deref).chain(std::iter::repeat(None));
        for (append, keys) in head.appends.iter().zip(keys) {
            let place = (TopicId(append.topic), PartitionId(append.partition));
            let base = Offset(append.base_offset);
            self.recent_keys.note(place, base..base.plus(append.record_count.into()), keys);
        }
        if !head.appends.is_empty() {
            self.full = false;
        }
        Ok(position)
    }

    /// Puts the frame into the group and the state; gives its position.
    pub(super) fn frame<'a>(
        &mut self,
        head: &FrameHead,
        bodies: impl Iterator<Item = (&'a Bytes, u32)>,
    ) -> Result<Position, CommitError> {
        let position = Position(self.log.end().0 + self.group.bytes());
        head.encode(&mut self.scratch, bodies, &mut self.group);
        self.unsnapped += 1;
        let applied = self.state.apply(head, position);
        let applied = applied.and_then(|effect| {
            self.state.apply_groups(head)?;
            self.state.apply_schedules(head)?;
            Ok(effect)
        });
        match applied {
            Ok(effect) => {
                self.note_groups(head);
                self.note_schedules(head);
                self.follow(effect).map_err(|error| self.poisoned_by(&error))?;
                Ok(position)
            }
            // The state decided on this frame itself a moment ago: they cannot disagree unless the program is wrong.
            Err(error) => Err(self.poisoned_by(&error)),
        }
    }

    /// Notes which groups a frame has changed, so that they are shown at the next publication.
    pub(super) fn note_groups(&mut self, head: &FrameHead) {
        let changed = head.groups.iter().filter_map(|change| Some(change.event.as_ref()?.group()));
        self.groups_staged.extend(changed);
        let id = match &head.catalog {
            Some(CatalogChange::Edit(TopicEdited { topic, .. }))
            | Some(CatalogChange::Trim(PartitionTrimmed { topic, .. })) => TopicId(*topic),
            Some(CatalogChange::Delete(TopicDeleted { topic, .. })) => {
                // Its groups are gone already: they are found by what is shown.
                let shown = self.catalog.desks.ids().into_iter();
                let gone = shown.filter(|id| self.state.group(*id).is_none());
                self.groups_staged.extend(gone);
                TopicId(*topic)
            }
            Some(CatalogChange::Create(_)) | None => return,
        };
        self.groups_staged.extend(self.state.groups_of(id));
        // Dead letters that went with it are on their groups' lists no more.
        if let Some(topic) = self.topics.values().find(|topic| topic.id == id) {
            self.groups_staged.extend(self.state.groups_lettering(&topic.name));
        }
    }

    pub(super) fn stage_batch(
        &mut self,
        head: &FrameHead,
        append: &FrameAppend,
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

    /// Makes room in the log for one more frame of this group, which may use so much of the reserve.
    pub(super) fn make_log_room(
        &mut self,
        payload_bytes: u64,
        reserve_use: ReserveUse,
    ) -> Result<(), CommitError> {
        // What else is in the group may use more of it, or less: the group as a whole what one of them may.
        let others = self.log.reserve_use();
        self.log.set_reserve_use(reserve_use);
        let made = self.ensure_log_room(payload_bytes);
        self.log.set_reserve_use(if made.is_ok() { others.max(reserve_use) } else { others });
        made
    }

    fn ensure_log_room(&mut self, payload_bytes: u64) -> Result<(), CommitError> {
        let needed = self.group.bytes() + payload_bytes + FRAME_HEAD_BYTES + 8;
        loop {
            match self.log.ensure(needed) {
                Ok(()) => return Ok(()),
                Err(LogError::NextFile(source)) if is_too_many_open(&source) => {
                    return Err(CommitError::TooManyOpenFiles { detail: source.to_string() });
                }
                Err(error) if error.is_retryable() => {
                    self.log_full = true;
                    if !self.drop_spare() {
                        let detail = format!(
                            "{needed} bytes do not fit into the files of the commit log, and there is no room for another file"
                        );
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
        let mut sums = Sums::default();
        let entry =
            |append: &FrameAppend| (append.place(), append.batch_bytes() + BATCH_FRAMING_BYTES);
        for append in &head.appends {
            // The first append to a partition reserves for all of them; the others find it done.
            let bytes = sums.of(&append.place(), &head.appends, entry);
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
                Err(SegmentError::TooManyOpen { source, .. }) => {
                    return Err(CommitError::TooManyOpenFiles { detail: source.to_string() });
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
            CatalogRequest::Trim(topic, partition, start) => {
                self.state.decide_trim_to(*topic, *partition, *start, now)
            }
        };
        let Some(head) = head else { return Ok(false) };
        let reserve_use = match request {
            // What makes room must not fail for want of it.
            CatalogRequest::Delete(_) | CatalogRequest::Trim(..) => ReserveUse::Whole,
            CatalogRequest::Create(..) | CatalogRequest::Edit(..) => ReserveUse::Nothing,
        };
        self.make_log_room(head.payload_bytes(), reserve_use)?;
        self.frame(&head, std::iter::empty())?;
        Ok(true)
    }

    /// Does what an applied frame asks of the shell. The same for live frames and for replayed ones.
    pub(super) fn follow(&mut self, effect: Effect) -> Result<(), SegmentError> {
        match effect {
            Effect::Appended => {}
            Effect::Created(id) | Effect::Edited(id) => {
                self.open_partitions(id, |_| None)?;
                self.show(id);
            }
            Effect::Deleted(id, store) => {
                self.forget_topic(id);
                if let Some(store) = store {
                    self.forget_topic(store);
                }
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

    /// A topic is gone: its readers are told, and its folder removed, behind the sync.
    fn forget_topic(&mut self, id: TopicId) {
        if let Some(slot) = self.slots.remove(&id) {
            self.closing.extend(slot.partitions.into_iter().map(|slot| slot.view));
        }
        let name = self.topics.values().find(|topic| topic.id == id).map(|t| t.name.clone());
        name.map(|name| self.topics.remove(&name));
        self.topics_changed = true;
        self.dirty.retain(|(topic, _)| *topic != id);
        self.taken.retain(|(topic, _)| *topic != id);
        self.recent_keys.forget(id);
        self.removals.push(Job::RemoveTopic(self.topic_dir(id)));
    }

    /// Opens the logs of the partitions that a topic has and that are not open yet.
    pub(super) fn open_partitions(
        &mut self,
        id: TopicId,
        mut manifest: impl FnMut(PartitionId) -> Option<PartitionManifest>,
    ) -> Result<(), SegmentError> {
        let Some(topic) = self.state.topic(id) else { return Ok(()) };
        let dir = self.topic_dir(id);
        let slot = self.slots.entry(id).or_insert_with(|| TopicSlot {
            counters: Arc::default(),
            grown: Arc::default(),
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
    pub(super) fn show(&mut self, id: TopicId) {
        let (Some(topic), Some(slot)) = (self.state.topic(id), self.slots.get(&id)) else { return };
        let view = Topic {
            id,
            name: topic.name.clone(),
            settings: topic.settings.clone(),
            created: topic.created,
            partitions: slot.partitions.iter().map(|slot| Arc::clone(&slot.view)).collect(),
            counters: Arc::clone(&slot.counters),
            grown: Arc::clone(&slot.grown),
        };
        self.topics.insert(topic.name.clone(), Arc::new(view));
        self.topics_changed = true;
    }
}

fn answer(
    (commit, endings): (&Commit, &Endings),
    head: &FrameHead,
    position: Position,
    decided: &Decided,
) -> Committed {
    let appends = commit.appends.iter().zip(&head.appends).map(|(asked, decided)| Appended {
        topic: asked.topic.clone(),
        partition: asked.partition,
        base_offset: Offset(decided.base_offset),
        count: decided.record_count,
    });
    let letters = State::sources(commit, endings, &decided.ended).zip(&head.appends);
    let own = commit.appends.len() + commit.scheduled.len();
    let letters = letters.skip(own).map(|(letter, decided)| Appended {
        topic: letter.topic.clone(),
        partition: letter.partition,
        base_offset: Offset(decided.base_offset),
        count: decided.record_count,
    });
    Committed {
        position,
        time: Timestamp(head.time_us),
        appends: appends.collect(),
        scheduled: arranged(&commit.scheduled, commit.appends.len(), head),
        settled: settled(&decided.ended.outcomes, letters).into_iter().flatten().collect(),
        repeated: false,
        partitions: Vec::new(),
        durability: decided.durability,
    }
}
