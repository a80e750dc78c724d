//! The sparse index of a segment: where to start looking for an offset or a time.
//!
//! One entry per [`interval`](crate::segment::SegmentOptions::index_interval_bytes) of the segment (or per batch
//! where batches are larger): 16 bytes, little endian. It lives in memory while the segment grows and becomes a
//! file when the segment is sealed; a file that is missing or damaged is rebuilt from the segment.
//!
//! ```text
//! file: "EMBERIDX" · epoch u64 · base offset u64 · end of the batches u64 · next offset u64 · entries u32 ·
//!       crc u32 (CRC-32 of everything else) · entries
//! entry: offset relative to the base u32 · position in the segment u32 · append time in us i64
//! ```
//!
//! Entries are in order of offset, position and time alike. The epoch, end and next offset bind an index to the
//! very segment it was made from: that of a segment since rewritten does not pass.

use bytes::Bytes;

use crate::names::{Epoch, Offset, Timestamp};

const MAGIC: [u8; 8] = *b"EMBERIDX";
const HEADER_BYTES: usize = 48;
/// Bytes in front of the checksum.
const CRC_AT: usize = 44;
const ENTRY_BYTES: usize = 16;

/// Where one batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// The batch's base offset, relative to the segment's.
    pub(crate) relative: u32,
    /// The position of the batch's field in the file.
    pub(crate) position: u32,
    /// The batch's append time.
    pub(crate) time: Timestamp,
}

impl IndexEntry {
    fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&self.relative.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.position.to_le_bytes());
        bytes[8..].copy_from_slice(&self.time.0.to_le_bytes());
        bytes
    }
}

/// A finished run of entries, as bytes: those of the heap, or those of a mapped file.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexEntries(Bytes);

impl IndexEntries {
    pub(crate) const fn len(&self) -> usize {
        self.0.len() / ENTRY_BYTES
    }

    pub(crate) fn get(&self, at: usize) -> Option<IndexEntry> {
        let bytes = self.0.get(at * ENTRY_BYTES..(at + 1) * ENTRY_BYTES)?;
        Some(IndexEntry {
            relative: u32::from_le_bytes(*bytes.first_chunk()?),
            position: u32::from_le_bytes(*bytes[4..].first_chunk()?),
            time: Timestamp(i64::from_le_bytes(*bytes[8..].first_chunk()?)),
        })
    }

    /// The last entry of the leading ones for which `below` holds.
    pub(crate) fn last_where(&self, below: impl Fn(&IndexEntry) -> bool) -> Option<IndexEntry> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.get(middle).is_some_and(|entry| below(&entry)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).and_then(|at| self.get(at))
    }
}

/// Entries while they are made.
#[derive(Debug)]
pub(crate) struct SparseIndex {
    interval_bytes: u64,
    base: Offset,
    next_at: u64,
    entries: Vec<IndexEntry>,
}

impl SparseIndex {
    pub(crate) const fn new(base: Offset, interval_bytes: u64) -> Self {
        Self { interval_bytes, base, next_at: 0, entries: Vec::new() }
    }

    /// Whether a batch at `position` gets an entry.
    pub(crate) const fn wants(&self, position: u64) -> bool {
        position >= self.next_at
    }

    /// Notes the batch at `position`, if it is [wanted](Self::wants). What the numbers of an entry cannot hold is
    /// left out; looking it up then just takes more steps.
    pub(crate) fn note(&mut self, offset: Offset, position: u64, time: Timestamp) {
        let relative = offset.0.checked_sub(self.base.0).map(u32::try_from);
        if let (true, Some(Ok(relative)), Ok(position_short)) =
            (self.wants(position), relative, u32::try_from(position))
        {
            self.entries.push(IndexEntry { relative, position: position_short, time });
            self.next_at = position + self.interval_bytes;
        }
    }

    /// The last entry of the leading ones for which `below` holds.
    pub(crate) fn last_where(&self, below: impl Fn(&IndexEntry) -> bool) -> Option<IndexEntry> {
        let count = self.entries.partition_point(below);
        count.checked_sub(1).map(|at| self.entries[at])
    }

    /// The entries so far.
    pub(crate) fn entries(&self) -> IndexEntries {
        let mut bytes = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.encode());
        }
        IndexEntries(Bytes::from(bytes))
    }
}

/// What an index file says of the segment it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexOrigin {
    pub(crate) epoch: Epoch,
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) end: u64,
}

