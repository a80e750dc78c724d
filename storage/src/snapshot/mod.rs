//! Snapshots: the state that follows from the commit log up to a position, so that the log before it can go.
//!
//! What the records of a snapshot mean is the caller's business. A snapshot is written beside the others as
//! `{position}.tmp`, synced, renamed to `{position}.snap`, and the folder is synced: a file with that name is whole, or
//! damaged by something else than a crash. The two newest are kept; the log may be trimmed up to
//! [`SnapshotStore::oldest_kept`], so that a damaged newest one costs a longer replay and nothing else.
//!
//! # Format
//! Numbers are little endian.
//!
//! ```text
//! file     header block* trailer
//! header   magic "EMBSNAP\x01" | epoch u64 | position u64 | crc u32      CRC-32 of the 24 bytes before it
//! block    length u32 (1 to 1 MiB) | crc u32 | a part of the stream
//! trailer  0 u32 | crc u32 | records u64 | stream bytes u64
//! stream   (length u32 | record)*        cut into blocks wherever one is full
//! ```
//!
//! The CRC-32 of a block, and of the trailer, covers what follows it, then its length field, its number in the file
//! (u64, from 0) and the file's random epoch (u64): a block in another place, or of another file, does not pass.
//! The file ends with its trailer. Every CRC, both counts and the end are checked before the first record is handed out.
//!
//! # Limits
//! A record has fewer than 4 GiB. Writing needs one block of memory; reading one block, and the record at hand.
//! Writing is paced: each block (96 KiB) is written out before the next, so that a commit never waits behind a full
//! write cache.

mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;

pub use format::{DamageReason, SnapshotDamage};
pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;

use crate::disk::{Disk, give_back};
use crate::names::{Entropy, Epoch, Position};

/// How many snapshots are kept.
const KEPT: usize = 2;

/// A snapshot could not be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The disk refused. Nothing was lost: the snapshots from before are still there. `StorageFull` can be tried
    /// again when there is room.
    #[error("snapshot {}: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A record that was fine when the file was checked can no longer be read.
    #[error(transparent)]
    Damaged(#[from] SnapshotDamage),
    /// There are snapshots, and every one of them is damaged. Without one, all is lost that the log no longer holds.
    #[error(
        "none of the {} snapshots can be read; the newest: {}; restore the folder from a copy",
        damaged.len(),
        damaged.first().map_or_else(String::new, ToString::to_string)
    )]
    NoneReadable {
        /// Where each of them is damaged, the newest first.
        damaged: Vec<SnapshotDamage>,
    },
}

impl SnapshotError {
    /// Whether the same call can succeed later, when there is room on the disk.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// What `verify` finds out about a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotReport {
    /// The position that the file's name tells.
    pub position: Position,
    /// Whole records before the damage, or all of them.
    pub records: u64,
    /// The file's length.
    pub bytes: u64,
    /// The first damage.
    pub damage: Option<SnapshotDamage>,
}

/// The snapshots of a data folder.
#[derive(Debug)]
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    block_bytes: usize,
    /// Files that were found damaged. Locked while a snapshot is written, so that there is one writer.
    damaged: Mutex<BTreeSet<Position>>,
}

