//! Consumer groups: who holds which record, who may have it next, and which are done.
//!
//! A group reads one topic. For each partition it has a cursor, the first offset that it has never looked at, and below
//! the cursor the open records: leased, waiting for their next attempt, or held behind another record of their key.
//! Whatever else lies below the cursor is done. So memory goes with the gaps, not with the records.
//!
//! This is the pure core. `decide_*` turns a request into an event and an answer and changes nothing; `apply_*` folds an
//! event in and decides nothing. No clock, no randomness, no file: time comes with the call (and never goes back), a
//! seed for jitter comes with it, and record contents (keys, filters) are looked at by the shell. The same events give
//! the same group, always. A clone is cheap and shares everything, so that a snapshot is written from a clone.
//!
//! What holds at any time:
//! - a lease is its holder's until it is settled or granted again, even after its deadline;
//! - an attempt is counted when it is granted, and a record on its last attempt is not granted again;
//! - only leases that live count against `in_flight_max`: waiting and held records do not;
//! - with order by key, a key has one head and all other open records of it are held (see `keys`);
//! - with order by partition, a partition has one batch in flight (see `turns`).

mod apply;
mod backoff;
mod due;
mod event;
mod figures;
mod grant;
mod keys;
mod members;
#[cfg(test)]
mod model;
mod open;
mod redrive;
mod runs;
mod seek;
mod settings;
mod settle;
#[cfg(test)]
mod simulation;
mod snapshot;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;

use embermq_storage::{Offset, Timestamp};
use imbl::{OrdMap, Vector};

pub(crate) use backoff::Backoff;
pub(crate) use event::{
    GroupGranted, GroupOffered, GroupSettled, GroupSought, StoredGroupSettings,
};
pub(crate) use grant::{Candidate, Examined, Lease, Wish};
pub(crate) use members::Members;
pub(crate) use open::{GrantEpoch, KeyHash, MemberId, Open, OpenState, Place};
pub(crate) use redrive::{Offer, Offered};
pub(crate) use seek::SeekPreview;
pub use settings::Ordering;
pub(crate) use settings::{DELAY_US_MAX, GroupSettings, SettingInvalid};
pub(crate) use settle::{Dead, LeaseRef, Outcome, Settlement, Verdict};
pub(crate) use snapshot::KeptGroupRecord;

use due::Due;
use keys::KeyQueues;
use turns::Turns;

use crate::frame::FrameMalformed;
use crate::topic::PartitionId;

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    settings: Arc<GroupSettings>,
    /// That of the next grant.
    epoch_next: GrantEpoch,
    cursors: Vector<Cursor>,
    open: OrdMap<Place, Open>,
    /// `due`, `keys` and `turns` follow from `open`; `Group::put` keeps them in step.
    due: Due,
    keys: KeyQueues,
    turns: Turns,
}

/// How far a group has looked at a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    /// The first offset never looked at.
    next: Offset,
    /// How many records below `next` are open.
    open: u64,
    /// The last grant from this partition, with order by partition: leases of older ones are void.
    batch: GrantEpoch,
    /// Who had it.
    member: MemberId,
}

impl Group {
    /// A group that begins at these offsets, one for each partition. The settings have been checked.
    pub(crate) fn new(settings: GroupSettings, starts: impl IntoIterator<Item = Offset>) -> Self {
        let cursors = starts.into_iter().map(|next| Cursor { next, ..Cursor::default() });
        Self {
            settings: Arc::new(settings),
            epoch_next: GrantEpoch(1),
            cursors: cursors.collect(),
            open: OrdMap::new(),
            due: Due::default(),
            keys: KeyQueues::default(),
            turns: Turns::default(),
        }
    }

    /// Its settings.
    pub(crate) fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    /// How many partitions it reads.
    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.cursors.len()).unwrap_or(u32::MAX)
    }

    /// The first offset of a partition that it has never looked at: candidates begin here.
    pub(crate) fn next(&self, partition: PartitionId) -> Option<Offset> {
        Some(self.cursor(partition)?.next)
    }

    /// What is known of a record, if it is open.
    pub(crate) fn open(&self, place: Place) -> Option<&Open> {
        self.open.get(&place)
    }

    /// The leases that some members hold, lapsed ones included, in the order of their records.
    pub(crate) fn leases_of(
        &self,
        whose: impl Fn(MemberId) -> bool,
    ) -> impl Iterator<Item = LeaseRef> {
        self.open.iter().filter_map(move |(place, open)| match open.state {
            OpenState::Leased { epoch, member, .. } if whose(member) => {
                Some(LeaseRef { place: *place, attempt: open.attempts, epoch })
            }
            _ => None,
        })
    }

    /// Takes over other settings, which [`GroupSettings::check_edit`] allowed. A lower number of attempts applies to a
    /// record when its present lease ends; one that is waiting gets the attempt that it waits for.
    pub(crate) fn edit(&mut self, settings: GroupSettings) {
        let attempts_max = settings.attempts_max;
        self.settings = Arc::new(settings);
        self.due = Due::default();
        for (place, open) in &self.open {
            self.due.note(*place, open, attempts_max);
        }
    }

    /// Reads more partitions: the topic has got them.
    pub(crate) fn grow(&mut self, partitions: u32) {
        for _ in self.partitions()..partitions {
            self.cursors.push_back(Cursor::default());
        }
    }

    fn cursor(&self, partition: PartitionId) -> Option<&Cursor> {
        self.cursors.get(partition.0 as usize)
    }

    fn cursor_mut(&mut self, partition: PartitionId) -> Result<&mut Cursor, FrameMalformed> {
        self.cursors
            .get_mut(partition.0 as usize)
            .ok_or_else(|| FrameMalformed(format!("the group reads no partition {}", partition.0)))
    }

    /// The open records of a partition, in order.
    fn open_in(&self, partition: PartitionId) -> impl DoubleEndedIterator<Item = (Place, &Open)> {
        let places = Place::first_of(partition)..=Place::last_of(partition);
        self.open.range(places).map(|(place, open)| (*place, open))
    }

    /// Opens, changes or closes a record: the only place that does.
    fn put(&mut self, place: Place, new: Option<Open>) {
        let attempts_max = self.settings.attempts_max;
        let by_partition = self.settings.ordering == Ordering::Partition;
        let old = match new {
            Some(new) => self.open.insert(place, new),
            None => self.open.remove(&place),
        };
        if let Some(old) = &old {
            self.due.forget(place, old, attempts_max);
            self.keys.forget(place, old);
            if by_partition {
                self.turns.forget(place, old);
            }
        }
        if let Some(new) = &new {
            self.due.note(place, new, attempts_max);
            self.keys.note(place, new);
            if by_partition {
                self.turns.note(place, new);
            }
        }
        if let Some(cursor) = self.cursors.get_mut(place.partition.0 as usize) {
            cursor.open = cursor.open + u64::from(new.is_some()) - u64::from(old.is_some());
        }
    }

    /// Closes a record, and lets the next one of its key go on.
    fn close(&mut self, place: Place, time: Timestamp) {
        let Some(key) = self.open.get(&place).map(|open| open.key) else { return };
        self.put(place, None);
        if let Some(next) = self.keys.next(key, place.partition)
            && let Some(held) = self.open.get(&next).copied()
        {
            self.put(next, Some(Open { state: OpenState::Waiting { until: time }, ..held }));
        }
    }
}
