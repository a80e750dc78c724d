//! What was appended of which keys a moment ago, where somebody has preconditions on keys.
//!
//! A commit comes with "this holds as of offset E". It counts when nothing of the key was appended at or above E. For that a
//! *watched* partition remembers, for everything appended from its *floor* on, the last offset of each hash. Below the floor
//! nothing is known: a commit from there has to look again, which is never wrong. Two keys of one hash only make somebody
//! look again.
//!
//! A partition is watched from its first precondition on. Appends whose keys nobody has told (dead letters, redrives, and
//! those that were on their way when the watch began) lift the floor to their end. Memory is bounded: of each partition two
//! generations of [`GENERATION_KEYS`] are kept, of which the older one goes and the floor rises; over all partitions
//! [`KEYS_MAX`], beyond which the partition goes that was asked for longest ago.
//!
//! None of this is stored: after a restart the floor is the next offset.

use std::collections::HashMap;
use std::ops::Range;

use embermq_storage::Offset;
use embermq_storage::keys::KeyHash;

use crate::topic::{PartitionId, TopicId};

/// Keys of a generation; the append that fills it up may have more.
const GENERATION_KEYS: usize = 16 << 10;
/// Keys of all partitions.
const KEYS_MAX: usize = 1 << 20;

type Place = (TopicId, PartitionId);

/// The recent keys of all watched partitions.
#[derive(Debug)]
pub(super) struct RecentKeys {
    watched: HashMap<Place, Recent>,
    /// Questions so far.
    asked: u64,
    /// Keys of all of them.
    keys: usize,
    generation_keys: usize,
    keys_max: usize,
}

impl Default for RecentKeys {
    fn default() -> Self {
        Self {
            watched: HashMap::new(),
            asked: 0,
            keys: 0,
            generation_keys: GENERATION_KEYS,
            keys_max: KEYS_MAX,
        }
    }
}

/// Those of one partition.
#[derive(Debug)]
struct Recent {
    /// All from here on is known.
    floor: Offset,
    /// Where the younger generation begins.
    turn: Offset,
    younger: HashMap<KeyHash, Offset>,
    older: HashMap<KeyHash, Offset>,
    /// When it was last asked.
    asked: u64,
}

impl RecentKeys {
    /// Whether nothing with this hash was appended to a partition at or above `as_of`; false also when that is not known.
    /// `next` is the partition's next offset: from there on it is watched, if it was not before.
    pub(super) fn unchanged(
        &mut self,
        place: Place,
        next: Offset,
        (hash, as_of): (KeyHash, Offset),
    ) -> bool {
        self.asked += 1;
        let recent = self.watched.entry(place).or_insert_with(|| Recent::from(next));
        recent.asked = self.asked;
        as_of >= recent.floor && recent.latest(hash).is_none_or(|offset| offset < as_of)
    }

    /// Notes an append: the last place of each hash in it, or `None` when that is not known.
    pub(super) fn note(
        &mut self,
        place: Place,
        offsets: Range<Offset>,
        keys: Option<&[(KeyHash, u32)]>,
    ) {
        let Some(recent) = self.watched.get_mut(&place) else { return };
        self.keys -= recent.keys();
        match keys {
            Some(keys) => {
                for (hash, index) in keys {
                    recent.younger.insert(*hash, offsets.start.plus(u64::from(*index)));
                }
                if recent.younger.len() >= self.generation_keys {
                    recent.age(offsets.end);
                }
            }
            None => {
                let asked = recent.asked;
                *recent = Recent { asked, ..Recent::from(offsets.end) };
            }
        }
        self.keys += recent.keys();
        while self.watched.len() > 1 && self.keys > self.keys_max {
            let least = self.watched.iter().min_by_key(|(_, recent)| recent.asked);
            let Some(place) = least.map(|(place, _)| *place) else { return };
            self.keys -= self.watched.remove(&place).map_or(0, |recent| recent.keys());
        }
    }

    /// Forgets a topic.
    pub(super) fn forget(&mut self, topic: TopicId) {
        self.watched.retain(|(other, _), _| *other != topic);
        self.keys = self.watched.values().map(Recent::keys).sum();
    }
}

