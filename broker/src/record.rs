//! Records in and out of the embedded interface: what a program produces becomes a batch, what it reads becomes records.

use std::time::Duration;

use embermq_protocol::batch::{Body, FormError, decode_batches};
use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Timestamp};

pub use embermq_protocol::v1::Record;

use crate::commit::{Append, Batch, Commit};
use crate::read::{From, Read, ReadRequest};
use crate::topic::PartitionId;

/// Bytes that a read gives when nothing else is asked for.
const READ_BYTES: u64 = 1 << 20;

/// A record with its place in the partition.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRecord {
    /// Its offset.
    pub offset: Offset,
    /// When it was appended, in log time.
    pub append_time: Timestamp,
    /// The record as it was produced.
    pub record: Record,
}

impl Batch {
    /// A batch of records, in order. It must not be empty to be committed.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        Body::from_records(records).into()
    }
}

impl std::convert::From<Body> for Batch {
    fn from(body: Body) -> Self {
        Self { body: body.bytes, body_crc: body.crc, record_count: body.records }
    }
}

impl Commit {
    /// A commit of one record to partition 0 of a topic.
    #[must_use]
    pub fn of_record(topic: &TopicName, record: &Record) -> Self {
        Self::of_batch(topic, PartitionId(0), Batch::of(std::slice::from_ref(record)))
    }

    /// A commit of one batch.
    #[must_use]
    pub fn of_batch(topic: &TopicName, partition: PartitionId, batch: Batch) -> Self {
        let append = Append { topic: topic.clone(), partition, batch };
        Self { appends: vec![append], ..Self::default() }
    }
}

impl ReadRequest {
    /// A read of partition 0 that does not wait.
    #[must_use]
    pub fn new(topic: &TopicName, from: From) -> Self {
        Self {
            topic: topic.clone(),
            partition: PartitionId(0),
            from,
            bytes_max: READ_BYTES,
            wait: Duration::ZERO,
        }
    }

    /// The same for another partition.
    #[must_use]
    pub fn of_partition(mut self, partition: PartitionId) -> Self {
        self.partition = partition;
        self
    }

    /// The same, waiting so long when there is nothing to read yet.
    #[must_use]
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl Read {
    /// The records at and behind the offset that was asked for.
    ///
    /// # Errors
    /// [`FormError`] when a batch does not decode, which no batch does that the broker has checked.
    pub fn records(&self) -> Result<Vec<ReadRecord>, FormError> {
        decode_batches(self.pieces.iter().cloned(), self.from.0)
            .map(|stored| {
                stored.map(|stored| ReadRecord {
                    offset: Offset(stored.offset),
                    append_time: Timestamp(stored.append_time_us),
                    record: stored.record,
                })
            })
            .collect()
    }
}
