//! Order by partition: whose turn a partition is, and when.
//!
//! One batch of a partition is in flight at a time, and nothing behind it is granted until all of it is settled or
//! lapsed. A batch is the first open records of its partition without a gap, then new ones. Each grant voids what is
//! left of the older ones of its partition, so that nobody who comes back late can work beside the new holder.
//!
//! A partition stays with its member while that member keeps asking. Others get it when a lease of the batch lapses,
//! or when the member has not asked for as long as a lease lasts. There is no rebalance: this is a preference among
//! those who ask, and the leases alone keep the order.

use std::collections::BTreeMap;

use embermq_storage::{Offset, Timestamp};
use imbl::{OrdMap, OrdSet};

use super::grant::Draft;
use super::members::Members;
use super::open::{MemberId, Open, OpenState, Place};
use super::{Examined, Group, Ordering, Wish};
use crate::topic::PartitionId;

/// The partitions with open records, by when they are free; empty unless the group orders by partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Turns {
    leases: OrdSet<(PartitionId, Timestamp, Offset)>,
    free_at: OrdSet<(Timestamp, PartitionId)>,
    by_partition: OrdMap<PartitionId, Timestamp>,
}

impl Turns {
    pub(super) fn note(&mut self, place: Place, open: &Open) {
        if let OpenState::Leased { deadline, .. } = open.state {
            self.leases.insert((place.partition, deadline, place.offset));
        }
    }

    pub(super) fn forget(&mut self, place: Place, open: &Open) {
        if let OpenState::Leased { deadline, .. } = open.state {
            self.leases.remove(&(place.partition, deadline, place.offset));
        }
    }

    /// The lease of a partition that lasts longest.
    fn longest(&self, partition: PartitionId) -> Option<(Timestamp, Place)> {
        let first = (partition, Timestamp(i64::MIN), Offset(0));
        let last = (partition, Timestamp(i64::MAX), Offset(u64::MAX));
        let longest = self.leases.range(first..=last).next_back();
        longest.map(|&(partition, deadline, offset)| (deadline, Place { partition, offset }))
    }

    fn set(&mut self, partition: PartitionId, free_at: Option<Timestamp>) {
        let before = match free_at {
            Some(free_at) => self.by_partition.insert(partition, free_at),
            None => self.by_partition.remove(&partition),
        };
        if let Some(before) = before {
            self.free_at.remove(&(before, partition));
        }
        if let Some(free_at) = free_at {
            self.free_at.insert((free_at, partition));
        }
    }

    /// The partitions with open records that are free at `now`, the longest free first.
    fn free(&self, now: Timestamp) -> impl Iterator<Item = PartitionId> {
        self.free_at.range(..=(now, PartitionId(u32::MAX))).map(|(_, partition)| *partition)
    }
}

impl Group {
    /// Notes when a partition is free, after its records changed.
    pub(super) fn refresh_turn(&mut self, partition: PartitionId) {
        if self.settings.ordering != Ordering::Partition {
            return;
        }
        let first = self.open_in(partition).next().and_then(|(_, open)| open.due());
        let settled = self.turns.longest(partition).map(|(deadline, _)| deadline);
        self.turns.set(partition, first.map(|first| settled.map_or(first, |all| first.max(all))));
    }

    /// Whether new records of a partition can go to this member at `now`, so that it is worth reading them: with order
    /// by partition, not while a batch of it is in flight, something older waits or has to be buried, or it stays with another member.
    pub(crate) fn takes_fresh(
        &self,
        partition: PartitionId,
        member: MemberId,
        members: &Members,
        now: Timestamp,
    ) -> bool {
        if self.settings.ordering != Ordering::Partition {
            return true;
        }
        let free_at = self.turns.by_partition.get(&partition);
        free_at.is_none_or(|&free_at| free_at <= now)
            && self.may_take(partition, member, members, now)
            && self
                .open_in(partition)
                .all(|(_, open)| open.is_deliverable(self.settings.attempts_max, now))
    }

    /// Whether a free partition may go to this member.
    fn may_take(
        &self,
        partition: PartitionId,
        member: MemberId,
        members: &Members,
        now: Timestamp,
    ) -> bool {
        let Some(cursor) = self.cursor(partition) else { return false };
        let holder = cursor.member;
        let lapsed = || {
            let longest = self.turns.longest(partition).and_then(|(_, place)| self.open(place));
            matches!(longest, Some(Open { state: OpenState::Leased { epoch, .. }, .. })
                if *epoch == cursor.batch)
        };
        holder == MemberId::NONE
            || holder == member
            || !members.is_present(holder, self.settings.lease_us, now)
            || lapsed()
    }

    /// One batch from each partition that is free for this member, its own partitions first.
    pub(super) fn draft_batches(
        &self,
        draft: &mut Draft<'_>,
        wish: &Wish,
        examined: &[Examined],
        members: &Members,
    ) {
        let now = draft.now;
        let fresh = examined
            .iter()
            .map(|examined| examined.partition)
            .filter(|partition| self.cursor(*partition).is_some_and(|cursor| cursor.open == 0));
        let by_partition: BTreeMap<PartitionId, &Examined> =
            examined.iter().map(|examined| (examined.partition, examined)).collect();
        let mut free: Vec<PartitionId> = self.turns.free(now).chain(fresh).collect();
        free.retain(|partition| self.may_take(*partition, wish.member, members, now));
        free.sort_by_key(|partition| {
            self.cursor(*partition).is_none_or(|cursor| cursor.member != wish.member)
        });
        for partition in free {
            let mut open = self.open_in(partition);
            let all = open.all(|(place, open)| {
                open.is_deliverable(self.settings.attempts_max, now) && draft.lease_again(place)
            });
            if all && let Some(examined) = by_partition.get(&partition) {
                draft.examine(examined);
            }
            if draft.room == 0 {
                break;
            }
        }
    }
}
