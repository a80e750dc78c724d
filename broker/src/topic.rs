//! What a topic is: its settings, and the view of it that readers and the interfaces see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use embermq_protocol::names::TopicName;
use embermq_storage::reader::PartitionReader;
use embermq_storage::{Offset, Timestamp};
use tokio::sync::Notify;

use crate::keys::PartitionKeys;
use crate::metrics::TopicCounters;
use crate::read_ahead::ReadAhead;

/// The number of a topic: its name on disk. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u32);

/// The number of a partition within its topic, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the device: survives kill -9 and power loss (the default).
    #[default]
    Fsync,
    /// In the operating system's memory: survives kill -9; power loss may take the last moments, always as a suffix.
    Os,
}

/// What happens to old records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cleanup {
    /// Whole segments beyond the retention's age or bytes are deleted.
    #[default]
    Delete,
    /// The latest record of each key stays for ever; age and bytes do not delete.
    Compact,
}

/// The settings of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// How many partitions; may grow later, never shrink. 1 to 1,024.
    pub partitions: u32,
    /// Records older than this may be deleted; `None` keeps them whatever their age.
    pub retention_age: Option<Duration>,
    /// A partition larger than this loses its oldest segments; `None`: no bound.
    pub retention_bytes: Option<u64>,
    /// Delete or compact.
    pub cleanup: Cleanup,
    /// How long a tombstone (a key without a value) stays readable in a compacted topic.
    pub tombstone_retention: Duration,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// The largest record (key, value and headers), in bytes.
    pub record_bytes_max: u32,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            partitions: 1,
            retention_age: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            cleanup: Cleanup::Delete,
            tombstone_retention: Duration::from_secs(24 * 3600),
            durability: Durability::Fsync,
            record_bytes_max: 8 << 20,
        }
    }
}

/// A change of settings: what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicEdit {
    /// More partitions than now.
    pub partitions: Option<u32>,
    /// `Some(None)` removes the bound.
    pub retention_age: Option<Option<Duration>>,
    /// `Some(None)` removes the bound.
    pub retention_bytes: Option<Option<u64>>,
    /// Delete or compact.
    pub cleanup: Option<Cleanup>,
    /// How long tombstones stay.
    pub tombstone_retention: Option<Duration>,
    /// What an acknowledgement means from now on.
    pub durability: Option<Durability>,
    /// The largest record from now on.
    pub record_bytes_max: Option<u32>,
}

/// A topic as committed: a cheap view that stays valid, and keeps showing new ends, while it is held.
#[derive(Debug)]
pub struct Topic {
    /// Its number.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its settings at the time of this view.
    pub settings: TopicSettings,
    /// When it was created.
    pub created: Timestamp,
    /// Its partitions, by number.
    pub partitions: Vec<Arc<Partition>>,
    /// What went in and out since the process started.
    pub counters: Arc<TopicCounters>,
    /// Woken when any of its partitions grows.
    pub(crate) grown: Arc<Notify>,
}

/// A partition as readers see it.
#[derive(Debug)]
pub struct Partition {
    /// The published part of its log.
    pub reader: PartitionReader,
    /// Woken when the end moves, and when the topic is deleted.
    pub(crate) grown: Notify,
    pub(crate) deleted: AtomicBool,
    pub(crate) ahead: ReadAhead,
    pub(crate) keys: PartitionKeys,
}

impl Partition {
    pub(crate) fn new(reader: PartitionReader) -> Self {
        Self {
            keys: PartitionKeys::new(&reader),
            reader,
            grown: Notify::new(),
            deleted: AtomicBool::new(false),
            ahead: ReadAhead::default(),
        }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// The first offset that is still there.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.reader.start()
    }

    /// The offset that the next record gets (of what is visible).
    #[must_use]
    pub fn end(&self) -> Offset {
        self.reader.end()
    }
}
