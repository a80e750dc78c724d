//! Hashes of keys, and how they are read out of batches.

use std::collections::HashMap;
use std::hash::Hasher as _;

use bytes::Bytes;
use embermq_protocol::batch::{ScanLimits, scan};
use embermq_storage::Offset;
use embermq_storage::compaction::BatchView;
use embermq_storage::keys::{KeyHash, UnreadableKeys};
use siphasher::sip::SipHasher24;

/// The hash of a key: SipHash-2-4 under the key of zeroes. It is stored, so it stays.
pub(crate) fn key_hash(key: &[u8]) -> KeyHash {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(key);
    KeyHash(hasher.finish())
}

/// The keys of a batch that lies in a segment.
pub(super) fn read_keys(
    view: &BatchView,
    note: &mut dyn FnMut(KeyHash, Offset),
) -> Result<(), UnreadableKeys> {
    let scan = scan(&view.body, ScanLimits::stored());
    let scan = scan.map_err(|error| UnreadableKeys(error.to_string()))?;
    for index in 0..scan.records.len() {
        if let Some(key) = scan.key(index) {
            note(key_hash(key), view.head.base_offset.plus(scan.offset_delta(index).into()));
        }
    }
    Ok(())
}

/// The keys of a batch that is to be appended: each with the place of its last record in the batch.
pub(crate) type AppendKeys = Box<[(KeyHash, u32)]>;

/// Reads them. `None`: the batch cannot be read.
pub(crate) fn append_keys(body: &Bytes) -> Option<AppendKeys> {
    let scan = scan(body, ScanLimits::stored()).ok()?;
    let mut last = HashMap::new();
    for index in 0..scan.records.len() {
        if let Some(key) = scan.key(index) {
            last.insert(key_hash(key), u32::try_from(index).ok()?);
        }
    }
    Some(last.into_iter().collect())
}
