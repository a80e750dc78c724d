//! Who gets what: from a wish, what is due and what the shell has read beyond the cursors, to a grant.

use std::collections::BTreeSet;

use embermq_storage::{Offset, Timestamp};

use super::event::{GrantedAgain, GrantedFresh, GroupGranted};
use super::keys::HELD_MAX;
use super::members::Members;
use super::open::{GrantEpoch, KeyHash, MemberId, Place, later};
use super::settings::{LEASE_US_MAX, LEASE_US_MIN};
use super::{Group, Ordering, runs};
use crate::topic::PartitionId;

/// What a taker wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) member: MemberId,
    pub(crate) records_max: usize,
    /// Another duration than the group's; brought within the limits.
    pub(crate) lease_us: Option<u64>,
}

/// What the shell has read of a partition, in the order in which the partitions shall be served: everything from
/// `from` to before `end` that is not among the candidates was looked at and is not for this group.
#[derive(Clone, Debug)]
pub(crate) struct Examined {
    pub(crate) partition: PartitionId,
    /// At or before the group's cursor; what lies before it is passed over.
    pub(crate) from: Offset,
    pub(crate) candidates: Vec<Candidate>,
    /// The first offset that was not looked at.
    pub(crate) end: Offset,
}

/// A record that can be granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) offset: Offset,
    /// Only looked at with order by key.
    pub(crate) key: KeyHash,
}

/// A decision: the event to log, and the leases that it gives. It may give none and still move cursors.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) event: GroupGranted,
    /// In the order in which they are to be delivered.
    pub(crate) leases: Vec<Lease>,
}

/// A lease as its taker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) place: Place,
    /// From 1.
    pub(crate) attempt: u32,
    pub(crate) epoch: GrantEpoch,
    pub(crate) deadline: Timestamp,
    pub(crate) first_granted: Timestamp,
}

impl Group {
    /// How many of `wanted` records the in-flight limit allows at `now`.
    pub(crate) fn room(&self, wanted: usize, now: Timestamp) -> usize {
        let beyond =
            (self.due.leased() + wanted).saturating_sub(self.settings.in_flight_max as usize);
        // Those that have lapsed do not count. No more are counted than can matter.
        wanted.saturating_sub(beyond - self.due.lapsed(now, beyond))
    }

    /// Whether something that was looked at before may be granted at `now`. With order by partition it may not be for
    /// every taker.
    pub(crate) fn has_deliverable(&self, now: Timestamp) -> bool {
        self.due.deliverable(now).next().is_some()
    }

    /// Whether a record of this key would have to wait for another one.
    pub(crate) fn is_key_taken(&self, key: KeyHash) -> bool {
        self.keys.is_taken(key)
    }

    /// How many more records may be held. Where there is no room, a record whose key is taken stays beyond the cursor, and
    /// so does what is behind it.
    pub(crate) fn held_room(&self) -> usize {
        HELD_MAX.saturating_sub(self.keys.held())
    }

    /// Decides what a taker gets: what is due, then new records.
    ///
    /// Records whose last lease has lapsed are not in it; [`Group::exhausted`] tells them, and
    /// [`Group::decide_bury`] ends them.
    pub(crate) fn decide_grant(
        &self,
        group: u32,
        wish: &Wish,
        examined: &[Examined],
        members: &Members,
        now: Timestamp,
    ) -> Grant {
        let mut draft = Draft::new(self, wish, now);
        match self.settings.ordering {
            _ if draft.room == 0 => {}
            Ordering::Partition => self.draft_batches(&mut draft, wish, examined, members),
            Ordering::None | Ordering::Key => {
                for place in self.due.deliverable(now) {
                    if !draft.lease_again(place) {
                        break;
                    }
                }
                for examined in examined {
                    if draft.room == 0 {
                        break;
                    }
                    draft.examine(examined);
                }
            }
        }
        draft.finish(group, wish.member)
    }
}

