//! Checks every byte of a log that nobody has open. Pure reading.

use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::names::Position;

use super::LogError;
use super::damage::{Damage, TornTail};
use super::file::{LogFile, first_of, open_all};
use super::survey::survey;

/// What a log holds, and what is wrong with it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LogReport {
    /// Where the log starts.
    pub start: Position,
    /// Where it ends: behind the last frame that the broker would accept.
    pub end: Position,
    /// Up to where the log itself shows that it was durable.
    pub proven: Position,
    /// Its files in order.
    pub files: Vec<FileReport>,
    /// Places that were durable and are not good any more. Empty in a log that is as it should be.
    pub damage: Vec<Damage>,
    /// A write that was cut off and never acknowledged: no damage. Opening the log removes it.
    pub torn: Option<TornTail>,
}

/// What a file of the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileReport {
    /// Its path.
    pub file: PathBuf,
    /// The position of its first frame.
    pub first: Position,
    /// Good frames with a payload.
    pub frames: u64,
    /// Good frames without one, which only prove those before them.
    pub proofs: u64,
    /// Bytes of good payloads.
    pub payload_bytes: u64,
}

/// Checks the log in the folder `dir`.
///
/// # Errors
/// [`LogError::Io`] when something cannot be read at all. Damage is no error: it is in the report.
pub fn verify_log(disk: &dyn Disk, dir: &Path) -> Result<LogReport, LogError> {
    report(&open_all(disk, dir)?)
}

/// Checks one file of a log by itself. `None` when its name is not that of such a file.
///
/// Without its neighbours nothing shows where the file should end, so a torn tail may be one that a later file
/// proves to be damage: prefer [`verify_log`].
///
/// # Errors
/// [`LogError::Io`] when it cannot be read at all.
pub fn verify_file(disk: &dyn Disk, path: &Path) -> Result<Option<LogReport>, LogError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(first) = first_of(name) else { return Ok(None) };
    report(&[LogFile::open(disk, path.to_owned(), first)?]).map(Some)
}

fn report(files: &[LogFile]) -> Result<LogReport, LogError> {
    let Some(start) = files.first().map(|file| file.first) else {
        return Ok(LogReport::default());
    };
    let found = survey(files, start)?;
    let tallies = files.iter().zip(&found.tallies);
    let files = tallies.map(|(file, tally)| FileReport {
        file: file.path.clone(),
        first: file.first,
        frames: tally.frames,
        proofs: tally.proofs,
        payload_bytes: tally.payload_bytes,
    });
    Ok(LogReport {
        start,
        end: found.end,
        proven: found.proven,
        files: files.collect(),
        damage: found.damage,
        torn: found.torn,
    })
}
