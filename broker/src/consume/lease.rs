//! Leases: what is asked for, what is given, and how they end.

use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::{Offset, Timestamp};

use crate::commit::Appended;
use crate::record::Record;
use crate::topic::PartitionId;

/// A wish for records.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The topic.
    pub topic: TopicName,
    /// The group; made with default settings when there is none.
    pub group: GroupName,
    /// Who asks; with order by partition a partition stays with its member. May be empty.
    pub member: String,
    /// At most so many records.
    pub records_max: u32,
    /// How long to wait when there is none.
    pub wait: Duration,
    /// How long the leases last. None: as the group says.
    pub lease: Option<Duration>,
}

impl LeaseRequest {
    /// One record, without waiting.
    #[must_use]
    pub fn new(topic: &TopicName, group: &GroupName) -> Self {
        Self {
            topic: topic.clone(),
            group: group.clone(),
            member: String::new(),
            records_max: 1,
            wait: Duration::ZERO,
            lease: None,
        }
    }
}

/// A record that is the taker's until it is settled or the lease ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// What settles it; opaque.
    pub token: String,
    /// Where it is.
    pub partition: PartitionId,
    /// Where it is.
    pub offset: Offset,
    /// From 1.
    pub attempt: u32,
    /// When the lease ends.
    pub deadline: Timestamp,
    /// When its first attempt began.
    pub first_leased: Timestamp,
    /// When the broker took the record.
    pub append_time: Timestamp,
    /// The record as it was produced.
    pub record: Record,
}

/// What the holder of a lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Ack,
    /// It failed: again later. On the last attempt it goes to the dead-letter topic.
    Nack {
        /// None: as the group's backoff says.
        delay: Option<Duration>,
        /// Kept with the dead letter. May be empty.
        error: String,
    },
    /// It can never succeed: to the dead-letter topic now.
    Reject {
        /// Kept with the dead letter.
        reason: String,
    },
    /// It takes longer: until this long from now at least.
    Extend {
        /// How long.
        by: Duration,
    },
    /// Not tried: to somebody else at once, and this was no attempt.
    Release,
}

/// One lease and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Of the lease.
    pub token: String,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What became of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is done.
    Acked,
    /// It is offered again at this time.
    Waiting {
        /// When.
        until: Timestamp,
    },
    /// It lasts until this time.
    Extended {
        /// When it ends.
        deadline: Timestamp,
    },
    /// It is in the dead-letter topic.
    Dead {
        /// Where.
        letter: Appended,
    },
}
