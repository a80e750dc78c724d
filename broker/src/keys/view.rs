//! What a partition's readers share for questions about keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use embermq_storage::keys::KeyTables;
use embermq_storage::reader::PartitionReader;
use tokio::sync::Semaphore;

/// Questions that are answered at the same time: the first one may take long.
const TURNS: usize = 4;

/// The keys of one partition.
#[derive(Debug)]
pub(crate) struct PartitionKeys {
    pub(super) tables: KeyTables,
    pub(super) turns: Arc<Semaphore>,
    /// There was a precondition on a key here since the process started.
    watched: AtomicBool,
}

impl PartitionKeys {
    pub(crate) fn new(reader: &PartitionReader) -> Self {
        Self {
            tables: reader.key_tables(),
            turns: Arc::new(Semaphore::new(TURNS)),
            watched: AtomicBool::new(false),
        }
    }

    /// Ends questions under way that take long.
    pub(crate) fn stop(&self) {
        self.tables.stop();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.tables.is_stopped()
    }

    /// From now on whoever appends says which keys.
    pub(super) fn watch(&self) {
        self.watched.store(true, Ordering::Release);
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }
}
