//! The commit log: the one file that has to be synced before anything is acknowledged.
//!
//! It is an endless row of opaque frames. Each lies at a [`Position`]: a byte count that grows through all files.
//! One committer writes them in [`Group`]s (one vectored write), syncs, and only then acknowledges.
//!
//! On disk it is a folder of files named by the position of their first frame (20 digits, `.log`). Files have a fixed
//! length and are filled with zeroes before use; the pages `file.rs` and `frame.rs` say what is in them. The next
//! file is made ahead of need ([`PrepareFile`]) and gets its head and its name when the log rolls over to it:
//!
//! ```text
//! frames into the old file -> sync it -> head of the new one -> sync -> name it -> sync the folder -> frames into it
//! ```
//!
//! What follows from this order, and what the rest stands on:
//!
//! - a file that has a name has a whole head, its full length, and everything before it is durable;
//! - positions are dense: a file begins where the frames of the one before end;
//! - `start <= durable <= end`, and a frame's proven mark is what was durable when it was written, so anything that
//!   is not good below a proven mark is damage and not the trace of a crash ([`Damage`], [`TornTail`]).
//!
//! Failures: a full disk refuses an append and changes nothing ([`LogError::Full`]). A failed sync, or a write that
//! failed otherwise, is final: nobody knows what the disk holds, so the log takes nothing more until it is opened anew.
//!
//! Limits: a payload has at most [`FRAME_PAYLOAD_BYTES_MAX`] bytes; a group spans at most two files, and gets a file
//! of its own size where it is larger than a file.

mod damage;
mod error;
mod file;
mod file_log;
mod frame;
mod group;
mod prepare;
mod reader;
mod recovery;
mod room;
mod scan;
mod survey;
mod sync_job;
mod trim;
mod verify;
mod walk;
mod write_job;

use std::fmt::Debug;

use bytes::Bytes;

use crate::names::Position;

pub use damage::{Damage, DamageReason, TornTail};
pub use error::LogError;
pub use file_log::{FileLog, LogOptions};
pub use frame::{FRAME_HEAD_BYTES, FRAME_PAYLOAD_BYTES_MAX};
pub use group::Group;
pub use prepare::{PrepareFile, Prepared};
pub use recovery::LogRecovery;
pub use room::{LogRoom, ReserveUse};
pub use sync_job::{SyncJob, Synced};
pub use trim::{TrimJob, Trimmed};
pub use verify::{FileReport, LogReport, verify_file, verify_log};
pub use write_job::{WriteJob, Written};

/// An ordered, durable row of frames with one writer.
pub trait CommitLog: Send + Debug {
    /// Where the log starts: the first position that was not trimmed away.
    fn start(&self) -> Position;

    /// Where the log ends: everything before was written, though maybe not durably.
    fn end(&self) -> Position;

    /// Up to where the log is durable: start <= durable <= end.
    fn durable(&self) -> Position;

    /// Writes the frames of `group`, if the log ends at `expected`, and gives the position where it ends then.
    /// They are durable once [`sync`](Self::sync) returned `Ok`. The group stays as it is.
    ///
    /// # Errors
    /// [`LogError::Conflict`] and [`LogError::FrameTooLarge`] change nothing. [`LogError::Full`] and
    /// [`LogError::NextFile`] change nothing and may go away. Others are final.
    fn append(&mut self, expected: Position, group: &mut Group) -> Result<Position, LogError>;

    /// Makes everything durable that was written so far, and gives the position up to where it is.
    ///
    /// # Errors
    /// Final: the log takes nothing more, and nothing above [`durable`](Self::durable) may be served.
    fn sync(&mut self) -> Result<Position, LogError>;

    /// The frames from `from`, which must be where a frame begins (or the end), to the present end. After a failure
    /// of the disk: to what is durable.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] when the log does not reach there.
    fn read(&self, from: Position) -> Result<Box<dyn FrameSource + '_>, LogError>;

    /// Gives back the space of frames that lie before `before`, as far as it can be given back.
    ///
    /// # Errors
    /// What the disk says. The log stays usable, and trimming can be tried again.
    fn trim(&mut self, before: Position) -> Result<(), LogError>;
}

/// Frames in order.
pub trait FrameSource: Debug {
    /// What comes next. Proof frames are passed over.
    ///
    /// # Errors
    /// [`LogError::Io`] when the disk cannot be read.
    fn next(&mut self) -> Result<Next, LogError>;
}

/// What comes next in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A frame.
    Frame {
        /// Where it begins.
        position: Position,
        /// Where it ends.
        next: Position,
        /// What was put into it; never empty.
        payload: Bytes,
    },
    /// A place where frames were, and cannot be read any more. What comes next lies behind it.
    Damage(Damage),
    /// Nothing more.
    End,
}
