//! Sums by key over a list that grows, for decisions on commits of many parts.

use std::collections::BTreeMap;

/// So many entries are looked through each time: that is faster than any map, and allocates nothing.
const FEW: usize = 16;

/// The sums of one list by key. It is asked with the same list each time, which may have become longer.
#[derive(Debug, Default)]
pub(crate) struct Sums<K> {
    by_key: BTreeMap<K, u64>,
    /// How many entries of the list are in there.
    summed: usize,
}

impl<K: Ord> Sums<K> {
    /// The sum of the entries with this key; `entry` tells the key and the number of one.
    pub(crate) fn of<T>(&mut self, key: &K, list: &[T], entry: impl Fn(&T) -> (K, u64)) -> u64 {
        if list.len() <= FEW {
            let entries = list.iter().map(entry).filter(|(other, _)| other == key);
            return entries.map(|(_, number)| number).sum();
        }
        for (key, number) in list.iter().skip(self.summed).map(entry) {
            *self.by_key.entry(key).or_default() += number;
        }
        self.summed = list.len();
        self.by_key.get(key).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_list_of_many_is_looked_at_once() {
        let looks = Cell::new(0);
        let entry = |number: &u64| {
            looks.set(looks.get() + 1);
            (number % 100, *number)
        };
        let mut sums = Sums::default();
        let mut list = Vec::new();
        for number in 0..10_000 {
            let before: u64 = (number % 100..number).step_by(100).sum();
            assert_eq!(sums.of(&(number % 100), &list, entry), before);
            list.push(number);
        }
        assert!(looks.get() < 11_000, "{} looks", looks.get());
        assert_eq!(sums.of(&100, &list, entry), 0, "no such key");
    }
}