impl IndexOrigin {
    /// An index file: the entries of `parts`, one behind the other.
    pub(crate) fn encode(&self, parts: &[IndexEntries]) -> Vec<u8> {
        let count: usize = parts.iter().map(IndexEntries::len).sum();
        let mut file = Vec::with_capacity(HEADER_BYTES + count * ENTRY_BYTES);
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&self.epoch.0.to_le_bytes());
        file.extend_from_slice(&self.base.0.to_le_bytes());
        file.extend_from_slice(&self.end.to_le_bytes());
        file.extend_from_slice(&self.next.0.to_le_bytes());
        file.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        file.extend_from_slice(&[0; HEADER_BYTES - CRC_AT]);
        for part in parts {
            file.extend_from_slice(&part.0);
        }
        let crc = file_crc(&file);
        file[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        file
    }

    /// The entries of an index file; `None` when it is damaged or of another segment.
    pub(crate) fn decode(&self, file: &Bytes) -> Option<IndexEntries> {
        let header = file.get(..HEADER_BYTES)?;
        let expected = self.encode(&[]);
        let count = u32::from_le_bytes(*header[CRC_AT - 4..].first_chunk()?);
        let crc = u32::from_le_bytes(*header[CRC_AT..].first_chunk()?);
        let len = usize::try_from(count).ok()?.checked_mul(ENTRY_BYTES)?;
        let whole = header[..CRC_AT - 4] == expected[..CRC_AT - 4]
            && file.len() == HEADER_BYTES + len
            && crc == file_crc(file);
        whole.then(|| IndexEntries(file.slice(HEADER_BYTES..)))
    }
}

fn file_crc(file: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&file[..CRC_AT]);
    hasher.update(&file[HEADER_BYTES..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: IndexOrigin =
        IndexOrigin { epoch: Epoch(5), base: Offset(100), next: Offset(200), end: 9_000 };

    fn index() -> SparseIndex {
        let mut index = SparseIndex::new(Offset(100), 1_000);
        for (offset, position) in [(100, 40), (110, 500), (120, 1_040), (130, 5_000), (131, 5_999)]
        {
            index.note(Offset(offset), position, Timestamp(i64::try_from(offset).unwrap() * 10));
        }
        index
    }

    #[test]
    fn an_entry_per_interval_or_per_larger_batch() {
        let entries = index().entries();
        let positions: Vec<_> = (0..).map_while(|at| entries.get(at)).map(|e| e.position).collect();
        assert_eq!(positions, [40, 1_040, 5_000]);
    }

    #[test]
    fn look_up_finds_the_last_entry_below() {
        let (index, entries) = (index(), index().entries());
        for (relative, expected) in
            [(0, Some(40)), (19, Some(40)), (20, Some(1_040)), (99, Some(5_000))]
        {
            let below = |entry: &IndexEntry| entry.relative <= relative;
            assert_eq!(index.last_where(below).map(|e| e.position), expected);
            assert_eq!(entries.last_where(below).map(|e| e.position), expected);
        }
        assert_eq!(entries.last_where(|entry| entry.time < Timestamp(1_000)), None);
        assert_eq!(IndexEntries::default().last_where(|_| true), None);
    }

    #[test]
    fn what_an_entry_cannot_hold_is_left_out() {
        let mut index = SparseIndex::new(Offset(0), 1);
        index.note(Offset(u64::MAX), 1, Timestamp(0));
        index.note(Offset(1), u64::from(u32::MAX) + 1, Timestamp(0));
        assert_eq!(index.entries().len(), 0);
    }

    #[test]
    fn a_file_passes_only_whole_and_for_its_own_segment() {
        let entries = index().entries();
        let file = Bytes::from(ORIGIN.encode(std::slice::from_ref(&entries)));
        let decoded = ORIGIN.decode(&file).unwrap();
        assert_eq!(decoded.get(1), entries.get(1));
        assert_eq!(decoded.len(), 3);
        assert!(IndexOrigin { epoch: Epoch(6), ..ORIGIN }.decode(&file).is_none());
        assert!(IndexOrigin { end: 9_001, ..ORIGIN }.decode(&file).is_none());
        for at in 0..file.len() {
            let mut flipped = file.to_vec();
            flipped[at] ^= 0x10;
            assert!(ORIGIN.decode(&Bytes::from(flipped)).is_none(), "byte {at}");
            assert!(ORIGIN.decode(&file.slice(..at)).is_none(), "{at} bytes");
        }
    }
}
