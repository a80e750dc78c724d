//! The state machine: everything that the commit log says, folded.
//!
//! [`State::decide`] turns a request into a frame or a refusal; [`State::apply`] folds a frame in. Both are pure: time
//! comes with the request and is in the frame, no randomness, no file. The same frames give the same state, always:
//! that is how a restart recovers and how the simulator tests. A clone is cheap and shares everything, so that a
//! snapshot is written from a clone while commits go on.

mod decide;
mod endings;
mod group_decide;
mod groups;
mod kept_schedules;
mod keys;
mod letters;
mod producers;
mod remembered;
mod schedule_decide;
mod schedules;
mod snapshot;
mod sums;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::{Offset, Position, Timestamp};
use imbl::OrdMap;

use decide::partition_of;
pub(crate) use decide::{Bounds, Decided, Decision};
pub(crate) use endings::{Ending, Endings};
pub(crate) use group_decide::{GroupRequest, Made, Moved, NewGroup, Redriving};
pub(crate) use groups::{GroupId, GroupState};
pub(crate) use keys::Keys;
pub(crate) use letters::Letters;
pub(crate) use producers::Producers;
use remembered::Remembered;
pub(crate) use schedule_decide::{
    Delivery, Purpose, arranged, fits_store, may_be_store, store_name, store_settings,
};
pub(crate) use schedules::{Held, Schedules};
pub(crate) use sums::Sums;

use crate::frame::{
    CatalogChange, FrameAppend, FrameHead, FrameMalformed, FrameSchedule, GroupEvent,
    StoredSettings,
};
use crate::schedule::ScheduleId;
use crate::topic::{PartitionId, TopicId, TopicSettings};

/// How many expired producers and keys one frame clears away, so that no frame takes long.
const EXPIRED_PER_FRAME: usize = 4;

/// All that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Log time: that of the last frame.
    time: Timestamp,
    topic_next: u32,
    names: OrdMap<TopicName, TopicId>,
    topics: OrdMap<TopicId, Arc<TopicState>>,
    group_next: u32,
    groups: OrdMap<GroupId, Arc<GroupState>>,
    /// Schedules that are pending in all topics.
    schedules: u64,
    /// What all topics remember of producers, and of idempotency keys.
    producers: Remembered,
    keys: Remembered,
}

/// What is known of a topic.
#[derive(Clone, Debug)]
pub(crate) struct TopicState {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) settings: TopicSettings,
    pub(crate) created: Timestamp,
    pub(crate) partitions: Vec<PartitionState>,
    pub(crate) producers: Producers,
    pub(crate) keys: Keys,
    pub(crate) groups: OrdMap<GroupName, GroupId>,
    pub(crate) schedules: Schedules,
}

/// Where a partition begins and ends: `start <= next`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) start: Offset,
    pub(crate) next: Offset,
}

/// Where an append went, as remembered for repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredAppend {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) base: Offset,
    pub(crate) count: u32,
    /// How many partitions the topic had: a repeat is parted as the original was. 0 where a snapshot does not say it.
    pub(crate) partitions: u32,
    /// Set: it was put off, and has no offset in its topic yet.
    pub(crate) schedule: Option<ScheduleId>,
}

/// What the shell has to do after a frame was applied, beside staging its appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Appended,
    /// A topic is there.
    Created(TopicId),
    /// Its settings changed; it may have more partitions.
    Edited(TopicId),
    /// It is gone, and its store with it.
    Deleted(TopicId, Option<TopicId>),
    /// A partition begins later.
    Trimmed(TopicId, PartitionId, Offset),
}

impl State {
    /// Folds in the frame at `position`.
    ///
    /// # Errors
    /// When the frame contradicts the state, which no frame of our own log does unless an earlier one is missing.
    pub(crate) fn apply(
        &mut self,
        head: &FrameHead,
        position: Position,
    ) -> Result<Effect, FrameMalformed> {
        self.time = self.time.max(Timestamp(head.time_us));
        self.forget_expired(head);
        if let Some(change) = &head.catalog {
            return self.apply_catalog(change);
        }
        for append in &head.appends {
            let partition = self.partition_mut(append.topic, append.partition)?;
            if append.base_offset < partition.next.0 {
                return Err(FrameMalformed(format!(
                    "offset {} of topic number {} was given before: the next is {}",
                    append.base_offset, append.topic, partition.next
                )));
            }
            partition.next = Offset(append.base_offset).plus(u64::from(append.record_count));
        }
        self.remember(head, position);
        Ok(Effect::Appended)
    }

