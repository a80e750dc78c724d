//! What may become of groups: made, edited, deleted, granted from, set elsewhere, dead records buried or offered again.

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::commit_log::ReserveUse;
use embermq_storage::{Offset, Timestamp};

use super::decide::Given;
use super::endings::{Ended, Ending, Endings, note_letters};
use super::groups::{GroupId, GroupState};
use super::schedule_decide::Delivery;
use super::{State, partition_of};
use crate::commit::{Append, Appended, Commit};
use crate::error::CommitError;
use crate::frame::{
    FrameHead, GroupChange, GroupCreated, GroupDeleted, GroupEdited, GroupEvent, GroupLetters,
};
use crate::group::{
    Examined, Group, GroupGranted, GroupSettings, Lease, Members, Offer, Offered, Outcome, Place,
    SeekPreview, StoredGroupSettings, Wish,
};
use crate::topic::{Durability, PartitionId};

/// The most groups of a topic.
const GROUPS_MAX: usize = 10_000;

/// A group to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewGroup {
    pub(crate) topic: TopicName,
    pub(crate) name: GroupName,
    pub(crate) settings: GroupSettings,
    /// One for each partition.
    pub(crate) starts: Vec<Offset>,
    /// Drawn by the shell.
    pub(crate) secret: u64,
}

/// A dead letter that is done with: offered again, copied or (with neither) dropped.
#[derive(Clone, Debug)]
pub(crate) struct Redriving {
    pub(crate) letter: u64,
    /// Its record, when it is still there.
    pub(crate) offer: Option<Offer>,
    /// Its record anew, when it is not.
    pub(crate) copy: Option<Append>,
}

/// What the shell asks of groups, beside settling.
#[derive(Debug)]
pub(crate) enum GroupRequest {
    Create(Box<NewGroup>),
    Edit {
        group: GroupId,
        settings: GroupSettings,
    },
    Delete {
        group: GroupId,
    },
    Grant {
        group: GroupId,
        wish: Wish,
        examined: Vec<Examined>,
        members: Members,
    },
    Seek {
        group: GroupId,
        to: Vec<(PartitionId, Offset)>,
    },
    /// Dead letters of one group.
    Redrive {
        group: GroupId,
        letters: Vec<Redriving>,
    },
    /// Leases of one group, each on its own.
    Settle {
        endings: Endings,
    },
    /// Records whose last lease lapsed, with their letters.
    Bury {
        endings: Endings,
    },
    /// Scheduled records whose time has come, or which are in the way. Not of a group, but made the same way.
    Deliver(Delivery),
}

impl GroupRequest {
    /// What ends work that was begun must not wait for space, but must not take it from what frees some either: consumers that
    /// go on would use up all that is kept for deletes.
    pub(crate) const fn reserve_use(&self) -> ReserveUse {
        match self {
            Self::Settle { .. } | Self::Bury { .. } | Self::Grant { .. } => ReserveUse::Upper,
            Self::Delete { .. } => ReserveUse::Whole,
            _ => ReserveUse::Nothing,
        }
    }

