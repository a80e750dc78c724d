//! Appends that take effect later: how they are put off, delivered, moved within their store, and cancelled.
//!
//! What is put off is appended, as it is, to the *store* of its topic: the topic `<topic>.scheduled`, in the partition of the same
//! number. Delivering it is one commit that appends it to its topic and ends its schedule, so it happens once.

use std::collections::BTreeSet;

use embermq_protocol::limits::RECORD_BYTES_CEILING;
use embermq_protocol::names::TopicName;
use embermq_storage::Timestamp;

use super::decide::Given;
use super::{Held, State, TopicState, partition_of};
use crate::commit::{Append, Appended, Arranged, Schedule, ScheduleRef, Scheduled};
use crate::error::CommitError;
use crate::frame::{FrameHead, FrameMalformed, FrameSchedule, FrameScheduleEnd};
use crate::schedule::ScheduleId;
use crate::topic::{Cleanup, PartitionId, TopicId, TopicSettings};

/// What the name of a store ends with.
const STORE_SUFFIX: &str = ".scheduled";

/// Batches of schedules, read from their store.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) topic: TopicId,
    pub(crate) purpose: Purpose,
    /// In the order of their delivery; each append names the topic that it is for. None: its batch is not there any more.
    pub(crate) items: Vec<(ScheduleId, Option<Append>)>,
}

/// What is to become of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Their time has come.
    Deliver,
    /// They go to the end of the store, so that what lies around them can be removed.
    Move,
}

/// The name of a topic's store.
///
/// # Errors
/// [`CommitError::Invalid`] when it is too long.
pub(crate) fn store_name(topic: &TopicName) -> Result<TopicName, CommitError> {
    format!("{topic}{STORE_SUFFIX}").parse().map_err(|error| CommitError::Invalid {
        detail: format!(
            "what is scheduled for {topic} would be kept in the topic {topic}{STORE_SUFFIX}: {error}"
        ),
    })
}

/// Whether a topic of this name may be a store, which is trimmed behind what is delivered.
pub(crate) fn may_be_store(name: &TopicName) -> bool {
    name.as_str().ends_with(STORE_SUFFIX)
}

/// The settings of the store of a topic with these settings.
pub(crate) fn store_settings(target: &TopicSettings) -> TopicSettings {
    TopicSettings {
        partitions: target.partitions,
        durability: target.durability,
        retention_age: None,
        retention_bytes: None,
        cleanup: Cleanup::Delete,
        record_bytes_max: RECORD_BYTES_CEILING,
        ..TopicSettings::default()
    }
}

/// Whether a topic keeps what is put into it until it is told otherwise.
///
/// # Errors
/// [`CommitError::TopicExists`], which says what is in the way.
pub(crate) fn fits_store(name: &TopicName, settings: &TopicSettings) -> Result<(), CommitError> {
    let in_the_way = if settings.cleanup == Cleanup::Compact {
        "it is compacted"
    } else if settings.retention_age.is_some() || settings.retention_bytes.is_some() {
        "its retention has a bound"
    } else {
        return Ok(());
    };
    let detail = format!(
        "{in_the_way}, but what is scheduled is kept in it until it is delivered; set compact to false and retention to unbounded"
    );
    Err(CommitError::TopicExists { topic: name.clone(), detail })
}

impl State {
    /// Gives an append its place: in its topic if its time has come, else in the store.
    pub(super) fn decide_scheduled(
        &self,
        topic: &TopicState,
        scheduled: &Scheduled,
        time: Timestamp,
        head: &mut FrameHead,
        given: &mut Given,
    ) -> Result<(), CommitError> {
        let append = &scheduled.append;
        if scheduled.deliver_at <= time {
            return Self::give_offsets(topic, append, head, given);
        }
        partition_of(topic, append.partition)?;
        let store = self.find(&store_name(&topic.name)?)?;
        fits_store(&store.name, &store.settings)?;
        if topic.schedules.store() != Some(store.id) {
            check_unused(store)?;
        }
        Self::give_offsets(store, append, head, given)?;
        let of_topic = given.schedules.of(&topic.id.0, &head.schedules, |other| (other.topic, 1));
        head.schedules.push(FrameSchedule {
            topic: topic.id.0,
            due_us: scheduled.deliver_at.0,
            seq: topic.schedules.seq_next() + of_topic,
            append: u32::try_from(head.appends.len() - 1).unwrap_or(u32::MAX),
        });
        Ok(())
    }

