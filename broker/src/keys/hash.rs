//! Hashes of keys, and how they are read out of batches.

use std::collections::HashMap;
use std::hash::Hasher as _;

use bytes::Bytes;
use embermq_protocol::batch::{Scan, ScanLimits, scan};
use embermq_storage::Offset;
use embermq_storage::compaction::BatchView;
use embermq_storage::keys::KeyHash;
use siphasher::sip::SipHasher24;

/// The hash of a key: SipHash-2-4 under the key of zeroes. It is stored, so it stays.
pub(crate) fn key_hash(key: &[u8]) -> KeyHash {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(key);
    KeyHash(hasher.finish())
}

/// The keys of a batch that lies in a segment. What cannot be read has none.
pub(super) fn read_keys(view: &BatchView, note: &mut dyn FnMut(KeyHash, Offset)) {
    let Some(scan) = scan_stored(&view.body) else { return };
    for index in 0..scan.records.len() {
        if let Some(key) = scan.key(index) {
            note(key_hash(key), view.head.base_offset.plus(scan.offset_delta(index).into()));
        }
    }
}

/// The keys of a batch that is to be appended: each with the place of its last record in the batch.
pub(crate) type AppendKeys = Box<[(KeyHash, u32)]>;

/// Reads them. `None`: the batch cannot be read.
pub(crate) fn append_keys(body: &Bytes) -> Option<AppendKeys> {
    let scan = scan_stored(body)?;
    let mut last = HashMap::new();
    for index in 0..scan.records.len() {
        if let Some(key) = scan.key(index) {
            last.insert(key_hash(key), u32::try_from(index).ok()?);
        }
    }
    Some(last.into_iter().collect())
}

/// Whatever was let in once is read again.
fn scan_stored(body: &Bytes) -> Option<Scan> {
    let limits = ScanLimits { records: u32::MAX, record_bytes: u32::MAX, ..ScanLimits::default() };
    scan(body, limits).ok()
}