impl Recent {
    fn from(floor: Offset) -> Self {
        let (younger, older) = (HashMap::new(), HashMap::new());
        Self { floor, turn: floor, younger, older, asked: 0 }
    }

    fn keys(&self) -> usize {
        self.younger.len() + self.older.len()
    }

    fn latest(&self, hash: KeyHash) -> Option<Offset> {
        self.younger.get(&hash).or_else(|| self.older.get(&hash)).copied()
    }

    /// The older generation goes; the next one begins at `next`.
    fn age(&mut self, next: Offset) {
        self.older = std::mem::take(&mut self.younger);
        self.floor = std::mem::replace(&mut self.turn, next);
    }
}

#[cfg(test)]
mod tests {
    use embermq_storage::Entropy as _;
    use embermq_storage::disk::sim::SeededEntropy;

    use super::*;

    const PLACE: Place = (TopicId(1), PartitionId(0));

    fn recent() -> RecentKeys {
        RecentKeys { generation_keys: 8, keys_max: 40, ..RecentKeys::default() }
    }

    #[test]
    fn what_is_said_to_be_unchanged_is() {
        let (mut sure, mut unsure) = (0, 0);
        for seed in 0..200 {
            let mut random = SeededEntropy::new(seed);
            let mut pick = |below: u64| random.next_u64() % below;
            let mut keys = recent();
            // Every append of every place, in full.
            let mut model: Vec<Vec<KeyHash>> = vec![Vec::new(); 3];
            for _ in 0..300 {
                let at = usize::try_from(pick(3)).unwrap();
                let place = (TopicId(1), PartitionId(u32::try_from(at).unwrap()));
                let next = model[at].len() as u64;
                if pick(3) == 0 {
                    let hash = KeyHash(pick(12));
                    let as_of = next - pick(next.min(20) + 1);
                    let is = keys.unchanged(place, Offset(next), (hash, Offset(as_of)));
                    let behind = &model[at][usize::try_from(as_of).unwrap()..];
                    assert!(!is || !behind.contains(&hash), "seed {seed}: {hash:?} from {as_of}");
                    *if is { &mut sure } else { &mut unsure } += 1;
                    // What holds as of the very end is always known to.
                    assert!(keys.unchanged(place, Offset(next), (hash, Offset(next))));
                } else {
                    let hashes: Vec<KeyHash> = (0..=pick(3)).map(|_| KeyHash(pick(12))).collect();
                    let told: HashMap<KeyHash, u32> = hashes.iter().copied().zip(0..).collect();
                    let told: Vec<_> = told.into_iter().collect();
                    let end = Offset(next + hashes.len() as u64);
                    let known = pick(8) > 0;
                    keys.note(place, Offset(next)..end, known.then_some(&told[..]));
                    model[at].extend(hashes);
                }
                let kept: usize = keys.watched.values().map(Recent::keys).sum();
                assert!(keys.keys == kept && (kept <= 40 || keys.watched.len() == 1), "{kept}");
            }
        }
        assert!(sure > 1_000 && unsure > 1_000, "{sure} sure, {unsure} not");
    }

    #[test]
    fn appends_of_unknown_keys_lift_the_floor() {
        let mut keys = recent();
        assert!(keys.unchanged(PLACE, Offset(5), (KeyHash(1), Offset(5))));
        keys.note(PLACE, Offset(5)..Offset(7), Some(&[(KeyHash(2), 1)]));
        assert!(keys.unchanged(PLACE, Offset(7), (KeyHash(1), Offset(5))));
        assert!(!keys.unchanged(PLACE, Offset(7), (KeyHash(2), Offset(6))));
        assert!(keys.unchanged(PLACE, Offset(7), (KeyHash(2), Offset(7))));
        keys.note(PLACE, Offset(7)..Offset(9), None);
        assert!(!keys.unchanged(PLACE, Offset(9), (KeyHash(1), Offset(8))));
        assert!(keys.unchanged(PLACE, Offset(9), (KeyHash(1), Offset(9))));
        assert!(
            !keys.unchanged(PLACE, Offset(9), (KeyHash(1), Offset(4))),
            "from before the watch"
        );
        keys.forget(TopicId(1));
        assert!(keys.watched.is_empty());
    }
}