    /// About how much it holds in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let append = |append: &Append| append.batch.body.len() as u64 + 128;
        256 + match self {
            Self::Settle { endings } | Self::Bury { endings } => {
                endings.items.iter().map(|item| 96 + item.letter.as_ref().map_or(0, append)).sum()
            }
            Self::Redrive { letters, .. } => {
                letters.iter().map(|one| 64 + one.copy.as_ref().map_or(0, append)).sum()
            }
            Self::Grant { examined, .. } => {
                examined.iter().map(|stretch| 16 * stretch.candidates.len() as u64).sum()
            }
            Self::Deliver(delivery) => {
                let items = delivery.items.iter();
                items.map(|(_, batch)| 64 + batch.as_ref().map_or(0, append)).sum()
            }
            _ => 0,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Made {
    /// True when it is new.
    Group(GroupId, bool),
    Leases(Vec<Lease>, Moved),
    Sought(Vec<SeekPreview>),
    /// How many.
    Redriven(u64),
    /// How many scheduled records.
    Delivered(u64),
    /// Leases, or records whose last lease lapsed: what became of each, and where the letters of the dead are.
    Ended(Vec<Outcome>, Vec<Appended>),
    Nothing,
}

impl State {
    /// Decides; what is to be logged is put into `head`, which may stay empty.
    pub(crate) fn decide_group(
        &self,
        request: &GroupRequest,
        seed: u64,
        now: Timestamp,
        head: &mut FrameHead,
    ) -> Result<(Made, Ended), CommitError> {
        let time = self.time.max(now);
        head.clear_for(time);
        let none = Ended::default;
        match request {
            GroupRequest::Create(new) => Ok((self.decide_create_group(new, head)?, none())),
            GroupRequest::Edit { group, settings } => {
                let state = self.known(*group)?;
                let invalid = |error: crate::group::SettingInvalid| CommitError::Invalid {
                    detail: error.to_string(),
                };
                state.group.settings().check_edit(settings).map_err(invalid)?;
                let moves = state.group.settings().dead_letter_topic != settings.dead_letter_topic;
                if moves && state.letters.count() > 0 {
                    return Err(CommitError::Invalid {
                        detail: format!(
                            "the group has {} dead letters in its present dead-letter topic: redrive or drop them before \
                             it gets another one",
                            state.letters.count()
                        ),
                    });
                }
                if state.group.settings() != settings {
                    let settings = StoredGroupSettings::of(settings);
                    head.put(GroupEvent::Edit(GroupEdited { group: group.0, settings }));
                }
                Ok((Made::Group(*group, false), none()))
            }
            GroupRequest::Delete { group } => {
                self.known(*group)?;
                head.put(GroupEvent::Delete(GroupDeleted { group: group.0 }));
                Ok((Made::Nothing, none()))
            }
            GroupRequest::Grant { group, wish, examined, members } => {
                let state = self.known(*group)?;
                let grant = state.group.decide_grant(group.0, wish, examined, members, time);
                let moved = moved(&state.group, examined, &grant.event);
                if !grant.event.is_empty() {
                    head.put(GroupEvent::Granted(grant.event));
                }
                Ok((Made::Leases(grant.leases, moved), none()))
            }
            GroupRequest::Seek { group, to } => {
                Ok((Made::Sought(self.decide_seek(*group, to, head)?), none()))
            }
            GroupRequest::Redrive { group, letters } => {
                Ok((self.decide_redrive(*group, letters, head)?, none()))
            }
            GroupRequest::Deliver(delivery) => {
                Ok((Made::Delivered(self.decide_delivery(delivery, head)?), none()))
            }
            GroupRequest::Settle { endings } => {
                let ended = self.decide_endings(endings, seed, time, head)?;
                self.place_letters(endings, ended, head)
            }
            GroupRequest::Bury { endings } => {
                let ended = self.decide_bury(endings, time, head)?;
                self.place_letters(endings, ended, head)
            }
        }
    }

    fn known(&self, group: GroupId) -> Result<&GroupState, CommitError> {
        // Whoever asks by number had the group a moment ago.
        self.group(group).map(|state| &**state).ok_or(CommitError::GroupGone)
    }

    fn decide_create_group(
        &self,
        new: &NewGroup,
        head: &mut FrameHead,
    ) -> Result<Made, CommitError> {
        let NewGroup { topic, name, settings, starts, secret } = new;
        let topic = self.find(topic)?;
        if let Some(there) = self.group_named(topic, name) {
            if there.group.settings() == settings {
                return Ok(Made::Group(there.id, false));
            }
            return Err(CommitError::GroupExists {
                topic: topic.name.clone(),
                group: name.clone(),
                detail: there.group.settings().difference(settings),
            });
        }
        if topic.groups.len() >= GROUPS_MAX {
            return Err(CommitError::Invalid {
                detail: format!("topic {} has {GROUPS_MAX} groups, the most", topic.name),
            });
        }
        let clamped = topic.partitions.iter().enumerate().map(|(number, partition)| {
            let wished = starts.get(number).copied().unwrap_or(partition.start);
            wished.max(partition.start).min(partition.next).0
        });
        head.put(GroupEvent::Create(GroupCreated {
            group: self.group_next,
            topic: topic.id.0,
            name: name.to_string(),
            settings: StoredGroupSettings::of(settings),
            starts: clamped.collect(),
            secret: *secret,
        }));
        Ok(Made::Group(GroupId(self.group_next), true))
    }

    fn decide_seek(
        &self,
        group: GroupId,
        to: &[(PartitionId, Offset)],
        head: &mut FrameHead,
    ) -> Result<Vec<SeekPreview>, CommitError> {
        let state = self.known(group)?;
        let Some(topic) = self.topic(state.topic) else { return Ok(Vec::new()) };
        let mut clamped = Vec::with_capacity(to.len());
        let mut previews = Vec::with_capacity(to.len());
        for (number, offset) in to {
            let partition = partition_of(topic, *number)?;
            let offset = (*offset).max(partition.start).min(partition.next);
            previews.extend(state.group.preview_seek(*number, offset, partition.next));
            clamped.push((*number, offset));
        }
        head.put(GroupEvent::Sought(state.group.decide_seek(group.0, clamped)));
        Ok(previews)
    }

    fn decide_redrive(
        &self,
        group: GroupId,
        letters: &[Redriving],
        head: &mut FrameHead,
    ) -> Result<Made, CommitError> {
        let state = self.known(group)?;
        // Another redrive may have been faster with some: nothing is offered twice.
        let open: Vec<&Redriving> =
            letters.iter().filter(|one| state.letters.contains(one.letter)).collect();
        // Retention may have been faster.
        let is_gone = |offer: &Offer| {
            let partition = self.topic(state.topic).map(|topic| &topic.partitions);
            let place = offer.place;
            let partition = partition.and_then(|all| all.get(place.partition.0 as usize));
            partition.is_none_or(|partition| place.offset < partition.start)
        };
        let open: Vec<&Redriving> =
            open.into_iter().filter(|one| !one.offer.as_ref().is_some_and(is_gone)).collect();
        let offers: Vec<Offer> = open.iter().filter_map(|one| one.offer).collect();
        let (event, answers) = state.group.decide_offer(group.0, &offers);
        let mut answers = answers.into_iter();
        let mut ended = Vec::with_capacity(open.len());
        let mut given = Given::default();
        for one in open {
            // A partition that the group does not read: the letter stays.
            if one.offer.is_some() && answers.next() == Some(Offered::Unknown) {
                continue;
            }
            if let Some(copy) = &one.copy {
                Self::give_offsets(self.find(&copy.topic)?, copy, head, &mut given)?;
            }
            ended.push(one.letter);
        }
        if !event.is_empty() {
            head.put(GroupEvent::Offered(event));
        }
        let count = ended.len() as u64;
        if count > 0 {
            let written = Vec::new();
            head.put(GroupEvent::Letters(GroupLetters { group: group.0, written, ended }));
        }
        Ok(Made::Redriven(count))
    }

    /// What a request appends, in the order in which its decision gave out offsets.
    pub(crate) fn group_sources<'a>(
        &self,
        request: &'a GroupRequest,
        ended: &'a Ended,
    ) -> Vec<&'a Append> {
        match request {
            GroupRequest::Settle { endings } | GroupRequest::Bury { endings } => {
                let letters = ended.letters.iter().filter_map(|index| endings.items.get(*index));
                letters.filter_map(|item| item.letter.as_ref()).collect()
            }
            GroupRequest::Redrive { group, letters } => {
                let Some(state) = self.group(*group) else { return Vec::new() };
                let open = letters.iter().filter(|one| state.letters.contains(one.letter));
                open.filter_map(|one| one.copy.as_ref()).collect()
            }
            GroupRequest::Deliver(delivery) => self.delivery_sources(delivery),
            _ => Vec::new(),
        }
    }

