//! Syncing without the log in hand: whoever waits for the disk lets others write meanwhile.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::names::Position;

/// The sync of what was written so far; see [`FileLog::sync_job`](super::FileLog::sync_job).
#[derive(Debug)]
pub struct SyncJob {
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the log ended when this was asked for.
    pub(super) end: Position,
}

/// What came of a [`SyncJob`]; for [`FileLog::synced`](super::FileLog::synced).
#[derive(Debug)]
pub struct Synced {
    pub(super) end: Position,
    pub(super) outcome: io::Result<()>,
}

impl SyncJob {
    /// Syncs. Blocks for as long as the disk takes.
    #[must_use]
    pub fn run(self) -> Synced {
        Synced { end: self.end, outcome: self.file.sync_data() }
    }
}
