//! Records by their key: the latest one, the ones before it, a topic as a table, and preconditions on keys.
//!
//! Neither the state machine nor the log knows where keys are. That is derived: the key tables of the storage, made for a
//! partition when somebody first asks about it (`storage/src/keys/`). Two keys may share a hash, so every record that a
//! table leads to is read and its key compared.
//!
//! The *version* of a key is the offset of its latest record in its partition. A record without a value is a *tombstone* in
//! a topic with `compact`: the key is gone.
//!
//! Where a key is looked for: in the partition that was named, else in the key's own, the one that producing without a
//! partition chooses. When that one has no record of it, reads look at the others too, since it may have been produced
//! to a chosen partition or before there were as many; the newest append time wins.
//!
//! A precondition is checked in two steps (`precondition`): the caller's task finds the version as of the published end,
//! the committer makes sure that nothing of that key was appended since (`shard/recent_keys.rs`).
//!
//! Questions block, so they run on blocking threads; few at a time for each partition, as the first one may read all of it,
//! and a bounded number over all of them.

mod find;
mod hand;
mod hash;
mod list;
mod precondition;
mod question;
mod read;
mod shelf;
mod turn;
mod view;

pub use list::{KeyCursor, KeyList, KeyPage, NoKeyCursor};
pub use question::{AsOf, KeyHistory, KeyHistoryQuery, KeyQuery, KeyRecord, NoKey};

#[cfg(test)]
pub(crate) use find::latest_offset;
pub(crate) use hash::AppendKeys;
pub(crate) use precondition::{ATTEMPTS_MAX, AnyWatched, KeyCheck, KeyFacts};
pub(crate) use shelf::KeyShelf;
pub(crate) use view::PartitionKeys;
