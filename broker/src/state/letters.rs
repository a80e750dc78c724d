//! Which dead letters of a group are still to be dealt with: offsets in its dead-letter topic, as runs.
//!
//! Memory goes with the gaps between them, not with the letters.

use imbl::OrdMap;

/// A set of offsets. No two runs touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Letters {
    /// First offset of each run to the one behind its last.
    runs: OrdMap<u64, u64>,
    count: u64,
}

impl Letters {
    /// Adds one; false when it was there.
    pub(crate) fn add(&mut self, offset: u64) -> bool {
        if self.contains(offset) {
            return false;
        }
        let (mut first, mut end) = (offset, offset.saturating_add(1));
        if let Some((&before, _)) =
            self.runs.range(..offset).next_back().filter(|run| *run.1 == offset)
        {
            first = before;
        }
        if let Some(after) = self.runs.remove(&end) {
            end = after;
        }
        self.runs.insert(first, end);
        self.count += 1;
        true
    }

    /// Takes one out; false when it was not there.
    pub(crate) fn remove(&mut self, offset: u64) -> bool {
        let Some((&first, &end)) =
            self.runs.range(..=offset).next_back().filter(|run| *run.1 > offset)
        else {
            return false;
        };
        self.runs.remove(&first);
        if first < offset {
            self.runs.insert(first, offset);
        }
        if offset + 1 < end {
            self.runs.insert(offset + 1, end);
        }
        self.count -= 1;
        true
    }

    /// Takes all below `end` out.
    pub(crate) fn remove_below(&mut self, end: u64) {
        while let Some((&first, &last)) = self.runs.get_min().map(|(first, last)| (first, last))
            && first < end
        {
            self.runs.remove(&first);
            self.count -= last.min(end) - first;
            if last > end {
                self.runs.insert(end, last);
            }
        }
    }

    /// Whether it is in.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.runs.range(..=offset).next_back().is_some_and(|(_, end)| *end > offset)
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The runs, each from its first offset to the one behind its last.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().map(|(first, end)| (*first, *end))
    }

    /// The runs from `begin` on; the first is cut where it begins before.
    pub(crate) fn runs_from(&self, begin: u64) -> impl Iterator<Item = (u64, u64)> {
        let around = self.runs.range(..begin).next_back().filter(|run| *run.1 > begin);
        let around = around.map(|(_, end)| (begin, *end));
        around.into_iter().chain(self.runs.range(begin..).map(|(first, end)| (*first, *end)))
    }

    /// A whole run, as a snapshot kept it.
    pub(crate) fn restore(&mut self, first: u64, end: u64) {
        self.count += end.saturating_sub(first);
        self.runs.insert(first, end);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_that_it_seems(steps in proptest::collection::vec((0..8_u32, 0..40_u64), 0..200)) {
            let (mut letters, mut model) = (Letters::default(), BTreeSet::new());
            for (what, offset) in steps {
                if what < 4 {
                    prop_assert_eq!(letters.add(offset), model.insert(offset));
                } else if what == 4 {
                    letters.remove_below(offset / 4);
                    model.retain(|letter| *letter >= offset / 4);
                } else {
                    prop_assert_eq!(letters.remove(offset), model.remove(&offset));
                }
                prop_assert_eq!(letters.count(), model.len() as u64);
                let all: BTreeSet<u64> = letters.runs().flat_map(|(first, end)| first..end).collect();
                prop_assert_eq!(&all, &model);
                let behind: BTreeSet<u64> = letters.runs_from(offset).flat_map(|(first, end)| first..end).collect();
                prop_assert_eq!(&behind, &model.range(offset..).copied().collect());
                let ends: Vec<(u64, u64)> = letters.runs().collect();
                prop_assert!(ends.windows(2).all(|two| two[0].1 < two[1].0));
            }
        }
    }
}