/// A grant in the making.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    group: &'a Group,
    pub(super) now: Timestamp,
    lease_us: u64,
    /// How many records may still be granted.
    pub(super) room: usize,
    held_room: usize,
    /// Keys whose head is granted in here.
    taken: BTreeSet<KeyHash>,
    examined: BTreeSet<PartitionId>,
    again: BTreeSet<Place>,
    fresh: Vec<GrantedFresh>,
    leases: Vec<Lease>,
}

impl<'a> Draft<'a> {
    fn new(group: &'a Group, wish: &Wish, now: Timestamp) -> Self {
        let lease_us = wish.lease_us.unwrap_or(group.settings.lease_us);
        Self {
            group,
            now,
            lease_us: lease_us.clamp(LEASE_US_MIN, LEASE_US_MAX),
            room: group.room(wish.records_max, now),
            held_room: group.held_room(),
            taken: BTreeSet::new(),
            examined: BTreeSet::new(),
            again: BTreeSet::new(),
            fresh: Vec::new(),
            leases: Vec::new(),
        }
    }

    /// Leases an open record, if there is room.
    pub(super) fn lease_again(&mut self, place: Place) -> bool {
        let Some(open) = self.group.open(place) else { return false };
        if self.room == 0 {
            return false;
        }
        let first =
            if matches!(open.first_granted, Timestamp(0)) { self.now } else { open.first_granted };
        self.again.insert(place);
        self.lease(place, open.attempts.saturating_add(1), first);
        true
    }

    /// Goes through what was read of a partition until there is no room, or a record can be neither granted nor held.
    /// The cursor stops there: no record is left behind.
    pub(super) fn examine(&mut self, examined: &Examined) {
        let Some(start) = self.group.next(examined.partition) else { return };
        let whole = examined.from <= start && start < examined.end;
        if !whole || !self.examined.insert(examined.partition) {
            return;
        }
        let by_key = self.group.settings.ordering == Ordering::Key;
        let mut fresh = GrantedFresh { partition: examined.partition.0, ..GrantedFresh::default() };
        let (mut leased, mut held) = (Vec::new(), Vec::new());
        let mut end = examined.end;
        let mut least = start;
        for candidate in &examined.candidates {
            let Candidate { offset, key } = *candidate;
            if offset < start {
                continue;
            }
            if offset < least || offset >= examined.end {
                // The shell read something that cannot be: what is behind it counts as not looked at.
                end = least;
                break;
            }
            let place = Place { partition: examined.partition, offset };
            let has_key = by_key && key != KeyHash::NONE;
            let queues = has_key && (self.group.keys.is_taken(key) || self.taken.contains(&key));
            if self.room == 0 || (queues && self.held_room == 0) {
                end = offset;
                break;
            }
            if queues {
                self.held_room -= 1;
                held.push(offset);
                fresh.held_keys.push(key.0);
            } else {
                leased.push(offset);
                if by_key {
                    fresh.leased_keys.push(key.0);
                }
                if has_key {
                    self.taken.insert(key);
                }
                self.lease(place, 1, self.now);
            }
            least = Offset(offset.0.saturating_add(1));
        }
        fresh.moved = end.0 - start.0;
        fresh.leased = runs::pack(leased, start);
        fresh.held = runs::pack(held, start);
        if fresh.moved > 0 {
            self.fresh.push(fresh);
        }
    }

    fn lease(&mut self, place: Place, attempt: u32, first_granted: Timestamp) {
        self.room -= 1;
        self.leases.push(Lease {
            place,
            attempt,
            epoch: self.group.epoch_next,
            deadline: later(self.now, self.lease_us),
            first_granted,
        });
    }

    fn finish(self, group: u32, member: MemberId) -> Grant {
        let mut again: Vec<GrantedAgain> = Vec::new();
        let again_places: Vec<Place> = self.again.into_iter().collect();
        for of_one in again_places.chunk_by(|one, other| one.partition == other.partition) {
            let offsets = runs::pack(of_one.iter().map(|place| place.offset), Offset(0));
            again.push(GrantedAgain { partition: of_one[0].partition.0, offsets });
        }
        let event = GroupGranted {
            group,
            epoch: self.group.epoch_next.0,
            member: member.0,
            lease_us: self.lease_us,
            again,
            fresh: self.fresh,
        };
        Grant { event, leases: self.leases }
    }
}
