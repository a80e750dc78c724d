//! Keys in turn: at most one open record of a key is at its head, the others are held behind it.
//!
//! The head is leased, or waits for its next attempt; either way its key goes no further until it is done or dead. The
//! lock is on the key itself, in the whole group: no range of hashes sticks, and a key that is found in two partitions
//! (because there are more of them than there were) still has one head.

use imbl::{OrdMap, OrdSet};

use super::open::{KeyHash, Open, OpenState, Place};
use crate::topic::PartitionId;

/// The most records that a group holds back: each costs memory. At this number the cursor stops and waits for keys to go
/// on.
pub(crate) const HELD_MAX: usize = if cfg!(test) { 8 } else { 100_000 };

/// The keys of the open records; empty unless the group orders by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct KeyQueues {
    heads: OrdMap<KeyHash, Place>,
    held: OrdSet<(KeyHash, Place)>,
}

impl KeyQueues {
    pub(super) fn note(&mut self, place: Place, open: &Open) {
        if open.state == OpenState::Held {
            self.held.insert((open.key, place));
        } else if open.key != KeyHash::NONE {
            self.heads.insert(open.key, place);
        }
    }

    pub(super) fn forget(&mut self, place: Place, open: &Open) {
        if open.state == OpenState::Held {
            self.held.remove(&(open.key, place));
        } else if open.key != KeyHash::NONE {
            self.heads.remove(&open.key);
        }
    }

    /// Whether a record of this key must queue up.
    pub(super) fn is_taken(&self, key: KeyHash) -> bool {
        self.heads.contains_key(&key)
    }

    /// How many records are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Who is next, if the key has lost its head in `partition`: the partitions take turns, each in the order of its
    /// offsets.
    pub(super) fn next(&self, key: KeyHash, partition: PartitionId) -> Option<Place> {
        if key == KeyHash::NONE || self.is_taken(key) {
            return None;
        }
        let behind = (key, Place::last_of(partition))..=(key, Place::LAST);
        let all = (key, Place::FIRST)..=(key, Place::LAST);
        let next = self.held.range(behind).next().or_else(|| self.held.range(all).next());
        next.map(|(_, place)| *place)
    }
}