    /// Folds in what a frame says of groups, which comes behind [`apply`](Self::apply). Apart from it, since behind
    /// damage a frame may speak of leases whose grant was lost: its records count all the same.
    ///
    /// # Errors
    /// The first contradiction; what else can be folded in is.
    pub(crate) fn apply_groups(&mut self, head: &FrameHead) -> Result<(), FrameMalformed> {
        let mut result = Ok(());
        for change in &head.groups {
            result = result.and(self.apply_group(change));
        }
        result
    }

    /// Takes the offsets below `next` as given: they were, by frames that are lost.
    pub(crate) fn give_up(&mut self, topic: TopicId, partition: PartitionId, next: Offset) {
        if let Ok(partition) = self.partition_mut(topic.0, partition.0) {
            partition.next = partition.next.max(next);
        }
    }

    fn remember(&mut self, head: &FrameHead, position: Position) {
        if head.producer.is_none() && head.key.is_none() {
            return;
        }
        let time = Timestamp(head.time_us);
        let Some(keeper) = self.keeper_of(head) else { return };
        // Letters follow what was sent, and are no part of the answer.
        let sent = head.appends.len().saturating_sub(head.letters());
        let appends: Arc<[StoredAppend]> = head
            .appends
            .iter()
            .take(sent)
            .enumerate()
            .map(|(index, append)| self.stored_append(append, head.schedule_of(index)))
            .collect();
        if let Some(producer) = &head.producer {
            let count = appends.iter().map(|append| u64::from(append.count)).sum();
            let sent = producers::Sent {
                sequence: producer.sequence,
                position,
                time,
                appends: Arc::clone(&appends),
            };
            self.change_producers(keeper, |producers| producers.note(producer, count, sent));
        }
        if let Some(key) = &head.key {
            let (fingerprint, expires) = (key.fingerprint, Timestamp(key.expires_us));
            let used = keys::Used { fingerprint, expires, position, time, appends };
            self.change_keys(keeper, |keys| keys.note(&key.key, used));
        }
    }

    fn stored_append(&self, append: &FrameAppend, put_off: Option<&FrameSchedule>) -> StoredAppend {
        let topic = TopicId(put_off.map_or(append.topic, |put_off| put_off.topic));
        // An offset in the store is nobody's business.
        let base = put_off.map_or(append.base_offset, |_| 0);
        StoredAppend {
            topic,
            partition: PartitionId(append.partition),
            base: Offset(base),
            count: append.record_count,
            partitions: self.topic(topic).map_or(0, |topic| topic.settings.partitions),
            schedule: put_off.map(FrameSchedule::id),
        }
    }

    /// The topic that remembers a frame: that of its first append, else that of the first group that something happened to, else
    /// that of the first schedule that it cancels.
    fn keeper_of(&self, head: &FrameHead) -> Option<TopicId> {
        if let Some(first) = head.appends.first().filter(|_| head.appends.len() > head.letters()) {
            return Some(TopicId(head.schedule_of(0).map_or(first.topic, |put_off| put_off.topic)));
        }
        let of_group = head.groups.iter().find_map(|change| match &change.event {
            Some(GroupEvent::Settled(settled)) => Some(self.group(GroupId(settled.group))?.topic),
            _ => None,
        });
        of_group.or_else(|| head.schedule_ends.first().map(|end| TopicId(end.topic)))
    }

