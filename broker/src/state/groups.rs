//! The groups of all topics, as the frames have them.

use std::sync::Arc;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::{Offset, Timestamp};

use super::letters::Letters;
use super::{State, TopicState};
use crate::frame::{FrameMalformed, GroupChange, GroupCreated, GroupEvent, GroupLetters};
use crate::group::Group;
use crate::topic::{PartitionId, TopicId};

/// The number of a group. Never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(pub(crate) u32);

/// What is known of a group.
#[derive(Clone, Debug)]
pub(crate) struct GroupState {
    pub(crate) id: GroupId,
    pub(crate) topic: TopicId,
    pub(crate) name: GroupName,
    pub(crate) created: Timestamp,
    /// Makes its lease tokens.
    pub(crate) secret: u64,
    pub(crate) group: Group,
    /// Dead letters that were neither redriven nor dropped.
    pub(crate) letters: Letters,
}

impl State {
    /// The group with this number.
    pub(crate) fn group(&self, id: GroupId) -> Option<&Arc<GroupState>> {
        self.groups.get(&id)
    }

    /// The group of a topic with this name.
    pub(crate) fn group_named(
        &self,
        topic: &TopicState,
        name: &GroupName,
    ) -> Option<&Arc<GroupState>> {
        self.group(*topic.groups.get(name)?)
    }

    /// All groups, by number.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Arc<GroupState>> {
        self.groups.values()
    }

    /// The groups of a topic, by name.
    pub(crate) fn groups_of(&self, topic: TopicId) -> Vec<GroupId> {
        self.topic(topic).map_or_else(Vec::new, |topic| topic.groups.values().copied().collect())
    }

    pub(super) fn apply_group(&mut self, change: &GroupChange) -> Result<(), FrameMalformed> {
        let time = self.time;
        match &change.event {
            Some(GroupEvent::Create(created)) => self.apply_group_created(created),
            Some(GroupEvent::Edit(edited)) => {
                let settings = edited.settings.to_settings()?;
                self.group_mut(edited.group)?.group.edit(settings);
                Ok(())
            }
            Some(GroupEvent::Delete(deleted)) => {
                let id = GroupId(deleted.group);
                self.remove_group(id).ok_or_else(|| no_group(deleted.group))
            }
            Some(GroupEvent::Granted(event)) => {
                self.group_mut(event.group)?.group.apply_granted(event, time)
            }
            Some(GroupEvent::Settled(event)) => {
                self.group_mut(event.group)?.group.apply_settled(event, time)
            }
            Some(GroupEvent::Sought(event)) => {
                self.group_mut(event.group)?.group.apply_sought(event, time)
            }
            Some(GroupEvent::Offered(event)) => {
                self.group_mut(event.group)?.group.apply_offered(event, time)
            }
            Some(GroupEvent::Letters(GroupLetters { group, written, ended })) => {
                let letters = &mut self.group_mut(*group)?.letters;
                for offset in written {
                    letters.add(*offset);
                }
                for offset in ended {
                    letters.remove(*offset);
                }
                Ok(())
            }
            None => Err(FrameMalformed("something of an unknown kind happened to a group".into())),
        }
    }

    fn apply_group_created(&mut self, created: &GroupCreated) -> Result<(), FrameMalformed> {
        let name: GroupName = created
            .name
            .parse()
            .map_err(|error| FrameMalformed(format!("group name {:?}: {error}", created.name)))?;
        let (id, topic) = (GroupId(created.group), TopicId(created.topic));
        if self.topic(topic).is_none() {
            return Err(super::no_topic(created.topic));
        }
        let starts = created.starts.iter().map(|start| Offset(*start));
        let group = Group::new(created.settings.to_settings()?, starts);
        self.restore_group(GroupState {
            id,
            topic,
            name,
            created: self.time,
            secret: created.secret,
            group,
            letters: Letters::default(),
        });
        Ok(())
    }

    pub(super) fn restore_group(&mut self, state: GroupState) {
        self.group_next = self.group_next.max(state.id.0.saturating_add(1));
        if let Ok(topic) = self.topic_mut(state.topic.0) {
            topic.groups.insert(state.name.clone(), state.id);
        }
        self.groups.insert(state.id, Arc::new(state));
    }

    pub(super) fn remove_group(&mut self, id: GroupId) -> Option<()> {
        let state = self.groups.remove(&id)?;
        if let Ok(topic) = self.topic_mut(state.topic.0) {
            topic.groups.remove(&state.name);
        }
        Some(())
    }

    /// Dead letters in this topic are gone up to `end`: they are on nobody's list any more.
    pub(super) fn forget_letters(&mut self, letters_in: &TopicName, end: Offset) {
        let of_it: Vec<GroupId> = self
            .groups
            .values()
            .filter(|state| state.letters.count() > 0 && self.letters_go_to(state, letters_in))
            .map(|state| state.id)
            .collect();
        for id in of_it {
            if let Ok(state) = self.group_mut(id.0) {
                state.letters.remove_below(end.0);
            }
        }
    }

    /// The groups whose dead letters go to this topic.
    pub(crate) fn groups_lettering(&self, topic: &TopicName) -> Vec<GroupId> {
        let of_it = self.groups.values().filter(|state| self.letters_go_to(state, topic));
        of_it.map(|state| state.id).collect()
    }

    fn letters_go_to(&self, state: &GroupState, topic: &TopicName) -> bool {
        let named = &state.group.settings().dead_letter_topic;
        if !named.is_empty() {
            return named == topic.as_str();
        }
        // `<topic>.<group>.dlq`
        let rest = self
            .topic(state.topic)
            .and_then(|of| topic.as_str().strip_prefix(of.name.as_str())?.strip_prefix('.'));
        rest.and_then(|rest| rest.strip_suffix(".dlq")) == Some(state.name.as_str())
    }

    /// A topic is gone, and its groups with it.
    pub(super) fn remove_groups_of(&mut self, topic: &TopicState) {
        for id in topic.groups.values() {
            self.groups.remove(id);
        }
    }

    /// A topic has more partitions now.
    pub(super) fn grow_groups(&mut self, topic: TopicId, partitions: u32) {
        for id in self.groups_of(topic) {
            if let Ok(state) = self.group_mut(id.0) {
                state.group.grow(partitions);
            }
        }
    }

    /// A partition begins later now.
    pub(super) fn trim_groups(
        &mut self,
        topic: TopicId,
        partition: PartitionId,
        start: Offset,
    ) -> Result<(), FrameMalformed> {
        let time = self.time;
        for id in self.groups_of(topic) {
            self.group_mut(id.0)?.group.trim(partition, start, time)?;
        }
        Ok(())
    }

    pub(super) fn group_mut(&mut self, id: u32) -> Result<&mut GroupState, FrameMalformed> {
        self.groups.get_mut(&GroupId(id)).map(Arc::make_mut).ok_or_else(|| no_group(id))
    }
}

fn no_group(id: u32) -> FrameMalformed {
    FrameMalformed(format!("there is no group number {id}"))
}
