//! One open record: the group has looked at it, and it is not done.

use embermq_storage::{Offset, Timestamp};

use crate::topic::PartitionId;

/// Where a record stands in the topic that the group reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
}

impl Place {
    pub(super) const FIRST: Self = Self::first_of(PartitionId(0));
    pub(super) const LAST: Self = Self::last_of(PartitionId(u32::MAX));

    pub(super) const fn first_of(partition: PartitionId) -> Self {
        Self { partition, offset: Offset(0) }
    }

    pub(super) const fn last_of(partition: PartitionId) -> Self {
        Self { partition, offset: Offset(u64::MAX) }
    }
}

/// A hash of a record's key. Two keys with one hash take turns as if they were one, which costs time and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyHash(pub(crate) u64);

impl KeyHash {
    /// Of a record without a key, which no other record waits for.
    pub(crate) const NONE: Self = Self(0);
}

/// A hash of a member's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(pub(crate) u64);

impl MemberId {
    /// A member without a name: no partition stays with it.
    pub(crate) const NONE: Self = Self(0);
}

/// The number of a grant within its group, from 1. All leases of one grant carry it, and no later one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GrantEpoch(pub(crate) u64);

/// What is known of an open record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// How often it was granted, without the grants that were given back.
    pub(crate) attempts: u32,
    /// [`KeyHash::NONE`] unless the group orders by key.
    pub(crate) key: KeyHash,
    /// When it was granted first; 0 before.
    pub(crate) first_granted: Timestamp,
    pub(crate) state: OpenState,
}

/// What an open record waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenState {
    /// For its holder. It may lapse without anybody asking: then it is still the holder's until it is granted again.
    Leased { deadline: Timestamp, epoch: GrantEpoch, member: MemberId },
    /// For a moment: that of its next attempt, or one that has come already, and then it is ready.
    Waiting { until: Timestamp },
    /// For the record of its key that is ahead of it.
    Held,
}

impl Open {
    /// From when on it may be granted, as far as it alone decides.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.state {
            OpenState::Leased { deadline, .. } => Some(deadline),
            OpenState::Waiting { until } => Some(until),
            OpenState::Held => None,
        }
    }

    /// Whether its lease is the last that it may have.
    pub(super) fn on_last_attempt(&self, attempts_max: u32) -> bool {
        matches!(self.state, OpenState::Leased { .. }) && self.attempts >= attempts_max
    }

    /// Whether it may be granted at `now`, as far as it alone decides.
    pub(super) fn is_deliverable(&self, attempts_max: u32, now: Timestamp) -> bool {
        self.due().is_some_and(|due| due <= now) && !self.on_last_attempt(attempts_max)
    }
}

/// The moment `us` microseconds after `time`.
pub(super) fn later(time: Timestamp, us: u64) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(us).unwrap_or(i64::MAX)))
}

/// How many microseconds `moment` lies after `time`; 0 if it is not after it.
pub(super) fn until(moment: Timestamp, time: Timestamp) -> u64 {
    u64::try_from(moment.0.saturating_sub(time.0)).unwrap_or(0)
}
