//! What happens to a group, as the commit log keeps it.
//!
//! Every acknowledgement is logged, so the messages are small: offsets are packed as runs (see `runs`), times are
//! microseconds after the frame's. These messages are the broker's own: field numbers stay, new ones may be added.

use prost::Message;

use super::backoff::Backoff;
use super::settings::{GroupSettings, Ordering};
use crate::frame::FrameMalformed;

/// Records were leased to one taker, and the cursor went over others.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupGranted {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    /// Of all leases in here.
    #[prost(uint64, tag = "2")]
    pub(crate) epoch: u64,
    #[prost(fixed64, tag = "3")]
    pub(crate) member: u64,
    /// How long after the frame's time all leases in here end.
    #[prost(uint64, tag = "4")]
    pub(crate) lease_us: u64,
    #[prost(message, repeated, tag = "5")]
    pub(crate) again: Vec<GrantedAgain>,
    /// In the order in which they were decided.
    #[prost(message, repeated, tag = "6")]
    pub(crate) fresh: Vec<GrantedFresh>,
}

/// Open records that were leased: as runs from 0.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GrantedAgain {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) offsets: Vec<u64>,
}

/// How far the cursor of a partition moved, and what was opened on the way; all else there was passed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GrantedFresh {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) moved: u64,
    /// As runs from where the cursor was.
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) leased: Vec<u64>,
    /// The keys of `leased`; none unless the group orders by key.
    #[prost(fixed64, repeated, tag = "4")]
    pub(crate) leased_keys: Vec<u64>,
    /// As runs from where the cursor was: behind another record of their key.
    #[prost(uint64, repeated, tag = "5")]
    pub(crate) held: Vec<u64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub(crate) held_keys: Vec<u64>,
}

/// Leases ended, or became longer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupSettled {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) partitions: Vec<SettledPartition>,
}

/// What ended in one partition. All offsets are runs from 0.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SettledPartition {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) acked: Vec<u64>,
    /// The same frame holds their dead letters.
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) dead: Vec<u64>,
    /// They wait for their next attempt.
    #[prost(uint64, repeated, tag = "4")]
    pub(crate) nacked: Vec<u64>,
    /// How long, one for each of `nacked`.
    #[prost(uint64, repeated, tag = "5")]
    pub(crate) delays_us: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    pub(crate) extended: Vec<u64>,
    /// How long after the frame's time they end now, one for each of `extended`.
    #[prost(uint64, repeated, tag = "7")]
    pub(crate) leases_us: Vec<u64>,
    /// Given back as if they had not been granted.
    #[prost(uint64, repeated, tag = "8")]
    pub(crate) released: Vec<u64>,
}

/// The group reads on from elsewhere.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupSought {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    /// Those that are not in here stay as they are.
    #[prost(message, repeated, tag = "2")]
    pub(crate) partitions: Vec<SoughtPartition>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct SoughtPartition {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) next: u64,
}

/// Records that were done are offered once more.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupOffered {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) partitions: Vec<OfferedPartition>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct OfferedPartition {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    /// As runs from 0.
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) offsets: Vec<u64>,
    /// One for each; none unless the group orders by key.
    #[prost(fixed64, repeated, tag = "3")]
    pub(crate) keys: Vec<u64>,
}

/// A group's settings as stored.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredGroupSettings {
    /// 0 none, 1 key, 2 partition.
    #[prost(uint32, tag = "1")]
    pub(crate) ordering: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) lease_us: u64,
    #[prost(uint32, tag = "3")]
    pub(crate) attempts_max: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) backoff_initial_us: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) backoff_max_us: u64,
    #[prost(uint32, tag = "6")]
    pub(crate) backoff_multiplier_permille: u32,
    #[prost(bool, tag = "7")]
    pub(crate) backoff_jitter: bool,
    #[prost(uint32, tag = "8")]
    pub(crate) in_flight_max: u32,
    #[prost(string, tag = "9")]
    pub(crate) dead_letter_topic: String,
    #[prost(string, tag = "10")]
    pub(crate) filter: String,
}

impl GroupGranted {
    /// Whether it says nothing, so that it need not be logged.
    pub(crate) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.fresh.is_empty()
    }
}

impl GroupSettled {
    /// Whether it says nothing, so that it need not be logged.
    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

impl GroupOffered {
    /// Whether it says nothing, so that it need not be logged.
    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

impl StoredGroupSettings {
    pub(crate) fn of(settings: &GroupSettings) -> Self {
        Self {
            ordering: match settings.ordering {
                Ordering::None => 0,
                Ordering::Key => 1,
                Ordering::Partition => 2,
            },
            lease_us: settings.lease_us,
            attempts_max: settings.attempts_max,
            backoff_initial_us: settings.backoff.initial_us,
            backoff_max_us: settings.backoff.max_us,
            backoff_multiplier_permille: settings.backoff.multiplier_permille,
            backoff_jitter: settings.backoff.jitter,
            in_flight_max: settings.in_flight_max,
            dead_letter_topic: settings.dead_letter_topic.clone(),
            filter: settings.filter.clone(),
        }
    }

    pub(crate) fn to_settings(&self) -> Result<GroupSettings, FrameMalformed> {
        let ordering = match self.ordering {
            0 => Ordering::None,
            1 => Ordering::Key,
            2 => Ordering::Partition,
            other => return Err(FrameMalformed(format!("there is no ordering number {other}"))),
        };
        let settings = GroupSettings {
            ordering,
            lease_us: self.lease_us,
            attempts_max: self.attempts_max,
            backoff: Backoff {
                initial_us: self.backoff_initial_us,
                max_us: self.backoff_max_us,
                multiplier_permille: self.backoff_multiplier_permille,
                jitter: self.backoff_jitter,
            },
            in_flight_max: self.in_flight_max,
            dead_letter_topic: self.dead_letter_topic.clone(),
            filter: self.filter.clone(),
        };
        settings
            .check()
            .map_err(|error| FrameMalformed(format!("settings of a group: {error}")))?;
        Ok(settings)
    }
}
