//! The table of a segment that cannot grow any more, as a file beside it.
//!
//! ```text
//! file: "EMBERKEY" | version u32 = 1 | crc u32 (CRC-32 of everything else) | epoch u64 | base offset u64 |
//!       next offset u64 | end of the batches u64 | entries u32 | zero u32 | entries
//! entry: hash u64 | offset - base u32
//! ```
//!
//! Epoch, next offset and end are those of the segment that it was made from: the table of a segment that was rewritten
//! since does not pass. It is written beside its place and renamed, and never synced: what a crash leaves of it fails its
//! checksum. Where there is little space left it is not written: commits need that more.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::entries::{ENTRY_BYTES, KeyEntries};
use crate::index::IndexOrigin;
use crate::segment::Segment;

const MAGIC: [u8; 8] = *b"EMBERKEY";
const VERSION: u32 = 1;
/// Where the checksum stands.
const CRC_AT: usize = 12;
/// Behind the checksum.
const ORIGIN_AT: usize = 16;
/// Where the number of entries stands.
const COUNT_AT: usize = 48;
const HEADER_BYTES: usize = 56;

/// Space that a table leaves free.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// The table of a segment, mapped, if there is one that is whole and its own.
pub(super) fn open(segment: &Segment, origin: &IndexOrigin) -> Option<KeyEntries> {
    let home = &segment.home;
    if home.options.keep_found {
        return None;
    }
    let file = home.disk.open(&home.keys_path(segment.base)).ok()?;
    let mut header = [0; HEADER_BYTES];
    let read = file.read_at(0, &mut header).ok()?;
    let len = file.len().ok()?;
    if read < HEADER_BYTES || len != expected_len(&header)? {
        return None;
    }
    let mapping = file.map(len).ok()?;
    mapping.populate(0..len).ok()?;
    decode(&Arc::clone(&mapping).bytes(0..len), origin)
}

/// Writes the table of a segment. Where it cannot be, it stays in memory.
pub(super) fn write(segment: &Segment, origin: &IndexOrigin, entries: &KeyEntries) -> bool {
    let home = &segment.home;
    let (disk, path) = (&home.disk, home.keys_path(segment.base));
    let bytes = (HEADER_BYTES + entries.bytes().len()) as u64;
    let free = disk.free_bytes(&home.dir).unwrap_or(0);
    if home.options.keep_found || segment.is_retired() || free < bytes + FREE_BYTES_MIN {
        return false;
    }
    let mut beside = path.clone().into_os_string();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let written = (|| {
        match disk.remove(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = disk.create(&beside)?;
        let header = header(origin, entries);
        file.write_at(0, &[IoSlice::new(&header), IoSlice::new(entries.bytes())])?;
        disk.rename(&beside, &path)
    })();
    if written.is_err() {
        // What stays behind is removed when the partition is next recovered.
        let _gone = disk.remove(&beside);
    }
    if segment.is_retired() {
        // Retention removed the names while this one was made.
        let _gone = disk.remove(&path);
    }
    written.is_ok()
}

fn header(origin: &IndexOrigin, entries: &KeyEntries) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..CRC_AT].copy_from_slice(&VERSION.to_le_bytes());
    header[ORIGIN_AT..24].copy_from_slice(&origin.epoch.0.to_le_bytes());
    header[24..32].copy_from_slice(&origin.base.0.to_le_bytes());
    header[32..40].copy_from_slice(&origin.next.0.to_le_bytes());
    header[40..COUNT_AT].copy_from_slice(&origin.end.to_le_bytes());
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    header[COUNT_AT..COUNT_AT + 4].copy_from_slice(&count.to_le_bytes());
    let crc = crc(&header, entries.bytes());
    header[CRC_AT..ORIGIN_AT].copy_from_slice(&crc.to_le_bytes());
    header
}

/// How long a file with this header is; `None` when it is none.
fn expected_len(header: &[u8; HEADER_BYTES]) -> Option<u64> {
    let count = u32::from_le_bytes(*header[COUNT_AT..].first_chunk()?);
    (header[..8] == MAGIC).then_some(HEADER_BYTES as u64 + u64::from(count) * ENTRY_BYTES as u64)
}

fn decode(file: &Bytes, origin: &IndexOrigin) -> Option<KeyEntries> {
    let entries =
        KeyEntries::of_bytes(file.get(HEADER_BYTES..).map(|_| file.slice(HEADER_BYTES..))?);
    (file[..HEADER_BYTES] == header(origin, &entries)).then_some(entries)
}

fn crc(header: &[u8], entries: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..CRC_AT]);
    hasher.update(&header[ORIGIN_AT..]);
    hasher.update(entries);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::KeyHash;
    use super::super::entries::KeyEntry;
    use super::*;
    use crate::names::{Epoch, Offset};

    const ORIGIN: IndexOrigin =
        IndexOrigin { epoch: Epoch(5), base: Offset(100), next: Offset(200), end: 9_000 };

    #[test]
    fn a_file_passes_only_whole_and_for_its_own_segment() {
        let entries: Vec<_> =
            (0..5).map(|at| KeyEntry { hash: KeyHash(at), relative: 9 }).collect();
        let entries = KeyEntries::of_sorted(&entries);
        let front = header(&ORIGIN, &entries);
        let file = Bytes::from([&front[..], entries.bytes()].concat());
        assert_eq!(expected_len(&front), Some(file.len() as u64));
        assert_eq!(decode(&file, &ORIGIN).unwrap().latest(KeyHash(3), 10), Some(9));
        for other in [
            IndexOrigin { epoch: Epoch(6), ..ORIGIN },
            IndexOrigin { base: Offset(101), ..ORIGIN },
            IndexOrigin { next: Offset(201), ..ORIGIN },
            IndexOrigin { end: 9_001, ..ORIGIN },
        ] {
            assert!(decode(&file, &other).is_none(), "{other:?}");
        }
        for at in 0..file.len() {
            let mut flipped = file.to_vec();
            flipped[at] ^= 0x10;
            assert!(decode(&Bytes::from(flipped), &ORIGIN).is_none(), "byte {at}");
            assert!(decode(&file.slice(..at), &ORIGIN).is_none(), "{at} bytes");
        }
    }
}
