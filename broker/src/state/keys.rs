//! The idempotency keys of a topic, each with the answer that its first use got, for the idempotency window.

use std::sync::Arc;

use embermq_storage::{Position, Timestamp};
use imbl::{OrdMap, Vector};

use super::StoredAppend;
use super::remembered::Share;

/// About what a key takes in memory beside its text and the places of its appends.
const KEY_BYTES: u64 = 216;

/// What a key counts for, whose commit has so many appends.
pub(super) fn bytes_of(key: &str, appends: usize) -> u64 {
    KEY_BYTES + (key.len() + appends * size_of::<StoredAppend>()) as u64
}

/// The keys of one topic. Cloning is cheap: a snapshot shares all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    by_key: OrdMap<Arc<str>, Arc<Used>>,
    /// In the order of their expiry.
    expiry: Vector<(Timestamp, Arc<str>)>,
    bytes: u64,
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
        self.bytes += bytes_of(&key, used.appends.len());
        if let Some(earlier) = self.by_key.insert(Arc::clone(&key), Arc::new(used)) {
            self.bytes -= bytes_of(&key, earlier.appends.len());
        }
    }

    /// What they count for, and when the first is to be forgotten.
    pub(super) fn share(&self) -> Share {
        Share { bytes: self.bytes, due: self.expiry.front().map(|(due, _)| *due) }
    }

    /// What [`expire`](Self::expire) gives free.
    pub(super) fn expired_bytes(&self, now: Timestamp, most: usize) -> u64 {
        let due = self.expiry.iter().take(most).take_while(|(due, _)| *due <= now);
        // Of a key that was used again only the later use is there.
        let used = due.filter_map(|(due, key)| {
            let used = self.by_key.get(key).filter(|used| used.expires == *due)?;
            Some(bytes_of(key, used.appends.len()))
        });
        used.sum()
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
            if self.by_key.get(&key).is_some_and(|used| used.expires <= now)
                && let Some(used) = self.by_key.remove(&key)
            {
                self.bytes -= bytes_of(&key, used.appends.len());
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
