//! What a snapshot says of schedules.

use embermq_storage::Timestamp;
use prost::Message;

use super::{Held, Schedules};
use crate::schedule::ScheduleId;
use crate::topic::{PartitionId, TopicId};

/// Schedules in one record.
const SCHEDULES_KEPT: usize = 1_000;

/// Some of a topic's schedules: a column for each of what is known of one, all of the same length.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptSchedules {
    #[prost(uint32, tag = "1")]
    topic: u32,
    #[prost(uint32, optional, tag = "2")]
    store: Option<u32>,
    #[prost(uint64, tag = "3")]
    seq_next: u64,
    #[prost(sfixed64, repeated, tag = "4")]
    due_us: Vec<i64>,
    #[prost(uint64, repeated, tag = "5")]
    seq: Vec<u64>,
    #[prost(uint32, repeated, tag = "6")]
    partition: Vec<u32>,
    #[prost(uint32, repeated, tag = "7")]
    count: Vec<u32>,
    #[prost(uint64, repeated, tag = "8")]
    offset: Vec<u64>,
}

impl KeptSchedules {
    /// All that is known of a topic's schedules; nothing when there never was one.
    pub(super) fn of(topic: TopicId, schedules: &Schedules) -> impl Iterator<Item = Self> {
        let first = (!schedules.is_untouched()).then(|| Self::behind(topic, schedules, None));
        std::iter::successors(first, move |kept| {
            kept.last().map(|last| Self::behind(topic, schedules, Some(last)))
        })
    }

    /// The next some of them.
    fn behind(topic: TopicId, schedules: &Schedules, after: Option<ScheduleId>) -> Self {
        let mut kept = Self {
            topic: topic.0,
            store: schedules.store().map(|store| store.0),
            seq_next: schedules.seq_next(),
            ..Self::default()
        };
        for (id, held) in schedules.behind(after).take(SCHEDULES_KEPT) {
            kept.due_us.push(id.due.0);
            kept.seq.push(id.seq);
            kept.partition.push(held.partition.0);
            kept.count.push(held.count);
            kept.offset.push(held.offset);
        }
        kept
    }

    /// The last of them, if there may be more behind it.
    fn last(&self) -> Option<ScheduleId> {
        let full = self.seq.len() == SCHEDULES_KEPT;
        let last = self.due_us.last().zip(self.seq.last()).filter(|_| full);
        last.map(|(due, seq)| ScheduleId { due: Timestamp(*due), seq: *seq })
    }

    /// The topic's number.
    pub(super) const fn topic(&self) -> u32 {
        self.topic
    }

    /// Puts them back, behind those of the records before.
    pub(super) fn put_back(&self, schedules: &mut Schedules) {
        schedules.restore(self.store.map(TopicId), self.seq_next);
        let ids = self.due_us.iter().zip(&self.seq);
        let places = self.partition.iter().zip(&self.count).zip(&self.offset);
        for ((due, seq), ((partition, count), offset)) in ids.zip(places) {
            let id = ScheduleId { due: Timestamp(*due), seq: *seq };
            let partition = PartitionId(*partition);
            schedules.insert(id, Held { partition, count: *count, offset: *offset });
        }
    }
}
