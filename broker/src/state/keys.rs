//! The idempotency keys of a topic, each with the answer that its first use got, for the idempotency window.

use std::sync::Arc;

use embermq_storage::{Position, Timestamp};
use imbl::{OrdMap, Vector};

use super::StoredAppend;

/// The keys of one topic. Cloning is cheap: a snapshot shares all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    by_key: OrdMap<Arc<str>, Arc<Used>>,
    /// In the order of their expiry.
    expiry: Vector<(Timestamp, Arc<str>)>,
}

/// The first use of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Used {
    pub(crate) fingerprint: u64,
    pub(crate) expires: Timestamp,
    pub(crate) position: Position,
    pub(crate) time: Timestamp,
    pub(crate) appends: Arc<[StoredAppend]>,
}

impl Keys {
    /// The first use of `key`, if it is still remembered at `now`.
    pub(crate) fn get(&self, key: &str, now: Timestamp) -> Option<&Used> {
        self.by_key.get(key).map(|used| &**used).filter(|used| used.expires > now)
    }

    /// Remembers a use.
    pub(crate) fn note(&mut self, key: &str, used: Used) {
        let key: Arc<str> = key.into();
        self.expiry.push_back((used.expires, Arc::clone(&key)));
        self.by_key.insert(key, Arc::new(used));
    }

    /// Forgets up to `most` keys whose window is over.
    pub(crate) fn expire(&mut self, now: Timestamp, most: usize) {
        for _ in 0..most {
            match self.expiry.front() {
                Some((due, _)) if *due <= now => {}
                _ => break,
            }
            let Some((_, key)) = self.expiry.pop_front() else { break };
            // The key may have been used again since, after its first window.
            if self.by_key.get(&key).is_some_and(|used| used.expires <= now) {
                self.by_key.remove(&key);
            }
        }
    }

    /// All of them in the order of their expiry, for a snapshot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Used)> {
        self.expiry.iter().filter_map(|(due, key)| {
            self.by_key.get(key).filter(|used| used.expires == *due).map(|used| (&**key, &**used))
        })
    }
}
