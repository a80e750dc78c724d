//! Opening a log after whatever happened to it.
//!
//! What [`survey`](super::survey) calls damage is left as it is. The rest is made certain, in this order, before
//! anything may be appended:
//!
//! 1. the torn tail is overwritten with zeroes, so that no frame of it can appear behind later ones;
//! 2. frames that nothing proves durable are written again as they are: after a failed sync the kernel may
//!    hold pages that it takes for clean and that never reached the disk;
//! 3. the file is synced, and so are the names in the folder: after a mere kill both may be in memory only.

use std::io::{self, IoSlice};
use std::path::Path;

use crate::disk::{Disk, Folder};
use crate::names::Position;

use super::damage::{Damage, TornTail};
use super::file::LogFile;
use super::survey::Survey;

/// Bytes written again at a time.
const REWRITE_BYTES: u64 = 1024 * 1024;

/// What was found when a log was opened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LogRecovery {
    /// Bytes read to find the end of the log.
    pub scanned_bytes: u64,
    /// A write that was cut off, now zeroed. Nothing that was acknowledged.
    pub torn: Option<TornTail>,
    /// Places that were durable and are not good any more. They were left as they are.
    pub damage: Vec<Damage>,
}

/// Makes what `survey` found in `files` certain.
pub(super) fn settle(files: &[LogFile], survey: &Survey) -> io::Result<()> {
    let Some(last) = files.last() else { return Ok(()) };
    if survey.appendable {
        if let Some(torn) = &survey.torn {
            last.file.zero(torn.file_position..torn.file_position + torn.bytes)?;
        }
        rewrite(last, survey.proven.max(last.first), survey.end)?;
    }
    last.file.sync_data()
}

/// Writes the bytes between two positions as they are.
fn rewrite(file: &LogFile, from: Position, to: Position) -> io::Result<()> {
    let mut position = from;
    while position < to {
        let len = (to.0 - position.0).min(REWRITE_BYTES);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let at = file.byte_of(position);
        if file.file.read_at(at, &mut bytes)? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.file.write_at(at, &[IoSlice::new(&bytes)])?;
        position = Position(position.0 + len);
    }
    Ok(())
}

/// Makes the log's folder and the names in it durable.
pub(super) fn settle_names(disk: &dyn Disk, dir: &Path, folder: &dyn Folder) -> io::Result<()> {
    folder.sync()?;
    // Whoever made the folder may have been killed before its own name was durable.
    dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))
}