    fn apply_catalog(&mut self, change: &CatalogChange) -> Result<Effect, FrameMalformed> {
        match change {
            CatalogChange::Create(created) => {
                let id = TopicId(created.topic);
                let name: TopicName = created.name.parse().map_err(|error| {
                    FrameMalformed(format!("topic name {:?}: {error}", created.name))
                })?;
                let settings = created.settings.to_settings();
                let partitions = vec![PartitionState::default(); settings.partitions as usize];
                self.names.insert(name.clone(), id);
                self.topic_next = self.topic_next.max(created.topic.saturating_add(1));
                let topic = TopicState {
                    id,
                    name,
                    settings,
                    created: self.time,
                    partitions,
                    producers: Producers::default(),
                    keys: Keys::default(),
                    groups: OrdMap::new(),
                    schedules: Schedules::default(),
                };
                self.topics.insert(id, Arc::new(topic));
                Ok(Effect::Created(id))
            }
            CatalogChange::Edit(edited) => {
                let topic = self.topic_mut(edited.topic)?;
                topic.settings = edited.settings.to_settings();
                let partitions = (topic.settings.partitions as usize).max(topic.partitions.len());
                topic.partitions.resize(partitions, PartitionState::default());
                let id = topic.id;
                self.grow_groups(id, u32::try_from(partitions).unwrap_or(u32::MAX));
                Ok(Effect::Edited(id))
            }
            CatalogChange::Delete(deleted) => {
                let id = TopicId(deleted.topic);
                self.remove_topic(id)?;
                let store = deleted.store.map(TopicId);
                if let Some(store) = store.filter(|store| self.topics.contains_key(store)) {
                    self.remove_topic(store)?;
                }
                Ok(Effect::Deleted(id, store))
            }
            CatalogChange::Trim(trimmed) => {
                let partition = self.partition_mut(trimmed.topic, trimmed.partition)?;
                partition.start = partition.start.max(Offset(trimmed.start)).min(partition.next);
                let start = partition.start;
                let (topic, number) = (TopicId(trimmed.topic), PartitionId(trimmed.partition));
                self.trim_groups(topic, number, start)?;
                if let Some(name) = self.topic(topic).map(|topic| topic.name.clone())
                    && number == PartitionId(0)
                {
                    self.forget_letters(&name, start);
                }
                Ok(Effect::Trimmed(topic, number, start))
            }
        }
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), FrameMalformed> {
        let topic = self.topics.remove(&id).ok_or_else(|| no_topic(id.0))?;
        self.names.remove(&topic.name);
        self.forget_letters(&topic.name, Offset(u64::MAX));
        self.remove_groups_of(&topic);
        self.schedules -= topic.schedules.count();
        self.forget_repeats_of(&topic);
        Ok(())
    }

    /// Changes the schedules of a topic, and counts.
    fn change_schedules<T>(
        &mut self,
        topic: u32,
        change: impl FnOnce(&mut Schedules) -> T,
    ) -> Result<T, FrameMalformed> {
        let schedules = &mut self.topic_mut(topic)?.schedules;
        let before = schedules.count();
        let changed = change(schedules);
        let after = schedules.count();
        self.schedules = self.schedules + after - before;
        Ok(changed)
    }

    fn topic_mut(&mut self, id: u32) -> Result<&mut TopicState, FrameMalformed> {
        self.topics.get_mut(&TopicId(id)).map(Arc::make_mut).ok_or_else(|| no_topic(id))
    }

    fn partition_mut(
        &mut self,
        topic: u32,
        partition: u32,
    ) -> Result<&mut PartitionState, FrameMalformed> {
        let found = self.topic_mut(topic)?.partitions.get_mut(partition as usize);
        found.ok_or_else(|| {
            FrameMalformed(format!("topic number {topic} has no partition {partition}"))
        })
    }

    /// Log time: that of the last frame.
    pub(crate) const fn time(&self) -> Timestamp {
        self.time
    }

    /// The topic with this number.
    pub(crate) fn topic(&self, id: TopicId) -> Option<&TopicState> {
        self.topics.get(&id).map(|topic| &**topic)
    }

    /// The topic with this name.
    pub(crate) fn named(&self, name: &TopicName) -> Option<&TopicState> {
        self.topic(*self.names.get(name)?)
    }

    /// All topics, by number.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicState> {
        self.topics.values().map(|topic| &**topic)
    }
}

fn no_topic(id: u32) -> FrameMalformed {
    FrameMalformed(format!("there is no topic number {id}"))
}

impl StoredSettings {
    pub(crate) fn to_settings(self) -> TopicSettings {
        use crate::topic::{Cleanup, Durability};
        use std::time::Duration;
        TopicSettings {
            partitions: self.partitions.max(1),
            retention_age: self.retention_age_us.map(Duration::from_micros),
            retention_bytes: self.retention_bytes,
            cleanup: if self.compact { Cleanup::Compact } else { Cleanup::Delete },
            tombstone_retention: Duration::from_micros(self.tombstone_retention_us),
            durability: if self.durability_os { Durability::Os } else { Durability::Fsync },
            record_bytes_max: self.record_bytes_max,
        }
    }

    pub(crate) fn of(settings: &TopicSettings) -> Self {
        use crate::topic::{Cleanup, Durability};
        let micros = |age: std::time::Duration| u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Self {
            partitions: settings.partitions,
            retention_age_us: settings.retention_age.map(micros),
            retention_bytes: settings.retention_bytes,
            compact: settings.cleanup == Cleanup::Compact,
            tombstone_retention_us: micros(settings.tombstone_retention),
            durability_os: settings.durability == Durability::Os,
            record_bytes_max: settings.record_bytes_max,
        }
    }
}
