//! The idempotency keys of a topic, each with the answer that its first use got, for the idempotency window.

use std::sync::Arc;

use embermq_storage::{Position, Timestamp};
use imbl::{OrdMap, OrdSet};

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
    /// Each once, in the order of their expiry.
    expiry: OrdSet<(Timestamp, Arc<str>)>,
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
        self.bytes += bytes_of(&key, used.appends.len());
        self.expiry.insert((used.expires, Arc::clone(&key)));
        let expires = used.expires;
        if let Some(earlier) = self.by_key.insert(Arc::clone(&key), Arc::new(used)) {
            self.bytes -= bytes_of(&key, earlier.appends.len());
            if earlier.expires != expires {
                self.expiry.remove(&(earlier.expires, key));
            }
        }
    }

    /// What they count for, and when the first is to be forgotten.
    pub(super) fn share(&self) -> Share {
        Share { bytes: self.bytes, due: self.expiry.get_min().map(|(due, _)| *due) }
    }

    /// What those count for whose window is over, looked at until it is `wanted`.
    pub(super) fn expired_bytes(&self, now: Timestamp, wanted: u64) -> u64 {
        let mut bytes = 0;
        for (_, key) in self.expiry.iter().take_while(|(due, _)| *due <= now) {
            if bytes >= wanted {
                break;
            }
            bytes += self.by_key.get(key).map_or(0, |used| bytes_of(key, used.appends.len()));
        }
        bytes
    }

    /// Forgets the first; gives what it counted for.
    pub(super) fn forget_first(&mut self) -> u64 {
        let Some((_, key)) = self.expiry.remove_min() else { return 0 };
        let used = self.by_key.remove(&key);
        let bytes = used.map_or(0, |used| bytes_of(&key, used.appends.len()));
        self.bytes -= bytes;
        bytes
    }

    /// All of them in the order of their expiry, for a snapshot.
    pub(crate) fn iter<'a>(&'a self) -> impl Iterator<Item = (&'a str, &'a Used)> {
        let of = |(_, key): &'a (Timestamp, Arc<str>)| Some((&**key, &**self.by_key.get(key)?));
        self.expiry.iter().filter_map(of)
    }
}
