//! What can go wrong with a commit log.

use std::io;
use std::sync::Arc;

use crate::names::Position;

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another writer was faster, or the caller is behind. Nothing changed.
    #[error("the log ends at position {end}, not at {expected}")]
    Conflict {
        /// Where the caller thought the log ends.
        expected: Position,
        /// Where it ends.
        end: Position,
    },
    /// No room for this group. Nothing changed; it may fit once space is freed.
    #[error(
        "the disk is full: {needed} bytes do not fit into the {room} bytes of log that are left besides \
         the reserve; free some space, then try again"
    )]
    Full {
        /// Bytes of the group's frames.
        needed: u64,
        /// Bytes of frames that would fit.
        room: u64,
    },
    /// The next file could not be made, for another reason than a full disk. Nothing changed; it may work later.
    #[error("the next file of the log could not be made: {0}")]
    NextFile(#[source] io::Error),
    /// A frame is larger than any frame may be. Nothing changed.
    #[error("a frame of {bytes} bytes is over the limit of {bytes_max}")]
    FrameTooLarge {
        /// Bytes of payload.
        bytes: u64,
        /// The most a payload may have.
        bytes_max: u64,
    },
    /// Asked to read where the log is not.
    #[error("position {position} is not in the log, which has {start} to {end} in steps of 8")]
    OutOfRange {
        /// What was asked for.
        position: Position,
        /// Where the log starts.
        start: Position,
        /// Where what may be read ends.
        end: Position,
    },
    /// The disk failed. After a failed write or sync the log takes nothing more until it is opened anew.
    #[error("the log's disk failed: {0}")]
    Io(#[from] io::Error),
    /// The disk failed earlier, and nobody knows what it has kept: open the log anew.
    #[error(
        "the log takes nothing more since its disk failed ({cause}); restart to recover what is durable"
    )]
    Poisoned {
        /// The first failure.
        cause: Arc<str>,
    },
}

impl LogError {
    /// Whether nothing changed and the same call may work later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::NextFile(_) => true,
            Self::Conflict { .. }
            | Self::FrameTooLarge { .. }
            | Self::OutOfRange { .. }
            | Self::Io(_)
            | Self::Poisoned { .. } => false,
        }
    }
}
