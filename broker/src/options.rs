//! How a broker is opened.

use std::time::Duration;

/// Options of a [`Broker`](crate::Broker). The defaults suit a small server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a commit-log file. Two to three of them are on disk at any time.
    pub log_file_bytes: u64,
    /// Size of a full segment.
    pub segment_bytes: u64,
    /// Bytes of commits that may wait to be written before producers get [`Overloaded`](crate::CommitError::Overloaded).
    pub queue_bytes_max: u64,
    /// Bytes of requests that may be held in memory at once ([`Broker::admit`](crate::Broker::admit)).
    pub admitted_bytes_max: u64,
    /// Commit-log space for when the disk is full: consumers may use three quarters of it, deletes and retention all.
    pub log_reserve_bytes: u64,
    /// The largest commit.
    pub commit_bytes_max: u64,
    /// The most schedules that may be pending, over all topics; each takes about 90 bytes of memory.
    pub schedules_max: u32,
    /// Bytes of memory that idempotency keys may take, over all topics: about 300 for each, and 48 for each further
    /// partition that its commit appended to. Beyond that a new key is refused
    /// ([`TooManyIdempotencyKeys`](crate::CommitError::TooManyIdempotencyKeys)).
    pub idempotency_bytes_max: u64,
    /// Bytes of memory that producers may take, over all topics: 1 KiB for each, or more where its last commits appended to
    /// many partitions. Beyond that a new one is refused ([`TooManyProducers`](crate::CommitError::TooManyProducers)), and
    /// one that is known goes on.
    pub producer_bytes_max: u64,
    /// A snapshot is taken after this many bytes of commit log; bounds what a restart replays.
    pub snapshot_log_bytes: u64,
    /// How often retention and compaction look at the topics.
    pub retention_interval: Duration,
    /// How long the idempotency keys of a topic are remembered.
    pub idempotency_window: Duration,
    /// How long a silent producer's sequence is remembered.
    pub producer_window: Duration,
    /// For topics with durability `os`: the longest time without a sync.
    pub os_sync_interval: Duration,
    /// For topics with durability `os`: the most bytes of commit log without a sync.
    pub os_unsynced_bytes_max: u64,
    /// Opens a data folder whose commit log is damaged for writing, giving up the records that are lost.
    pub accept_loss: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log_file_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            queue_bytes_max: 256 << 20,
            admitted_bytes_max: 256 << 20,
            log_reserve_bytes: 1 << 20,
            commit_bytes_max: 65 << 20,
            schedules_max: 10_000_000,
            idempotency_bytes_max: 1 << 30,
            producer_bytes_max: 1 << 30,
            snapshot_log_bytes: 256 << 20,
            retention_interval: Duration::from_secs(30),
            idempotency_window: Duration::from_secs(300),
            producer_window: Duration::from_secs(7 * 24 * 3600),
            os_sync_interval: Duration::from_millis(50),
            os_unsynced_bytes_max: 64 << 20,
            accept_loss: false,
        }
    }
}
