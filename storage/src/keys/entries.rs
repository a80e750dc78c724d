//! The sorted entries of a table, as bytes: those of the heap, or those of a mapped file.
//!
//! ```text
//! entry: hash u64 | offset - base of the segment u32        little endian, sorted by hash, then by offset
//! ```

use bytes::Bytes;

use super::KeyHash;

/// Bytes of an entry.
pub(super) const ENTRY_BYTES: usize = 12;

/// One record with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyEntry {
    pub(super) hash: KeyHash,
    /// Its offset, relative to the segment's base.
    pub(super) relative: u32,
}

/// Sorted entries.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyEntries(Bytes);

impl KeyEntries {
    /// Entries that are sorted already.
    pub(super) fn of_sorted(sorted: &[KeyEntry]) -> Self {
        let mut bytes = Vec::with_capacity(sorted.len() * ENTRY_BYTES);
        for entry in sorted {
            bytes.extend_from_slice(&entry.hash.0.to_le_bytes());
            bytes.extend_from_slice(&entry.relative.to_le_bytes());
        }
        Self(bytes.into())
    }

    /// Bytes that [`bytes`](Self::bytes) has given.
    pub(super) const fn of_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) const fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len() / ENTRY_BYTES
    }

    fn get(&self, at: usize) -> Option<KeyEntry> {
        let bytes = self.0.get(at * ENTRY_BYTES..(at + 1) * ENTRY_BYTES)?;
        Some(KeyEntry {
            hash: KeyHash(u64::from_le_bytes(*bytes.first_chunk()?)),
            relative: u32::from_le_bytes(*bytes[8..].first_chunk()?),
        })
    }

    /// The last entry of `hash` below the relative offset `below`.
    pub(super) fn latest(&self, hash: KeyHash, below: u64) -> Option<u32> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.get(middle).is_some_and(|entry| is_before(&entry, hash, below)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let entry = self.get(low.checked_sub(1)?)?;
        (entry.hash == hash).then_some(entry.relative)
    }
}

/// The same among entries that are still numbers.
pub(super) fn latest_of(sorted: &[KeyEntry], hash: KeyHash, below: u64) -> Option<u32> {
    let count = sorted.partition_point(|entry| is_before(entry, hash, below));
    let entry = sorted.get(count.checked_sub(1)?)?;
    (entry.hash == hash).then_some(entry.relative)
}

fn is_before(entry: &KeyEntry, hash: KeyHash, below: u64) -> bool {
    (entry.hash, u64::from(entry.relative)) < (hash, below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_below_is_found() {
        let entries: Vec<KeyEntry> = [(1, 4), (1, 9), (3, 0), (3, 2), (3, 7), (9, 1)]
            .map(|(hash, relative)| KeyEntry { hash: KeyHash(hash), relative })
            .into();
        let table = KeyEntries::of_sorted(&entries);
        assert_eq!(table.len(), 6);
        for (hash, below, expected) in [
            (3, 100, Some(7)),
            (3, 7, Some(2)),
            (3, 2, Some(0)),
            (3, 0, None),
            (2, 100, None),
            (0, 100, None),
            (9, 2, Some(1)),
            (9, 1, None),
            (10, 100, None),
            (1, u64::MAX, Some(9)),
        ] {
            assert_eq!(table.latest(KeyHash(hash), below), expected, "{hash} below {below}");
            assert_eq!(latest_of(&entries, KeyHash(hash), below), expected, "{hash} below {below}");
        }
        assert_eq!(KeyEntries::default().latest(KeyHash(1), 5), None);
    }
}
