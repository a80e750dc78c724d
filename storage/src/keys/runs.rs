//! The table of a segment that grows: sorted runs in memory, merged as they come to the same size, so that an entry is
//! moved a logarithmic number of times and a look-up searches a logarithmic number of runs.

use super::KeyHash;
use super::entries::{KeyEntries, KeyEntry, latest_of};

/// Sorted runs, the longest first.
#[derive(Debug, Default)]
pub(super) struct Runs(Vec<Vec<KeyEntry>>);

impl Runs {
    /// Adds entries, in any order.
    pub(super) fn add(&mut self, mut entries: Vec<KeyEntry>) {
        if entries.is_empty() {
            return;
        }
        entries.sort_unstable();
        while let Some(last) = self.0.pop_if(|last| last.len() < 2 * entries.len()) {
            entries = merge(&last, &entries);
        }
        self.0.push(entries);
    }

    /// The last entry of `hash` below the relative offset `below`.
    pub(super) fn latest(&self, hash: KeyHash, below: u64) -> Option<u32> {
        self.0.iter().filter_map(|run| latest_of(run, hash, below)).max()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|run| (run.capacity() * size_of::<KeyEntry>()) as u64).sum()
    }

    /// All entries in one.
    pub(super) fn into_entries(self) -> KeyEntries {
        let sorted = self.0.into_iter().rev().reduce(|short, long| merge(&long, &short));
        KeyEntries::of_sorted(&sorted.unwrap_or_default())
    }
}

fn merge(one: &[KeyEntry], other: &[KeyEntry]) -> Vec<KeyEntry> {
    let mut merged = Vec::with_capacity(one.len() + other.len());
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        merged.extend(if a <= b { left.next() } else { right.next() });
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stay_few_and_find_the_same_as_one_table() {
        let mut runs = Runs::default();
        for relative in 0..1_000 {
            runs.add(vec![KeyEntry { hash: KeyHash(u64::from(relative * 7 % 13)), relative }]);
            assert!(runs.0.len() <= 10, "{} runs", runs.0.len());
            assert!(runs.0.iter().all(|run| run.is_sorted()));
        }
        runs.add(Vec::new());
        let found: Vec<_> = (0..14)
            .flat_map(|hash| [0, 1, 500, 1_000].map(|below| runs.latest(KeyHash(hash), below)))
            .collect();
        let table = runs.into_entries();
        let same: Vec<_> = (0..14)
            .flat_map(|hash| [0, 1, 500, 1_000].map(|below| table.latest(KeyHash(hash), below)))
            .collect();
        assert_eq!((table.len(), found), (1_000, same));
    }
}
