//! Giving back the files that nobody needs any more, on another thread.
//!
//! Some of them are kept for reuse, under a temporary name. Where a file system tells its device of every freed block,
//! removing a file of 64 MiB stops all syncs for 50 to 100 ms; a log under load would do that several times a second.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Folder, give_back};

use super::file::LogFile;

/// The work of giving old files back; see [`FileLog::trim_job`](super::FileLog::trim_job).
#[derive(Debug)]
pub struct TrimJob {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: Arc<dyn Folder>,
    /// Oldest first, each with the name under which it is to be kept, if it is.
    pub(super) files: Vec<(LogFile, Option<PathBuf>)>,
}

/// What came of a [`TrimJob`]; for [`FileLog::trimmed`](super::FileLog::trimmed).
#[derive(Debug)]
pub struct Trimmed {
    /// Files that are still part of the log.
    pub(super) left: Vec<LogFile>,
    pub(super) kept: Vec<SpareFile>,
    pub(super) outcome: io::Result<()>,
}

/// A file that was part of the log, with whatever it holds.
#[derive(Debug)]
pub(super) struct SpareFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
}

impl TrimJob {
    /// Removes or renames the files. Blocks for as long as the disk takes.
    #[must_use]
    pub fn run(self) -> Trimmed {
        let Self { disk, folder, files } = self;
        let (mut left, mut kept, mut outcome) = (Vec::new(), Vec::new(), Ok(()));
        for (old, keep_as) in files {
            if outcome.is_err() {
                left.push(old);
                continue;
            }
            // From the oldest on, each durably before the next: whatever a crash leaves has no gap.
            outcome = match &keep_as {
                Some(path) => disk.rename(&old.path, path),
                None => disk.remove(&old.path),
            };
            match &outcome {
                Err(e) if e.kind() == ErrorKind::NotFound => outcome = folder.sync(),
                Err(_) => left.push(old),
                Ok(()) => {
                    outcome = folder.sync();
                    match keep_as {
                        Some(path) => kept.push(SpareFile { path, file: old.file }),
                        None if outcome.is_ok() => outcome = give_back(&*old.file),
                        None => {}
                    }
                }
            }
        }
        Trimmed { left, kept, outcome }
    }
}
