//! Key tables: which records of a partition may have a key, newest first.
//!
//! Storage knows no keys. Whoever asks says how to read the hashes of the keys out of a batch ([`ReadKeys`]), and compares
//! the keys of the records that it is sent to: two keys may share a hash.
//!
//! A table lists (hash, offset) of *all* records with a key in one segment, sorted. So the latest record of a key, the one
//! before it and the latest one as of any offset are the same binary search.
//!
//! - Derived: everything in a table is in its segment. One that is missing, damaged or of another segment is made again;
//!   nothing is ever synced for it.
//! - Made when somebody asks, by the thread that asks, from the newest segment backwards and no further than needed.
//! - Of a segment that cannot grow any more it is a file beside the segment, mapped (`file`); of the growing one it lies
//!   in memory and catches up with what was published at each question (`runs`).
//! - A segment with damage, or with a batch whose keys cannot be read, has no table: the newest record of a key may lie in the damage, so a question that would have to
//!   look past it fails with what is damaged.

mod entries;
mod file;
mod runs;
mod tables;

use crate::compaction::BatchView;
use crate::names::Offset;

pub use tables::KeyTables;

/// The hash of a key. The same on every machine: it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

/// Why the keys of a batch cannot be read, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableKeys(pub String);

/// Reads the keys of a batch: calls back with the hash and the offset of each record that has one. If it fails there is no
/// table: a batch that counted as empty would hide the records that it has.
pub type ReadKeys<'a> =
    &'a dyn Fn(&BatchView, &mut dyn FnMut(KeyHash, Offset)) -> Result<(), UnreadableKeys>;
