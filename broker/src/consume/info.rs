//! How a group is doing.

use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::{Offset, Timestamp};

use super::settings::GroupSettings;
use crate::topic::PartitionId;

/// A group, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupInfo {
    /// The topic that it reads.
    pub topic: TopicName,
    /// Its name.
    pub group: GroupName,
    /// Its settings.
    pub settings: GroupSettings,
    /// Where its dead letters go.
    pub dead_letter_topic: TopicName,
    /// When it was created.
    pub created: Timestamp,
    /// Records that are not done, those in flight and waiting among them.
    pub lag_records: u64,
    /// The age of the oldest of them. None: there is none.
    pub lag: Option<Duration>,
    /// Leased now.
    pub in_flight: u64,
    /// Wait for their next attempt.
    pub waiting: u64,
    /// Wait behind another record of their key.
    pub held: u64,
    /// Dead letters that were neither redriven nor dropped.
    pub dead: u64,
    /// Records that are scheduled for the topic. They are in no lag and not in flight.
    pub scheduled: u64,
    /// By number.
    pub partitions: Vec<GroupPartitionInfo>,
}

/// A group in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPartitionInfo {
    /// Its number.
    pub partition: PartitionId,
    /// The first offset that was never offered.
    pub next: Offset,
    /// The first offset that is not done.
    pub first_open: Offset,
    /// Records below `next` that are not done.
    pub open: u64,
    /// Records up to the end that are not done.
    pub lag_records: u64,
}

/// What a seek does, or would do, to one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Its number.
    pub partition: PartitionId,
    /// Where the group stood.
    pub from: Offset,
    /// Where it stands.
    pub to: Offset,
    /// Records that are offered once more.
    pub read_again: u64,
    /// Records that are never offered.
    pub skipped: u64,
    /// Leases that are not their holders' any more.
    pub leases_lost: u64,
}

/// Which dead letters to offer once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redrive {
    /// Offsets in the dead-letter topic. Empty: all.
    pub offsets: Vec<Offset>,
    /// Only those whose reason or error holds this text. Empty: all.
    pub contains: String,
    /// At most so many. None: all.
    pub records_max: Option<u32>,
    /// Only say what it would do.
    pub dry_run: bool,
    /// Do not offer them, only take them off the list.
    pub drop: bool,
}

/// What a redrive did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Dead letters that fit the request.
    pub matched: u64,
    /// Of them: offered once more, or dropped.
    pub done: u64,
}
