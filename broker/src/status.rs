//! How the broker is doing: for health checks, metrics and people.

use embermq_storage::Position;
use parking_lot::Mutex;

use crate::shard::RecoveryReport;

/// How the broker is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// The first I/O error, if there was one: nothing is acknowledged any more.
    pub poisoned: Option<String>,
    /// Why nothing can be written, if the log was found damaged.
    pub read_only: Option<String>,
    /// Producing is refused for want of space.
    pub storage_full: bool,
    /// Nothing new is taken in.
    pub shutting_down: bool,
    /// What the file system has left.
    pub free_bytes: u64,
    /// Where the commit log begins.
    pub log_start: Position,
    /// Up to where it is durable.
    pub log_durable: Position,
    /// Where it ends.
    pub log_end: Position,
    /// What idempotency keys take, as [`Options::idempotency_bytes_max`](crate::Options::idempotency_bytes_max) counts.
    pub idempotency_bytes: u64,
    /// What producers take, as [`Options::producer_bytes_max`](crate::Options::producer_bytes_max) counts.
    pub producer_bytes: u64,
    /// What opening the folder found.
    pub recovery: RecoveryReport,
}

/// The committer's part of the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardStatus {
    pub(crate) poisoned: Option<String>,
    pub(crate) read_only: Option<Position>,
    pub(crate) storage_full: bool,
    pub(crate) log_start: Position,
    pub(crate) log_durable: Position,
    pub(crate) log_end: Position,
    pub(crate) idempotency_bytes: u64,
    pub(crate) producer_bytes: u64,
}

/// Where the committer leaves its part after each group.
#[derive(Debug, Default)]
pub(crate) struct StatusCell(Mutex<ShardStatus>);

impl StatusCell {
    pub(crate) fn set(&self, status: ShardStatus) {
        *self.0.lock() = status;
    }

    pub(crate) fn poison(&self, cause: String) {
        self.0.lock().poisoned.get_or_insert(cause);
    }

    pub(crate) fn get(&self) -> ShardStatus {
        self.0.lock().clone()
    }
}
