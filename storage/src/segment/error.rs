//! What can go wrong with segments, for writers and for readers.

use std::io;
use std::path::{Path, PathBuf};

use crate::batch::BatchDamage;
use crate::disk::{Disk, is_too_many_open};
use crate::names::Offset;
use crate::segment::header::HeaderDamage;

/// Why a writer's wish was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// No room on the disk. Nothing has changed; the same call succeeds once there is room.
    #[error(
        "storage full: {} has {free_bytes} bytes free, a segment needs {needed_bytes} more; \
         delete or shorten a topic, or add space", dir.display()
    )]
    Full {
        /// The partition's folder.
        dir: PathBuf,
        /// Bytes that were asked for.
        needed_bytes: u64,
        /// Bytes that were free then.
        free_bytes: u64,
    },
    /// No more files can be opened or mapped. Nothing has changed; the same call succeeds once some are closed.
    #[error("no more files can be used: {source}")]
    TooManyOpen {
        /// The file or folder.
        file: PathBuf,
        /// What the system said, and which limit to raise.
        source: io::Error,
    },
    /// The batch is larger than any segment.
    #[error(
        "a batch of {batch_bytes} bytes is more than a segment holds ({limit_bytes}); send smaller batches"
    )]
    BatchTooLarge {
        /// The batch's bytes.
        batch_bytes: u64,
        /// The most that fits.
        limit_bytes: u64,
    },
    /// The topic's name is too long for a segment's header.
    #[error("a topic name of {name_bytes} bytes does not fit in a segment (at most {limit_bytes})")]
    NameTooLong {
        /// The name's bytes.
        name_bytes: usize,
        /// The most that fits.
        limit_bytes: usize,
    },
    /// The disk failed. Final for what was asked.
    #[error("{} failed: {source}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A segment that was to be rewritten cannot be read as a whole; it was left as it is.
    #[error("the segment was left as it is: {0}")]
    Unreadable(#[from] ReadError),
}

impl SegmentError {
    /// Whether the same call can succeed later, without a restart.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::TooManyOpen { .. })
    }

    /// Tells a full disk, and a process with too many files, from a failing one.
    pub(crate) fn of(disk: &dyn Disk, file: &Path, needed_bytes: u64, source: io::Error) -> Self {
        if is_too_many_open(&source) {
            return Self::TooManyOpen { file: file.to_owned(), source };
        }
        if source.kind() != io::ErrorKind::StorageFull {
            return Self::Io { file: file.to_owned(), source };
        }
        let dir = file.parent().unwrap_or(file).to_owned();
        let free_bytes = disk.free_bytes(&dir).unwrap_or(0);
        Self::Full { dir, needed_bytes, free_bytes }
    }
}

/// Why records could not be read. Other offsets may well be readable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such offset (any more, or yet).
    #[error(
        "offset {from} is out of range: the partition holds {start} up to, not including, {end}"
    )]
    OutOfRange {
        /// The offset that was asked for.
        from: Offset,
        /// The first offset there is.
        start: Offset,
        /// The offset behind the last one.
        end: Offset,
    },
    /// Bytes on disk have changed since they were written.
    #[error(
        "{} is damaged at byte {file_position}: {reason}; offsets {first} up to, not including, {next} are lost",
        file.display()
    )]
    Damaged {
        /// The segment's file.
        file: PathBuf,
        /// Where in the file the damaged batch starts.
        file_position: u64,
        /// The first offset that is lost.
        first: Offset,
        /// Where reading can go on.
        next: Offset,
        /// What is wrong.
        reason: SegmentDamage,
    },
    /// The file is not there.
    #[error("the segment file of offsets {first} up to, not including, {next} is missing")]
    Missing {
        /// The first offset that is lost.
        first: Offset,
        /// Where reading can go on.
        next: Offset,
    },
    /// The disk failed.
    #[error("{} cannot be read: {source}", file.display())]
    Io {
        /// The segment's file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What is wrong with a segment's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentDamage {
    /// A batch.
    #[error(transparent)]
    Batch(#[from] BatchDamage),
    /// The header.
    #[error(transparent)]
    Header(#[from] HeaderDamage),
    /// The file is shorter than it was.
    #[error("the file ends at byte {len}, its batches reached to {end}")]
    Truncated {
        /// The file's length.
        len: u64,
        /// Where its last batch ended.
        end: u64,
    },
    /// The batches end before the offset that follows them.
    #[error("batches up to offset {next} are not there")]
    Lost {
        /// The offset that should follow the last batch.
        next: Offset,
    },
    /// What fills the rest of the file is neither zero nor padding.
    #[error("the rest of the file should be padding or zeroes")]
    Padding,
    /// The keys of a batch that is whole cannot be read.
    #[error("the keys of the batch cannot be read: {detail}")]
    Keys {
        /// Why not.
        detail: String,
    },
}
