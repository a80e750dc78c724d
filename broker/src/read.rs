//! Reading: which records, how many, and how long to wait for them.

use std::time::Duration;

use bytes::Bytes;
use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Timestamp};

use crate::topic::PartitionId;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The first record that is still there.
    Start,
    /// Behind the last one.
    End,
    /// This offset; up to the end's own offset is in range.
    Offset(Offset),
    /// The first record appended at or after this time.
    Time(Timestamp),
}

/// A request to read one partition.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionId,
    /// Where to begin.
    pub from: From,
    /// A soft bound: at least one whole batch is given when there is one.
    pub bytes_max: u64,
    /// How long to wait when there is nothing yet; zero answers at once.
    pub wait: Duration,
}

/// What was read: whole batches, zero-copy slices of the segments.
#[derive(Clone, Debug)]
pub struct Read {
    /// Each a run of whole `batches` fields of a `FetchResponse`. May start before `from`: the first batch is given whole.
    pub pieces: Vec<Bytes>,
    /// The offset that was asked for, resolved.
    pub from: Offset,
    /// Where to go on reading.
    pub next: Offset,
    /// The partition's first offset.
    pub start: Offset,
    /// The partition's end (the next record's offset).
    pub end: Offset,
}
