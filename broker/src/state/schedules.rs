//! What is to be appended to a topic later: which appends, when, and where their batches lie meanwhile.
//!
//! The batches are in the topic's store, an ordinary topic; here is only where. A schedule takes some 50 bytes, and what does not
//! change is shared between clones, so that ten million of them are no burden to a snapshot or to a reader.

use std::collections::BTreeMap;
use std::ops::Bound;

use embermq_storage::Timestamp;
use imbl::OrdMap;

use crate::schedule::ScheduleId;
use crate::topic::{PartitionId, TopicId};

/// Where a batch lies in the store. Its partition there is the one that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) partition: PartitionId,
    pub(crate) count: u32,
    pub(crate) offset: u64,
}

/// The schedules of one topic. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedules {
    pending: OrdMap<ScheduleId, Held>,
    /// Of all of them.
    records: u64,
    /// The number that the next one gets.
    seq_next: u64,
    /// The topic that holds the batches, once there was one.
    store: Option<TopicId>,
}

impl Schedules {
    /// Adds one, or notes that its batch lies elsewhere now.
    pub(crate) fn insert(&mut self, id: ScheduleId, held: Held) {
        self.records += u64::from(held.count);
        if let Some(before) = self.pending.insert(id, held) {
            self.records -= u64::from(before.count);
        }
        self.seq_next = self.seq_next.max(id.seq.saturating_add(1));
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, id: ScheduleId) -> Option<Held> {
        let held = self.pending.remove(&id)?;
        self.records -= u64::from(held.count);
        Some(held)
    }

    /// Where the batch of one lies.
    pub(crate) fn get(&self, id: ScheduleId) -> Option<Held> {
        self.pending.get(&id).copied()
    }

    /// Whether one is pending.
    pub(crate) fn contains(&self, id: ScheduleId) -> bool {
        self.pending.contains_key(&id)
    }

    /// How many are pending.
    pub(crate) fn count(&self) -> u64 {
        self.pending.len() as u64
    }

    /// How many records they hold.
    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    /// How many were ever delivered or cancelled.
    pub(crate) fn ended(&self) -> u64 {
        self.seq_next.saturating_sub(self.count())
    }

    /// The number that the next one gets.
    pub(crate) const fn seq_next(&self) -> u64 {
        self.seq_next
    }

    /// The topic that holds the batches.
    pub(crate) const fn store(&self) -> Option<TopicId> {
        self.store
    }

    /// Notes which topic holds the batches.
    pub(crate) const fn set_store(&mut self, store: TopicId) {
        self.store = Some(store);
    }

    /// What a snapshot kept beside the pending ones.
    pub(crate) fn restore(&mut self, store: Option<TopicId>, seq_next: u64) {
        self.store = store;
        self.seq_next = self.seq_next.max(seq_next);
    }

    /// Whether there never was one.
    pub(crate) const fn is_untouched(&self) -> bool {
        self.seq_next == 0
    }

    /// The moment at which the first one is due.
    pub(crate) fn first_due(&self) -> Option<Timestamp> {
        self.pending.get_min().map(|(id, _)| id.due)
    }

    /// Those behind `after`, or all, in the order of their delivery.
    pub(crate) fn behind(
        &self,
        after: Option<ScheduleId>,
    ) -> impl Iterator<Item = (ScheduleId, Held)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.pending.range((from, Bound::Unbounded)).map(|(id, held)| (*id, *held))
    }

    /// The same as far as they are due at `now`.
    pub(crate) fn due(
        &self,
        now: Timestamp,
        after: Option<ScheduleId>,
    ) -> impl Iterator<Item = (ScheduleId, Held)> {
        self.behind(after).take_while(move |(id, _)| id.due <= now)
    }

    /// For each partition of the store that holds batches: the lowest offset, and how many records. Looks at all of them.
    pub(crate) fn extents(&self) -> BTreeMap<PartitionId, Extent> {
        let mut extents = BTreeMap::<PartitionId, Extent>::new();
        for held in self.pending.values() {
            let extent =
                extents.entry(held.partition).or_insert(Extent { lowest: held.offset, records: 0 });
            extent.lowest = extent.lowest.min(held.offset);
            extent.records += u64::from(held.count);
        }
        extents
    }
}

/// What a partition of the store holds that is still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) lowest: u64,
    pub(crate) records: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(due: i64, seq: u64) -> ScheduleId {
        ScheduleId { due: Timestamp(due), seq }
    }

    proptest! {
        #[test]
        fn it_is_the_map_that_it_seems(steps in proptest::collection::vec((0..4_u32, 0..12_i64, 0..6_u64), 0..200)) {
            let (mut schedules, mut model) = (Schedules::default(), BTreeMap::new());
            let mut seq_next = 0;
            for (at, (what, due, seq)) in steps.into_iter().enumerate() {
                let id = id(due, seq);
                if what < 3 {
                    let offset = at as u64;
                    let held = Held { partition: PartitionId(what), count: what + 1, offset };
                    schedules.insert(id, held);
                    model.insert(id, held);
                    seq_next = seq_next.max(seq + 1);
                } else {
                    prop_assert_eq!(schedules.remove(id), model.remove(&id));
                }
                prop_assert_eq!(schedules.count(), model.len() as u64);
                prop_assert_eq!(schedules.seq_next(), seq_next);
                let records: u64 = model.values().map(|held| u64::from(held.count)).sum();
                prop_assert_eq!(schedules.records(), records);
                let first = model.keys().next().map(|id| id.due);
                prop_assert_eq!(schedules.first_due(), first);
                let due: Vec<_> = schedules.due(Timestamp(5), Some(id)).collect();
                let expected = model.iter().map(|(id, held)| (*id, *held));
                let expected: Vec<_> = expected.filter(|(other, _)| *other > id && other.due.0 <= 5).collect();
                prop_assert_eq!(due, expected);
                for (partition, extent) in schedules.extents() {
                    let of_it = || model.values().filter(|held| held.partition == partition);
                    prop_assert_eq!(of_it().map(|held| held.offset).min(), Some(extent.lowest));
                    prop_assert_eq!(of_it().map(|held| u64::from(held.count)).sum::<u64>(), extent.records);
                }
            }
        }
    }

    #[test]
    fn a_million_fit_beside_each_other_and_clones_share_them() {
        let mut schedules = Schedules::default();
        for seq in 0..1_000_000_u64 {
            // Scattered moments, as they come.
            let due = i64::try_from(seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20).unwrap();
            schedules
                .insert(id(due, seq), Held { partition: PartitionId(0), count: 1, offset: seq });
        }
        assert_eq!((schedules.count(), schedules.ended()), (1_000_000, 0));
        let clone = schedules.clone();
        let (first, _) = schedules.behind(None).next().unwrap();
        schedules.remove(first);
        assert!(clone.contains(first) && !schedules.contains(first));
        assert_eq!((clone.count(), schedules.count(), schedules.ended()), (1_000_000, 999_999, 1));
        // What each takes in itself; the tree around them is at least half full.
        assert_eq!(size_of::<(ScheduleId, Held)>(), 32);
    }
}
