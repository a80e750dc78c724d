//! What can be wrong with the bytes of a log, and where exactly.

use std::fmt;
use std::path::PathBuf;

use crate::names::Position;

/// A place in the log where a frame should be, and is not.
///
/// Nothing of it was changed: the bytes are as they were found, and the frames behind are readable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file that holds the place (where a file is missing: the one before it, else the one behind it).
    pub file: PathBuf,
    /// Where the damage begins in the log.
    pub position: Position,
    /// Where it begins in the file, in bytes.
    pub file_position: u64,
    /// What is wrong there.
    pub reason: DamageReason,
    /// Where the next good frame, or the next file, begins. `None`: nothing good lies behind.
    pub next_valid: Option<Position>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position, file_position, reason, next_valid } = self;
        write!(f, "{} byte {file_position} (position {position}): {reason}; ", file.display())?;
        match next_valid {
            Some(next) => write!(f, "good again from position {next}"),
            None => write!(f, "nothing good behind it"),
        }
    }
}

/// What is wrong at a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageReason {
    /// No frame begins here, and the bytes are zero.
    Blank,
    /// No frame begins here.
    Magic,
    /// A frame says that it belongs elsewhere.
    Position {
        /// Where it says it belongs.
        found: Position,
    },
    /// A frame claims more bytes than it can have here.
    Length {
        /// Bytes of payload that it claims.
        length: u64,
    },
    /// A frame claims that more was durable than was written before it.
    Proven {
        /// The position it claims.
        found: Position,
    },
    /// The checksum does not match the bytes.
    Checksum,
    /// The frame is whole, and has flags that this version does not know.
    Flags {
        /// All of its flags.
        flags: u32,
    },
    /// The bytes that fill a frame up to a multiple of eight are not zero. The frame itself is good.
    Padding,
    /// The file is shorter than it was made.
    Short {
        /// Bytes it was made with.
        expected: u64,
        /// Bytes it has.
        actual: u64,
    },
    /// The head of the file, or its copy at the end of the file, is not readable. The other is, so all frames are.
    OneHead,
    /// Neither the head of the file nor the copy at its end is readable: no frame in it can be checked.
    Head,
    /// Nothing lies between here and the next file: a file is missing, or pages were lost.
    Missing,
}

impl fmt::Display for DamageReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("zeroes where a frame should be"),
            Self::Magic => f.write_str("no frame begins here"),
            Self::Position { found } => write!(f, "a frame that belongs at position {found}"),
            Self::Length { length } => write!(f, "a frame of {length} bytes does not fit here"),
            Self::Proven { found } => {
                write!(f, "a frame that takes the later position {found} for durable")
            }
            Self::Checksum => f.write_str("the checksum does not match"),
            Self::Flags { flags } => {
                write!(f, "unknown frame flags {flags:#x}; a later version may know them")
            }
            Self::Padding => f.write_str("the fill behind a good frame is not zero"),
            Self::Short { expected, actual } => {
                write!(f, "the file was made with {expected} bytes and has {actual}")
            }
            Self::OneHead => {
                f.write_str("one of the file's two heads is damaged; its frames can be read")
            }
            Self::Head => f.write_str("the file's head and its copy are both damaged"),
            Self::Missing => f.write_str("nothing here up to the next file: a file is missing"),
        }
    }
}

/// Bytes behind the last whole frame, left by a write that was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// Where the log ends, and the torn part begins.
    pub position: Position,
    /// The file that holds it.
    pub file: PathBuf,
    /// Where the torn part begins in the file, in bytes.
    pub file_position: u64,
    /// Bytes from there to the last one that is not zero.
    pub bytes: u64,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, file, file_position, bytes } = self;
        let file = file.display();
        write!(
            f,
            "{file} byte {file_position} (position {position}): {bytes} bytes of a write that was cut off"
        )
    }
}
