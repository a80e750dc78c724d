//! A file of the log: its name, its head and its frames.
//!
//! ```text
//!  0  magic       8 bytes  "EmberLog"
//!  8  version     u32      1
//! 12  zero        u32
//! 16  epoch       u64      random, under the checksum of every frame in the file
//! 24  first       u64      position of the first frame; also the file's name, in 20 digits
//! 32  file_bytes  u64      length of the file, from its birth on
//! 40  zero        20 bytes
//! 60  crc         u32      CRC-32 of bytes 0..60
//! 64  frames, one behind the other, then zeroes
//! ..  the last 64 bytes repeat the head
//! ```
//!
//! The copy at the end is read when the head is not good: without the epoch no frame could be told from noise, and
//! one bad sector at the front would cost the whole file.
//!
//! A file has its full length, and its head, durably before it has its name. So a file that is shorter than its
//! head says, or that has no readable head, was damaged later: no crash leaves it so.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::names::{Epoch, Position};

use super::frame::{FRAME_ALIGN, u32_at, u64_at};

/// Bytes before the first frame.
pub(super) const FILE_HEAD_BYTES: u64 = 64;

/// Bytes of a file that hold no frames: the head and its copy.
pub(super) const FILE_OVERHEAD_BYTES: u64 = 2 * FILE_HEAD_BYTES;

/// What files are called that are not part of the log.
const UNFINISHED_SUFFIX: &str = ".tmp";

const MAGIC: [u8; 8] = *b"EmberLog";
const VERSION: u32 = 1;
const HEAD_LEN: usize = 64;
const CRC_AT: usize = 60;

/// Positions stay below this, so that adding lengths to them cannot overflow.
const POSITION_MAX: u64 = 1 << 62;

/// The head of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) epoch: Epoch,
    pub(super) first: Position,
    pub(super) file_bytes: u64,
}

impl FileHead {
    pub(super) fn encode(&self) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        head[0..8].copy_from_slice(&MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[16..24].copy_from_slice(&self.epoch.0.to_le_bytes());
        head[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        head[32..40].copy_from_slice(&self.file_bytes.to_le_bytes());
        let crc = crc32fast::hash(&head[..CRC_AT]);
        head[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// `None` when it is not a head of this version, or is damaged.
    pub(super) fn decode(head: &[u8; HEAD_LEN]) -> Option<Self> {
        let good = head[0..8] == MAGIC
            && u32_at(head, 8) == VERSION
            && u32_at(head, CRC_AT) == crc32fast::hash(&head[..CRC_AT]);
        let found = Self {
            epoch: Epoch(u64_at(head, 16)),
            first: Position(u64_at(head, 24)),
            file_bytes: u64_at(head, 32),
        };
        let sane = (FILE_OVERHEAD_BYTES..POSITION_MAX).contains(&found.file_bytes);
        (good && sane).then_some(found)
    }

    /// Writes the head and its copy (not durable yet).
    pub(super) fn write_to(&self, file: &dyn DiskFile) -> io::Result<()> {
        let head = self.encode();
        file.write_at(0, &[IoSlice::new(&head)])?;
        file.write_at(self.file_bytes - FILE_HEAD_BYTES, &[IoSlice::new(&head)])
    }
}

/// Which of a file's two heads is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadState {
    Both,
    FirstOnly,
    CopyOnly,
    Neither,
}

/// An open file of the log.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    /// From the name.
    pub(super) first: Position,
    /// What its frames are checked with; `None` when it has no readable head.
    pub(super) epoch: Option<Epoch>,
    pub(super) head: HeadState,
    /// Bytes it was made with (where the head is lost: that it has).
    pub(super) file_bytes: u64,
    /// Bytes it has.
    pub(super) len: u64,
}

impl LogFile {
    /// Opens the file at `path`, whose name says that it starts at `first`.
    pub(super) fn open(disk: &dyn Disk, path: PathBuf, first: Position) -> io::Result<Self> {
        let file = disk.open(&path)?;
        let len = file.len()?;
        let front = read_head(&*file, 0, first)?;
        let copy_at = front.map_or(len, |front| front.file_bytes).saturating_sub(FILE_HEAD_BYTES);
        let copy = read_head(&*file, copy_at, first)?
            .filter(|copy| copy.file_bytes - FILE_HEAD_BYTES == copy_at);
        let head = match (front, copy) {
            (Some(front), Some(copy)) if front == copy => HeadState::Both,
            (Some(_), _) => HeadState::FirstOnly,
            (None, Some(_)) => HeadState::CopyOnly,
            (None, None) => HeadState::Neither,
        };
        let found = front.or(copy);
        let epoch = found.map(|found| found.epoch);
        let file_bytes = match found {
            Some(found) => found.file_bytes,
            None => len.clamp(FILE_OVERHEAD_BYTES, POSITION_MAX),
        };
        Ok(Self { path, file, first, epoch, head, file_bytes, len })
    }

