//! Makes the log's next file ahead of need, on another thread.
//!
//! Its blocks are allocated and written with zeroes: a sync of a block that was only allocated also has to
//! record that it now holds data, which costs a small group half as much again. Where groups are large that is little,
//! and writing every byte twice is much: then they are only allocated ([`Fill`]). Until the log takes it into use the
//! file has a temporary name and no head. A file that was trimmed is used again rather than removed; it is zeroed first,
//! so nothing of its earlier life is ever met again.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};

use super::file::capacity_of;
use super::trim::SpareFile;

/// Zeroes written at a time, and then synced, so that commits never wait behind a whole file of dirty pages.
const STEP_BYTES: u64 = 1024 * 1024;

/// From this many bytes a sync on, blocks that are only allocated cost less than zeroes written beforehand.
const LARGE_SYNC_BYTES: u64 = 32 * 1024;

const ZEROES: &[u8] = &[0; 256 * 1024];

/// The work of making the log's next file; see [`FileLog::next_file`](super::FileLog::next_file).
#[derive(Debug)]
pub struct PrepareFile {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) fill: Fill,
    /// A file of that length to be used again.
    pub(super) spare: Option<SpareFile>,
}

/// What came of a [`PrepareFile`]; for [`FileLog::prepared`](super::FileLog::prepared).
#[derive(Debug)]
pub struct Prepared {
    pub(super) outcome: io::Result<ReadyFile>,
}

/// A file of zeroes, durable but for its name.
#[derive(Debug)]
pub(super) struct ReadyFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
}

impl ReadyFile {
    /// Bytes of frames that it can hold.
    pub(super) const fn capacity(&self) -> u64 {
        capacity_of(self.bytes)
    }
}

impl PrepareFile {
    /// Makes the file. Blocks for as long as the disk takes.
    #[must_use]
    pub fn run(self) -> Prepared {
        let Self { disk, path, bytes, fill, spare } = self;
        Prepared { outcome: make_file(&*disk, &path, bytes, fill, spare) }
    }
}

/// How the blocks of a new file are got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Written, so that syncs are cheap later. Takes as long as the disk needs for a whole file.
    Zeroes,
    /// Only allocated: because somebody waits, or because groups are large.
    Allocated,
}

impl Fill {
    /// The cheaper way for a log whose syncs carry so many bytes.
    pub(super) const fn for_syncs_of(bytes: u64) -> Self {
        if bytes >= LARGE_SYNC_BYTES { Self::Allocated } else { Self::Zeroes }
    }
}

/// Makes a file of `bytes` zeroes: of `spare`, which has that length, or a new one at `path`. Leaves nothing behind when
/// it fails.
pub(super) fn make_file(
    disk: &dyn Disk,
    path: &Path,
    bytes: u64,
    how: Fill,
    spare: Option<SpareFile>,
) -> io::Result<ReadyFile> {
    let SpareFile { path, file } = match spare {
        Some(spare) => spare,
        None => SpareFile { path: path.to_owned(), file: disk.create(path)? },
    };
    if let Err(error) = fill(&*file, bytes, how) {
        // The first error is the one to tell. A name that stays is removed when the log is opened.
        let _left_behind = disk.remove(&path);
        return Err(error);
    }
    Ok(ReadyFile { path, file, bytes })
}

fn fill(file: &dyn DiskFile, bytes: u64, how: Fill) -> io::Result<()> {
    // What is there belongs to an earlier life of the file.
    let old = file.len()?.min(bytes);
    if old > 0 {
        file.zero(0..old)?;
    }
    file.allocate(bytes)?;
    if how == Fill::Allocated {
        return file.sync_data();
    }
    let mut at = 0;
    while at < bytes {
        let step_end = (at + STEP_BYTES).min(bytes);
        while at < step_end {
            let rest = usize::try_from(step_end - at).unwrap_or(usize::MAX);
            let piece = &ZEROES[..rest.min(ZEROES.len())];
            file.write_at(at, &[IoSlice::new(piece)])?;
            at += piece.len() as u64;
        }
        file.sync_data()?;
    }
    Ok(())
}
