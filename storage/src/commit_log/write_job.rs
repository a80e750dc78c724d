//! Writing and syncing a group on another thread: the committer stages the next one meanwhile.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::names::{Epoch, Position};

use super::group::{Group, Place};

/// The work of writing a group and making it durable; see [`FileLog::write_job`](super::FileLog::write_job).
#[derive(Debug)]
pub struct WriteJob {
    pub(super) file: Arc<dyn DiskFile>,
    /// Byte in the file.
    pub(super) at: u64,
    /// Where the group begins in the log, and where it ends.
    pub(super) position: Position,
    pub(super) end: Position,
    pub(super) epoch: Epoch,
    pub(super) proven: Position,
    pub(super) group: Group,
}

/// What came of a [`WriteJob`]; for [`FileLog::written`](super::FileLog::written).
#[derive(Debug)]
pub struct Written {
    pub(super) group: Group,
    pub(super) end: Position,
    pub(super) outcome: io::Result<()>,
}

impl WriteJob {
    /// Writes and syncs. Blocks for as long as the disk takes.
    #[must_use]
    pub fn run(self) -> Written {
        let Self { file, at, position, end, epoch, proven, mut group } = self;
        let place = Place { file: &*file, at, position, epoch, proven };
        let frames = group.frames();
        let outcome = group.write_to(0..frames, &place).and_then(|()| file.sync_data());
        Written { group, end, outcome }
    }
}