    /// Refuses more than may be pending at a time.
    pub(super) fn check_schedules(&self, head: &FrameHead, limit: u32) -> Result<(), CommitError> {
        let pending = (self.schedules + head.schedules.len() as u64)
            .saturating_sub(head.schedule_ends.len() as u64);
        if !head.schedules.is_empty() && pending > u64::from(limit) {
            return Err(CommitError::TooManySchedules { pending: self.schedules, limit });
        }
        Ok(())
    }

    /// All must be pending.
    pub(super) fn decide_cancels(
        &self,
        cancels: &[ScheduleRef],
        head: &mut FrameHead,
    ) -> Result<(), CommitError> {
        let mut cancelled = BTreeSet::new();
        for ScheduleRef { topic, id } in cancels {
            let state = self.find(topic)?;
            if !state.schedules.contains(*id) || !cancelled.insert((state.id, *id)) {
                let (topic, schedule) = (topic.clone(), id.to_string());
                return Err(CommitError::ScheduleNotFound { topic, schedule });
            }
            head.schedule_ends.push(end_of(state.id, *id, false));
        }
        Ok(())
    }

    /// Delivers or moves those that are pending still. Gives how many records.
    pub(super) fn decide_delivery(
        &self,
        delivery: &Delivery,
        head: &mut FrameHead,
    ) -> Result<u64, CommitError> {
        let Some(topic) = self.topic(delivery.topic) else { return Ok(0) };
        let store = topic.schedules.store().and_then(|store| self.topic(store));
        let mut count = 0;
        let mut given = Given::default();
        for (id, append) in &delivery.items {
            if !topic.schedules.contains(*id) {
                continue;
            }
            match (append, delivery.purpose, store) {
                (Some(append), Purpose::Deliver, _) => {
                    Self::give_offsets(topic, append, head, &mut given)?;
                    head.schedule_ends.push(end_of(topic.id, *id, true));
                }
                (Some(append), Purpose::Move, Some(store)) => {
                    Self::give_offsets(store, append, head, &mut given)?;
                    head.schedules.push(FrameSchedule {
                        topic: topic.id.0,
                        due_us: id.due.0,
                        seq: id.seq,
                        append: u32::try_from(head.appends.len() - 1).unwrap_or(u32::MAX),
                    });
                }
                (None, Purpose::Deliver, _) => {
                    head.schedule_ends.push(end_of(topic.id, *id, false));
                }
                (_, Purpose::Move, _) => continue,
            }
            count += append.as_ref().map_or(0, |append| u64::from(append.batch.record_count));
        }
        Ok(count)
    }

