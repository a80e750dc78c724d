//! Batches in a store: read back as they were put in.

use bytes::Bytes;
use embermq_storage::Offset;
use embermq_storage::batch::{BATCH_FIELD_BYTES, BATCH_HEAD_BYTES, BatchHead};
use embermq_storage::segment::ReadError;

use crate::commit::Batch;
use crate::state::Held;
use crate::topic::Topic;

/// What the store has of a batch.
#[derive(Debug)]
pub(crate) enum Found<T> {
    Batch(T),
    /// It is written, but nobody may see it yet.
    NotYet,
    /// It is not there any more: the operator accepted a loss.
    Gone,
    /// It cannot be read now.
    Unreadable(String),
}

impl<T> Found<T> {
    pub(super) fn map<U>(self, with: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Self::Batch(found) => Found::Batch(with(found)),
            Self::NotYet => Found::NotYet,
            Self::Gone => Found::Gone,
            Self::Unreadable(detail) => Found::Unreadable(detail),
        }
    }
}

/// Reads a batch, as bytes of its own; may block.
pub(super) fn find(store: &Topic, held: Held) -> Found<Batch> {
    let Some(partition) = store.partitions.get(held.partition.0 as usize) else {
        return Found::NotYet;
    };
    let offset = Offset(held.offset);
    if offset >= partition.end() {
        return Found::NotYet;
    }
    let slice = match partition.reader.read(offset, 1) {
        Ok(slice) => slice,
        Err(ReadError::OutOfRange { .. }) => return Found::Gone,
        Err(error) => return Found::Unreadable(error.to_string()),
    };
    let bytes = slice.pieces.first().map_or(&[][..], |piece| piece);
    match body_of(bytes, held) {
        Some(body) => {
            let body = Bytes::copy_from_slice(body);
            let body_crc = crc32fast::hash(&body);
            Found::Batch(Batch { body, body_crc, record_count: held.count })
        }
        // Damage was reported when the folder was opened, and its offsets were given up.
        None => Found::Gone,
    }
}

/// The producer's part of the first batch in a slice, if it is the one that is meant.
fn body_of(slice: &[u8], held: Held) -> Option<&[u8]> {
    let (field, rest) = slice.split_at_checked(BATCH_FIELD_BYTES)?;
    let bytes = field.iter().skip(1).enumerate();
    let bytes = bytes.fold(0, |sum, (at, byte)| sum | usize::from(byte & 0x7F) << (7 * at));
    let batch = rest.get(..bytes)?;
    let (_, head) = BatchHead::decode(batch).ok()?;
    let meant = head.base_offset.0 == held.offset && head.record_count == held.count;
    batch.get(BATCH_HEAD_BYTES..).filter(|_| meant)
}
