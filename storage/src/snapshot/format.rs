//! The fixed parts of a snapshot file (see the page of [`snapshot`](super)), and what can be wrong with them.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::names::{Epoch, Position};

/// "EMBSNAP" and the version of the format.
const MAGIC: [u8; 8] = *b"EMBSNAP\x01";

pub(super) const HEADER_BYTES: usize = 28;
pub(super) const BLOCK_HEAD_BYTES: usize = 8;
pub(super) const TRAILER_BODY_BYTES: usize = 16;

/// The most stream bytes that a reader accepts in a block: how many a writer puts there is its own choice.
pub(super) const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Something in a snapshot file that cannot be what was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("snapshot {} is damaged at byte {file_position}: {reason}", file.display())]
pub struct SnapshotDamage {
    /// The file.
    pub file: PathBuf,
    /// Where the part begins that is damaged.
    pub file_position: u64,
    /// What is wrong with it.
    pub reason: DamageReason,
}

/// What is wrong with a part of a snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DamageReason {
    /// The first bytes are not those of a snapshot of this version.
    #[error("this is no snapshot, or one of another version")]
    NotASnapshot,
    /// The header is for another position than the name.
    #[error("it is the snapshot of position {found}")]
    OtherPosition {
        /// What the header says.
        found: Position,
    },
    /// A length that no block has.
    #[error("a block of {length} bytes, where {BLOCK_BYTES_MAX} are the most")]
    BadLength {
        /// The length found.
        length: u32,
    },
    /// A checksum does not fit.
    #[error("the checksum does not fit")]
    BadChecksum,
    /// The file ends before its trailer.
    #[error("the file ends here, and should not")]
    CutShort,
    /// The trailer tells of other numbers of records or bytes than were found.
    #[error("the trailer counts other records than there are")]
    MiscountedRecords,
    /// Bytes follow the trailer.
    #[error("bytes follow the end")]
    BytesBehindEnd,
    /// The device cannot read it.
    #[error("the device cannot read it ({0})")]
    Unreadable(io::ErrorKind),
}

pub(super) fn encode_header(position: Position, epoch: Epoch) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&epoch.0.to_le_bytes());
    header[16..24].copy_from_slice(&position.0.to_le_bytes());
    let crc = crc32fast::hash(&header[..24]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
    header
}

pub(super) fn decode_header(
    header: &[u8; HEADER_BYTES],
    position: Position,
) -> Result<Epoch, DamageReason> {
    if header[..8] != MAGIC {
        return Err(DamageReason::NotASnapshot);
    }
    if u32_at(header, 24) != crc32fast::hash(&header[..24]) {
        return Err(DamageReason::BadChecksum);
    }
    let found = Position(u64_at(header, 16));
    if found != position {
        return Err(DamageReason::OtherPosition { found });
    }
    Ok(Epoch(u64_at(header, 8)))
}

/// The checksum of a block or trailer.
pub(super) fn block_crc(body: &[u8], length: u32, number: u64, epoch: Epoch) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(&length.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(&epoch.0.to_le_bytes());
    hasher.finalize()
}

pub(super) fn block_head(length: u32, crc: u32) -> [u8; BLOCK_HEAD_BYTES] {
    let mut head = [0; BLOCK_HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&crc.to_le_bytes());
    head
}

pub(super) fn trailer_body(records: u64, stream_bytes: u64) -> [u8; TRAILER_BODY_BYTES] {
    let mut body = [0; TRAILER_BODY_BYTES];
    body[..8].copy_from_slice(&records.to_le_bytes());
    body[8..].copy_from_slice(&stream_bytes.to_le_bytes());
    body
}

/// The number at `at`, which the caller knows to lie inside of `bytes`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The number at `at`, which the caller knows to lie inside of `bytes`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