    /// Bytes of frames that it can hold.
    pub(super) const fn capacity(&self) -> u64 {
        capacity_of(self.file_bytes)
    }

    /// The position behind the last frame that it can hold.
    pub(super) const fn limit(&self) -> Position {
        Position(self.first.0 + self.capacity())
    }

    /// Where `position`, which must not lie before the file, lies in it.
    pub(super) const fn byte_of(&self, position: Position) -> u64 {
        FILE_HEAD_BYTES + (position.0 - self.first.0)
    }

    /// The position of a byte behind the head.
    pub(super) const fn position_of(&self, byte: u64) -> Position {
        Position(self.first.0 + (byte - FILE_HEAD_BYTES))
    }

    /// Whether it lost bytes at its end since it was made.
    pub(super) const fn is_short(&self) -> bool {
        self.len < self.file_bytes
    }
}

fn read_head(file: &dyn DiskFile, at: u64, first: Position) -> io::Result<Option<FileHead>> {
    let mut head = [0; HEAD_LEN];
    let read = file.read_at(at, &mut head)?;
    let found = if read == HEAD_LEN { FileHead::decode(&head) } else { None };
    Ok(found.filter(|found| found.first == first))
}

/// Bytes of frames that a file of `file_bytes` can hold.
pub(super) const fn capacity_of(file_bytes: u64) -> u64 {
    let bytes = file_bytes.saturating_sub(FILE_OVERHEAD_BYTES);
    bytes - bytes % FRAME_ALIGN
}

/// The name of the file that starts at `first`.
pub(super) fn file_name(first: Position) -> String {
    format!("{:020}.log", first.0)
}

/// The position in a file's name; `None` when the name is none of ours.
pub(super) fn first_of(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let first = digits.parse::<u64>().ok()?;
    (first < POSITION_MAX && first % FRAME_ALIGN == 0).then_some(Position(first))
}

/// The name of the `number`-th file that is not part of the log: not yet, or not any more.
pub(super) fn unfinished_name(number: u64) -> String {
    format!("next-{number}{UNFINISHED_SUFFIX}")
}

/// The number in the name of a file that is not part of the log; `None` when the name is none of ours.
pub(super) fn unfinished_number(name: &str) -> Option<u64> {
    name.strip_prefix("next-")?.strip_suffix(UNFINISHED_SUFFIX)?.parse().ok()
}

/// The files in `dir` that are not part of the log, with their numbers.
pub(super) fn unfinished(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let names = disk.list(dir)?;
    let numbered = names.iter().filter_map(|name| Some((unfinished_number(name)?, dir.join(name))));
    Ok(numbered.collect())
}

/// Opens all files of the log in `dir`, in order. Changes nothing.
pub(super) fn open_all(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<LogFile>> {
    let names = disk.list(dir)?;
    let firsts = names.iter().filter_map(|name| Some((dir.join(name), first_of(name)?)));
    let mut files = firsts
        .map(|(path, first)| LogFile::open(disk, path, first))
        .collect::<io::Result<Vec<_>>>()?;
    files.sort_unstable_by_key(|file| file.first);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: FileHead = FileHead {
        epoch: Epoch(0x0102_0304_0506_0708),
        first: Position(0x4000),
        file_bytes: 64 * 1024 * 1024,
    };

    #[test]
    fn golden_head() {
        let mut expected = b"EmberLog\x01\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
        expected.extend_from_slice(&[0, 0x40, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0]);
        expected.extend_from_slice(&[0; 20]);
        expected.extend_from_slice(&GOLDEN_CRC);
        assert_eq!(HEAD.encode().to_vec(), expected, "the format changed");
        assert_eq!(FileHead::decode(&HEAD.encode()), Some(HEAD));
    }

    /// Computed with Python's `zlib.crc32`.
    const GOLDEN_CRC: [u8; 4] = [0xDB, 0x15, 0xAF, 0xC5];

    #[test]
    fn every_flipped_bit_of_a_head_is_noticed() {
        for bit in 0..HEAD_LEN * 8 {
            let mut head = HEAD.encode();
            head[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHead::decode(&head), None, "bit {bit}");
        }
    }

    #[test]
    fn names_and_positions_agree() {
        assert_eq!(file_name(Position(4096)), "00000000000000004096.log");
        assert_eq!(first_of("00000000000000004096.log"), Some(Position(4096)));
        for stranger in [
            "4096.log",
            "00000000000000004097.log",
            "+0000000000000004096.log",
            "99999999999999999999.log",
            "00000000000000004096.tmp",
            "",
        ] {
            assert_eq!(first_of(stranger), None, "{stranger}");
        }
        assert_eq!(unfinished_number(&unfinished_name(3)), Some(3));
        assert_eq!(unfinished_number("00000000000000004096.log"), None);
        assert_eq!(unfinished_number("next-.tmp"), None);
    }
}
