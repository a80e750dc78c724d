//! A batch as a producer sent it, taken apart into who sent it and its body.

use bytes::{Buf as _, BufMut as _, Bytes};

use super::{
    FormError,
    layout::{BATCH, COMPRESSED_RECORDS, COMPRESSION, OFFSET_DELTAS, RECORDS, count_record},
    wire::{Field, Value, Walk},
};

/// Who sent a batch, and where it stands among what they sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerFields {
    /// Chosen by the producer; 0: nobody in particular.
    pub producer_id: u64,
    /// Grows with every restart of the producer.
    pub producer_epoch: u32,
    /// Records that the producer sent to the topic in this epoch before these.
    pub base_sequence: u64,
}

impl ProducerFields {
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        if self.producer_id != 0 {
            out.put_u8(0x31);
            out.put_u64_le(self.producer_id);
        }
        if self.producer_epoch != 0 {
            out.put_u8(0x3D);
            out.put_u32_le(self.producer_epoch);
        }
        if self.base_sequence != 0 {
            out.put_u8(0x41);
            out.put_u64_le(self.base_sequence);
        }
    }
}

/// The fields 1 to 8 of a batch, as far as anybody asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) crc: u32,
    pub(crate) base_offset: u64,
    pub(crate) append_time_us: i64,
    pub(crate) record_count: u32,
    pub(crate) offset_span: u32,
    pub(crate) producer: ProducerFields,
}

impl Head {
    /// Takes a field 1 to 8; false when it is none of them, or of another wire type.
    fn take(&mut self, field: &Field) -> bool {
        match (field.number, field.value) {
            (1, Value::Fixed32(value)) => self.crc = value,
            (2, Value::Fixed64(value)) => self.base_offset = value,
            (3, Value::Fixed64(value)) => self.append_time_us = value.cast_signed(),
            (4, Value::Fixed32(value)) => self.record_count = value,
            (5, Value::Fixed32(value)) => self.offset_span = value,
            (6, Value::Fixed64(value)) => self.producer.producer_id = value,
            (7, Value::Fixed32(value)) => self.producer.producer_epoch = value,
            (8, Value::Fixed64(value)) => self.producer.base_sequence = value,
            _ => return false,
        }
        true
    }

    /// The head at the front of a batch, and where its body starts.
    pub(crate) fn read(batch: &[u8]) -> Result<(Self, usize), FormError> {
        let mut head = Self::default();
        let mut walk = Walk::new(BATCH, batch);
        while let Some(field) = walk.next()? {
            if field.number >= COMPRESSION {
                return Ok((head, field.start));
            }
            if !head.take(&field) {
                return Err(field.unknown(BATCH));
            }
        }
        Ok((head, batch.len()))
    }
}

/// Takes a `RecordBatch` as a producer sent it apart: its producer fields, and its body (fields 9 and up, in order).
///
/// The body is a slice of `batch` when the fields come in ascending order, as every protobuf library writes them, and
/// is put together anew when they do not. The fields 1 to 5 are the broker's and are left out. What is *inside* of the
/// records is for [`scan`](super::scan) to check.
///
/// ```
/// use embermq_protocol::{batch::{split, Body, ProducerFields}, v1::Record};
///
/// let body = Body::from_records(&[Record::new("a")]);
/// let sender = ProducerFields { producer_id: 7, producer_epoch: 1, base_sequence: 40 };
/// assert_eq!(split(body.to_batch(sender))?, (sender, body.bytes));
/// # Ok::<(), embermq_protocol::batch::FormError>(())
/// ```
///
/// # Errors
/// [`FormError`] when it is no protobuf, has a field that `RecordBatch` has not or one with another wire type, one too
/// often, more records than a request may have, or offset deltas, which only the broker may write.
pub fn split(mut batch: Bytes) -> Result<(ProducerFields, Bytes), FormError> {
    let mut head = Head::default();
    let mut walk = Walk::new(BATCH, &batch);
    let mut body_start = None;
    let mut last = 0;
    let mut ordered = true;
    let mut count = 0;
    while let Some(field) = walk.next()? {
        if field.number < COMPRESSION {
            if !head.take(&field) {
                return Err(field.unknown(BATCH));
            }
            ordered &= body_start.is_none();
        } else {
            check_body_field(&field)?;
            if field.number == RECORDS {
                count_record(&mut count)?;
            }
            body_start.get_or_insert(field.start);
            ordered &= field.number > last || (field.number, last) == (RECORDS, RECORDS);
            last = field.number;
        }
    }
    let body = if ordered {
        batch.advance(body_start.unwrap_or(batch.len()));
        batch
    } else {
        reorder(&batch)?
    };
    Ok((head.producer, body))
}

fn check_body_field(field: &Field) -> Result<(), FormError> {
    match (field.number, field.value) {
        (COMPRESSION, Value::Varint(_)) | (RECORDS | COMPRESSED_RECORDS, Value::Len(..)) => Ok(()),
        (OFFSET_DELTAS, _) => Err(FormError::OffsetDeltas),
        _ => Err(field.unknown(BATCH)),
    }
}

/// The body fields of a batch in ascending order.
fn reorder(batch: &[u8]) -> Result<Bytes, FormError> {
    let mut body = Vec::with_capacity(batch.len());
    for number in [COMPRESSION, RECORDS, COMPRESSED_RECORDS] {
        let mut found = false;
        let mut walk = Walk::new(BATCH, batch);
        while let Some(field) = walk.next()? {
            if field.number != number {
                continue;
            }
            if found && number != RECORDS {
                return Err(FormError::Repeated { message: BATCH, field: number });
            }
            found = true;
            body.put_slice(&batch[field.start..field.end]);
        }
    }
    Ok(body.into())
}