    fn decide_bury(
        &self,
        endings: &Endings,
        time: Timestamp,
        head: &mut FrameHead,
    ) -> Result<Ended, CommitError> {
        let Some(first) = endings.items.first() else { return Ok(Ended::default()) };
        let state = self.known(first.group)?;
        let place = |item: &Ending| item.settlement.lease.place;
        let places: Vec<Place> = endings.items.iter().map(place).collect();
        let buried = state.group.decide_bury(first.group.0, &places, time);
        if !buried.event.is_empty() {
            head.put(GroupEvent::Settled(buried.event));
        }
        let dead = buried.outcomes.iter().enumerate();
        let dead = dead.filter(|(_, outcome)| matches!(outcome, Outcome::Dead(_)));
        let letters = dead.map(|(index, _)| index).collect();
        Ok(Ended { outcomes: buried.outcomes, letters })
    }

    /// Gives the letters of a call their offsets.
    fn place_letters(
        &self,
        endings: &Endings,
        ended: Ended,
        head: &mut FrameHead,
    ) -> Result<(Made, Ended), CommitError> {
        let nothing = Commit::default();
        let mut placed = Vec::with_capacity(ended.letters.len());
        let mut given = Given::default();
        for letter in Self::sources(&nothing, endings, &ended) {
            let topic = self.find(&letter.topic)?;
            Self::give_offsets(topic, letter, head, &mut given)?;
            placed.extend(head.appends.last().map(|append| Appended {
                topic: topic.name.clone(),
                partition: letter.partition,
                base_offset: Offset(append.base_offset),
                count: append.record_count,
            }));
        }
        note_letters(endings, &ended, 0, head);
        Ok((Made::Ended(ended.outcomes.clone(), placed), ended))
    }

    /// What an acknowledgement of a lease of this group means.
    pub(crate) fn durability_of_group(&self, group: GroupId) -> Durability {
        let topic = self.group(group).and_then(|state| self.topic(state.topic));
        topic.map_or(Durability::Fsync, |topic| topic.settings.durability)
    }
}

/// How far a grant moves the cursors over what was examined for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    Nothing,
    Some,
    /// Over all of it; also when there was none.
    All,
}

fn moved(group: &Group, examined: &[Examined], granted: &GroupGranted) -> Moved {
    let reaches = |stretch: &Examined| {
        let fresh = granted.fresh.iter().find(|fresh| fresh.partition == stretch.partition.0);
        let cursor = group.next(stretch.partition).map_or(0, |cursor| cursor.0);
        fresh.is_some_and(|fresh| cursor + fresh.moved == stretch.end.0)
    };
    if examined.iter().all(reaches) {
        Moved::All
    } else if granted.fresh.is_empty() {
        Moved::Nothing
    } else {
        Moved::Some
    }
}

impl FrameHead {
    fn put(&mut self, event: GroupEvent) {
        self.groups.push(GroupChange { event: Some(event) });
    }

    /// Whether it says nothing, so that it need not be logged.
    pub(crate) fn is_empty(&self) -> bool {
        self.appends.is_empty()
            && self.groups.is_empty()
            && self.schedule_ends.is_empty()
            && self.catalog.is_none()
    }
}