impl SnapshotStore {
    /// The snapshots in `dir`, which is created when it is missing. What an interrupted writer left is removed.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<Self, SnapshotError> {
        disk.create_dir_all(&dir).map_err(|e| failed(&dir, e))?;
        for name in disk.list(&dir).map_err(|e| failed(&dir, e))? {
            if name.ends_with(".tmp") {
                let path = dir.join(name);
                disk.remove(&path).map_err(|e| failed(&path, e))?;
            }
        }
        Ok(Self { disk, dir, block_bytes: writer::PACE_BYTES, damaged: Mutex::default() })
    }

    /// Writes the state at `position`, which `fill` puts out record by record, and removes those that are older than
    /// the two newest. When this returns `Ok` the snapshot is durable.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] of the disk or of `fill`: there is no new snapshot, or it is whole and only the removal
    /// of an old one failed. Either way the next call starts afresh.
    pub fn write(
        &self,
        position: Position,
        entropy: &mut dyn Entropy,
        fill: &mut dyn FnMut(&mut SnapshotWriter<'_>) -> io::Result<()>,
    ) -> Result<(), SnapshotError> {
        let mut damaged = self.damaged.lock();
        let unfinished = self.dir.join(format!("{position:020}.tmp"));
        let written = self.write_file(&unfinished, position, Epoch(entropy.next_u64()), fill);
        if written.is_err() {
            // Its blocks may be what a full disk needs most. If this fails too, opening removes it.
            let _left = self.disk.remove(&unfinished);
        }
        written.map_err(|e| failed(&unfinished, e))?;
        let path = self.path(position);
        self.disk.rename(&unfinished, &path).map_err(|e| failed(&path, e))?;
        self.disk.sync_dir(&self.dir).map_err(|e| failed(&self.dir, e))?;
        damaged.remove(&position);
        self.remove_old(&mut damaged)
    }

    fn write_file(
        &self,
        path: &Path,
        position: Position,
        epoch: Epoch,
        fill: &mut dyn FnMut(&mut SnapshotWriter<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = match self.disk.create(path) {
            // An earlier attempt at the same position that could not even be removed.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(path)?;
                self.disk.create(path)?
            }
            created => created?,
        };
        let mut writer = SnapshotWriter::begin(&*file, position, epoch, self.block_bytes)?;
        fill(&mut writer)?;
        writer.finish()
    }

    /// Removes all but the newest that are not known to be damaged.
    fn remove_old(&self, damaged: &mut BTreeSet<Position>) -> Result<(), SnapshotError> {
        let mut kept = 0;
        let mut removed = false;
        let mut freed = Vec::new();
        for position in self.positions()? {
            if !damaged.contains(&position) && kept < KEPT {
                kept += 1;
                continue;
            }
            let path = self.path(position);
            // One that cannot be opened is freed all at once.
            freed.extend(self.disk.open(&path));
            self.disk.remove(&path).map_err(|e| failed(&path, e))?;
            damaged.remove(&position);
            removed = true;
        }
        if removed {
            self.disk.sync_dir(&self.dir).map_err(|e| failed(&self.dir, e))?;
        }
        // Only now that no restart finds them any more.
        for file in freed {
            give_back(&*file).map_err(|e| failed(&self.dir, e))?;
        }
        Ok(())
    }

    /// The newest snapshot that is whole, checked to its last byte; `None` when there are no snapshots at all.
    /// Damaged newer ones are reported by [`SnapshotReader::damaged`], and removed when the next one was written.
    ///
    /// # Errors
    /// [`SnapshotError::NoneReadable`] when there are snapshots and all are damaged; [`SnapshotError::Io`] when a file
    /// cannot be opened.
    pub fn newest(&self) -> Result<Option<SnapshotReader>, SnapshotError> {
        let mut known = self.damaged.lock();
        let mut damaged = Vec::new();
        for position in self.positions()? {
            match self.read(position)? {
                Ok(mut reader) => {
                    reader.set_damaged(damaged);
                    return Ok(Some(reader));
                }
                Err(damage) => {
                    known.insert(position);
                    damaged.push(damage);
                }
            }
        }
        if damaged.is_empty() { Ok(None) } else { Err(SnapshotError::NoneReadable { damaged }) }
    }

    fn read(
        &self,
        position: Position,
    ) -> Result<Result<SnapshotReader, SnapshotDamage>, SnapshotError> {
        let path = self.path(position);
        let file = self.disk.open(&path).map_err(|e| failed(&path, e))?;
        Ok(SnapshotReader::checked(file, &path, position))
    }

    /// The position of the oldest snapshot that is not known to be damaged: the log before it is not needed.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn oldest_kept(&self) -> Result<Option<Position>, SnapshotError> {
        let damaged = self.damaged.lock();
        Ok(self.positions()?.into_iter().rfind(|position| !damaged.contains(position)))
    }

    /// Up to where the log may be trimmed: the oldest snapshot, if there is another one to fall back from. As long as
    /// there is only one, the log before it is what there is to fall back to.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    pub fn fallback(&self) -> Result<Option<Position>, SnapshotError> {
        let damaged = self.damaged.lock();
        let positions = self.positions()?;
        let mut good = positions.into_iter().filter(|position| !damaged.contains(position));
        good.next();
        Ok(good.next_back())
    }

    /// The snapshots that are there, the newest first. Files that are called otherwise are not ours.
    fn positions(&self) -> Result<Vec<Position>, SnapshotError> {
        let names = self.disk.list(&self.dir).map_err(|e| failed(&self.dir, e))?;
        let mut positions: Vec<_> = names.iter().filter_map(|name| position_of(name)).collect();
        positions.sort_unstable_by(|a, b| b.cmp(a));
        Ok(positions)
    }

    fn path(&self, position: Position) -> PathBuf {
        self.dir.join(format!("{position:020}.snap"))
    }
}

/// Reads a snapshot file to its end and reports what it holds.
///
/// # Errors
/// [`SnapshotError::Io`] when it cannot be opened, or is not called like a snapshot.
pub fn verify_file(disk: &dyn Disk, path: &Path) -> Result<SnapshotReport, SnapshotError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let position = name.and_then(position_of).ok_or_else(|| {
        let advice = "the name of a snapshot is its position in 20 digits and .snap";
        failed(path, io::Error::new(io::ErrorKind::InvalidInput, advice))
    })?;
    let file = disk.open(path).map_err(|e| failed(path, e))?;
    let bytes = file.len().map_err(|e| failed(path, e))?;
    let (records, damage) = reader::count(file, path, position);
    Ok(SnapshotReport { position, records, bytes, damage })
}

fn position_of(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".snap")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { digits.parse().ok().map(Position) } else { None }
}

fn failed(file: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::Io { file: file.to_owned(), source }
}