    /// The appends of a delivery, as it was decided.
    pub(super) fn delivery_sources<'a>(&self, delivery: &'a Delivery) -> Vec<&'a Append> {
        let Some(topic) = self.topic(delivery.topic) else { return Vec::new() };
        let pending = delivery.items.iter().filter(|(id, _)| topic.schedules.contains(*id));
        pending.filter_map(|(_, append)| append.as_ref()).collect()
    }

    /// Folds in what a frame says of schedules, which comes behind [`apply`](Self::apply), apart from it for the same reason as
    /// [`apply_groups`](Self::apply_groups).
    ///
    /// # Errors
    /// The first contradiction; what else can be folded in is.
    pub(crate) fn apply_schedules(&mut self, head: &FrameHead) -> Result<(), FrameMalformed> {
        let mut result = Ok(());
        for end in &head.schedule_ends {
            result = result.and(self.apply_schedule_end(end));
        }
        for put_off in &head.schedules {
            result = result.and(self.apply_schedule(head, put_off));
        }
        result
    }

    fn apply_schedule(
        &mut self,
        head: &FrameHead,
        put_off: &FrameSchedule,
    ) -> Result<(), FrameMalformed> {
        let append = head.appends.get(put_off.append as usize).ok_or_else(|| {
            FrameMalformed(format!("schedule {} belongs to no append", put_off.id()))
        })?;
        let held = Held {
            partition: PartitionId(append.partition),
            count: append.record_count,
            offset: append.base_offset,
        };
        self.change_schedules(put_off.topic, |schedules| {
            schedules.set_store(TopicId(append.topic));
            schedules.insert(put_off.id(), held);
        })
    }

    fn apply_schedule_end(&mut self, end: &FrameScheduleEnd) -> Result<(), FrameMalformed> {
        let removed = self.change_schedules(end.topic, |schedules| schedules.remove(end.id()))?;
        removed.map(|_| ()).ok_or_else(|| {
            FrameMalformed(format!(
                "schedule {} of topic number {} is not pending",
                end.id(),
                end.topic
            ))
        })
    }

    /// The topic that has scheduled records in this one.
    pub(super) fn target_of_store(&self, store: &TopicState) -> Option<&TopicState> {
        let target = store.name.as_str().strip_suffix(STORE_SUFFIX)?;
        let target = self.named(&target.parse().ok()?)?;
        let holds = target.schedules.store() == Some(store.id) && target.schedules.count() > 0;
        holds.then_some(target)
    }

    /// Refuses to put anything into a store but what is scheduled: nobody would keep it.
    pub(super) fn check_no_store(&self, topic: &TopicState) -> Result<(), CommitError> {
        let target = topic.name.as_str().strip_suffix(STORE_SUFFIX);
        let target = target.and_then(|name| self.named(&name.parse().ok()?));
        let Some(target) = target.filter(|target| target.schedules.store() == Some(topic.id))
        else {
            return Ok(());
        };
        Err(CommitError::Invalid {
            detail: format!(
                "topic {} keeps what is scheduled for topic {}; produce to {}, with a Delay or a Deliver-At",
                topic.name, target.name, target.name
            ),
        })
    }

    /// Refuses what would take records away from under their schedules.
    pub(super) fn check_not_in_use(
        &self,
        store: &TopicState,
        what: &str,
    ) -> Result<(), CommitError> {
        let Some(target) = self.target_of_store(store) else { return Ok(()) };
        Err(CommitError::Invalid {
            detail: format!(
                "topic {} keeps {} scheduled records of topic {}, so {what}; cancel them, or delete {} with all it has",
                store.name,
                target.schedules.records(),
                target.name,
                target.name
            ),
        })
    }

    /// The store of a topic, to be deleted with it.
    pub(super) fn store_to_delete(&self, topic: &TopicState) -> Option<TopicId> {
        let store = self.topic(topic.schedules.store()?)?;
        (store_name(&topic.name).ok()? == store.name).then_some(store.id)
    }
}

/// Refuses to make a store of a topic that has something of its own: what is not pending in a store is trimmed off.
fn check_unused(store: &TopicState) -> Result<(), CommitError> {
    let empty = store.partitions.iter().all(|partition| partition.start == partition.next);
    if empty && store.groups.is_empty() {
        return Ok(());
    }
    let detail = "it has records or groups of its own, but what is scheduled would be kept in a topic of this name; \
                  move them to a topic of another name, and delete it"
        .to_owned();
    Err(CommitError::TopicExists { topic: store.name.clone(), detail })
}

/// What became of scheduled appends: `head.appends` from `first` on.
pub(crate) fn arranged(scheduled: &[Scheduled], first: usize, head: &FrameHead) -> Vec<Arranged> {
    let decided = head.appends.iter().enumerate().skip(first);
    let arranged = scheduled.iter().zip(decided).map(|(asked, (index, decided))| {
        let (topic, partition) = (asked.append.topic.clone(), asked.append.partition);
        let count = decided.record_count;
        match head.schedule_of(index) {
            Some(put_off) => {
                Arranged::Scheduled(Schedule { id: put_off.id(), topic, partition, count })
            }
            None => Arranged::Appended(Appended {
                topic,
                partition,
                base_offset: embermq_storage::Offset(decided.base_offset),
                count,
            }),
        }
    });
    arranged.collect()
}

const fn end_of(topic: TopicId, id: ScheduleId, delivered: bool) -> FrameScheduleEnd {
    FrameScheduleEnd { topic: topic.0, due_us: id.due.0, seq: id.seq, delivered }
}
