//! Where in a body things are.

use std::ops::Range;

use super::{
    FormError,
    wire::{Value, Walk},
};
use crate::{limits::REQUEST_RECORDS_MAX, v1::Compression};

pub(crate) const COMPRESSION: u32 = 9;
pub(crate) const RECORDS: u32 = 10;
pub(crate) const COMPRESSED_RECORDS: u32 = 11;
pub(crate) const OFFSET_DELTAS: u32 = 12;
pub(crate) const BATCH: &str = "RecordBatch";

/// Counts one more record of a batch, so that a walk over bytes that are nothing but records ends soon.
pub(crate) const fn count_record(count: &mut u32) -> Result<(), FormError> {
    *count += 1;
    if *count <= REQUEST_RECORDS_MAX {
        return Ok(());
    }
    Err(FormError::TooManyRecords { limit: REQUEST_RECORDS_MAX })
}

/// The parts of a body whose fields are in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) compression: Compression,
    /// The fields 10, or the content of field 11.
    pub(crate) content: Range<usize>,
    /// The content of field 12: little-endian words of 4 bytes.
    pub(crate) deltas: Range<usize>,
}

impl Layout {
    pub(crate) fn read(body: &[u8]) -> Result<Self, FormError> {
        let mut walk = Walk::new(BATCH, body);
        let mut compression = 0;
        let mut records: Option<Range<usize>> = None;
        let mut compressed: Option<Range<usize>> = None;
        let mut deltas: Option<Range<usize>> = None;
        let mut last = 0;
        let mut count = 0;
        while let Some(field) = walk.next()? {
            let repeated = field.number == last && field.number != RECORDS;
            match (field.number, field.value) {
                (number, _) if number < last => {
                    return Err(FormError::Unordered { field: number });
                }
                (number, _) if repeated => {
                    return Err(FormError::Repeated { message: BATCH, field: number });
                }
                (COMPRESSION, Value::Varint(value)) => compression = value,
                (RECORDS, Value::Len(..)) => {
                    count_record(&mut count)?;
                    records = Some(records.map_or(field.start, |range| range.start)..field.end);
                }
                (COMPRESSED_RECORDS, Value::Len(start, end)) => compressed = Some(start..end),
                (OFFSET_DELTAS, Value::Len(start, end)) => deltas = Some(start..end),
                _ => return Err(field.unknown(BATCH)),
            }
            last = field.number;
        }
        let known = i32::try_from(compression).ok().and_then(|c| Compression::try_from(c).ok());
        let known = known.ok_or(FormError::UnknownCompression { compression })?;
        let content = match (known, records, compressed) {
            (Compression::Unspecified, None, None) => return Err(FormError::NoRecords),
            (Compression::Unspecified, Some(content), None)
            | (Compression::Lz4 | Compression::Zstd, None, Some(content)) => content,
            _ => return Err(FormError::Layout { compression }),
        };
        Ok(Self { compression: known, content, deltas: deltas.unwrap_or(0..0) })
    }

    /// The offset deltas, as numbers; empty unless the batch was compacted.
    pub(crate) fn read_deltas(&self, body: &[u8]) -> Result<Vec<u32>, FormError> {
        let bytes = &body[self.deltas.clone()];
        let (words, rest) = bytes.as_chunks::<4>();
        if rest.is_empty() {
            Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
        } else {
            Err(FormError::Truncated { message: BATCH, at: self.deltas.start })
        }
    }
}
