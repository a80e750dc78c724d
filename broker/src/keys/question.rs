//! What can be asked about a key, and the answers.

use bytes::Bytes;
use embermq_protocol::names::TopicName;
use embermq_protocol::v1::Record;
use embermq_storage::{Offset, Timestamp};

use crate::topic::PartitionId;

/// A moment of the past: everything up to and including it counts, nothing behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Behind this offset of the partition.
    Offset(Offset),
    /// At this time, by append times.
    Time(Timestamp),
}

/// Where and as of when a key is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyQuery {
    /// Only here; `None`: the key's own partition, and when that has no record of it, all others.
    pub partition: Option<PartitionId>,
    /// `None`: now. An offset means the partition that is named, else the key's own; no other is looked at.
    pub as_of: Option<AsOf>,
}

/// Which part of a key's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHistoryQuery {
    /// Where and as of when.
    pub query: KeyQuery,
    /// Only records below this offset: [`KeyHistory::before`] of the page before.
    pub before: Option<Offset>,
    /// At most so many records; a page also ends behind 8 MiB of them, and behind 32 MiB that were inflated to find them.
    pub limit: usize,
}

impl Default for KeyHistoryQuery {
    fn default() -> Self {
        Self { query: KeyQuery::default(), before: None, limit: 100 }
    }
}

/// A record that was found by its key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    /// Where it is.
    pub partition: PartitionId,
    /// Its offset: the version of the key that it made.
    pub offset: Offset,
    /// When it was appended, in log time.
    pub append_time: Timestamp,
    /// The record as it was produced.
    pub record: Record,
}

impl KeyRecord {
    /// Bytes of key, value and headers.
    pub(super) fn bytes(&self) -> u64 {
        let Record { key, value, headers, .. } = &self.record;
        let headers = headers.iter().map(|header| header.name.len() + header.value.len());
        let bytes = key.as_ref().map_or(0, Bytes::len)
            + value.as_ref().map_or(0, Bytes::len)
            + headers.sum::<usize>();
        bytes as u64
    }

    /// The same in memory of its own. A record may be a slice of a batch that was inflated, and so keep all of that.
    pub(super) fn detached(mut self) -> Self {
        let own = |bytes: &mut Bytes| *bytes = Bytes::copy_from_slice(bytes);
        self.record.key.as_mut().map(own);
        self.record.value.as_mut().map(own);
        self.record.headers.iter_mut().for_each(|header| own(&mut header.value));
        self
    }
}

/// A page of what a key had in one partition, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyHistory {
    /// The partition.
    pub partition: PartitionId,
    /// The records, tombstones included.
    pub records: Vec<KeyRecord>,
    /// Where the next page goes on; `None`: this was all.
    pub before: Option<Offset>,
}

/// Why a key has no record to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoKey {
    /// The topic.
    pub topic: TopicName,
    /// The partition that was looked at, the key's own if none was named.
    pub partition: PartitionId,
    /// The key.
    pub key: Bytes,
    /// Its latest record, when that one is a tombstone.
    pub tombstone: Option<Offset>,
    /// Set when the question was about the past: records of the partition are kept from here on.
    pub kept_from: Option<Offset>,
}

impl std::fmt::Display for NoKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { topic, partition, key, tombstone, kept_from } = self;
        let (key, partition) = (key.escape_ascii(), partition.0);
        match (tombstone, kept_from) {
            (Some(offset), _) => write!(
                f,
                "key \"{key}\" of topic {topic} is gone: offset {offset} of partition {partition} is its tombstone"
            ),
            (None, Some(start)) => write!(
                f,
                "topic {topic} had no record of key \"{key}\" then, as far as is kept: partition {partition} from offset {start} on"
            ),
            (None, None) => write!(f, "topic {topic} has no record of key \"{key}\""),
        }
    }
}
