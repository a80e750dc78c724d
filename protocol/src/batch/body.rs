//! A body in one piece, with what goes with it.

use bytes::{BufMut as _, Bytes};
use prost::Message as _;

use super::{
    FormError, ProducerFields, compress,
    compression::inflates_to_at_most,
    layout::{COMPRESSED_RECORDS, COMPRESSION, OFFSET_DELTAS, RECORDS},
    wire::{put_len, put_varint},
};
use crate::v1::{Compression, Record};

/// The body of a batch: fields 9 and up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The fields, in order.
    pub bytes: Bytes,
    /// How many records are in it.
    pub records: u32,
    /// CRC-32 (IEEE) of `bytes`: where the batch's own CRC starts from.
    pub crc: u32,
}

impl Body {
    /// Takes bytes whose records were counted before, and computes their CRC.
    #[must_use]
    pub fn of(bytes: Bytes, records: u32) -> Self {
        let crc = crc32fast::hash(&bytes);
        Self { bytes, records, crc }
    }

    /// The body of these records, not compressed.
    ///
    /// ```
    /// use embermq_protocol::{batch::Body, v1::Record};
    ///
    /// let body = Body::from_records(&[Record::new("a"), Record::new("b")]);
    /// assert_eq!(body.records, 2);
    /// assert_eq!(&body.bytes[..], b"\x52\x03\x12\x01a\x52\x03\x12\x01b");
    /// ```
    #[must_use]
    pub fn from_records<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut builder = BodyBuilder::default();
        for record in records {
            builder.push(record);
        }
        builder.finish()
    }

    /// The whole `RecordBatch` as a producer sends it: who sends it, then this body.
    #[must_use]
    pub fn to_batch(&self, producer: ProducerFields) -> Bytes {
        let mut batch = Vec::with_capacity(24 + self.bytes.len());
        producer.put(&mut batch);
        batch.put_slice(&self.bytes);
        batch.into()
    }
}

/// Collects records into a body.
#[derive(Debug, Default)]
pub struct BodyBuilder {
    bytes: Vec<u8>,
    records: u32,
}

impl BodyBuilder {
    /// Adds a record behind the others.
    pub fn push(&mut self, record: &Record) {
        put_len(&mut self.bytes, RECORDS, record.encoded_len());
        record.encode_raw(&mut self.bytes);
        self.records += 1;
    }

    /// Adds a record that is encoded already (the message alone, without tag and length).
    pub fn push_encoded(&mut self, record: &[u8]) {
        put_len(&mut self.bytes, RECORDS, record.len());
        self.bytes.extend_from_slice(record);
        self.records += 1;
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True as long as there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Records so far.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The body, not compressed.
    #[must_use]
    pub fn finish(self) -> Body {
        Body::of(self.bytes.into(), self.records)
    }

    /// The body, compressed; left as it is when that does not make it smaller, or so small that nobody would inflate it.
    ///
    /// # Errors
    /// [`FormError::UnknownCompression`] when this build cannot compress so.
    pub fn finish_compressed(self, compression: Compression) -> Result<Body, FormError> {
        self.finish_with(compression, &[])
    }

    /// The body with offset deltas behind it, if there are any.
    pub(crate) fn finish_with(
        self,
        compression: Compression,
        deltas: &[u32],
    ) -> Result<Body, FormError> {
        let mut bytes = self.bytes;
        if compression != Compression::Unspecified && self.records > 0 {
            let compressed = compress(compression, &bytes)?;
            let smaller = compressed.len() + 16 < bytes.len();
            if smaller && bytes.len() <= inflates_to_at_most(compressed.len()) {
                bytes = Vec::with_capacity(compressed.len() + 16);
                let number = i32::from(compression).unsigned_abs();
                put_varint(&mut bytes, COMPRESSION, number.into());
                put_len(&mut bytes, COMPRESSED_RECORDS, compressed.len());
                bytes.extend_from_slice(&compressed);
            }
        }
        if !deltas.is_empty() {
            put_len(&mut bytes, OFFSET_DELTAS, deltas.len() * 4);
            for delta in deltas {
                bytes.put_u32_le(*delta);
            }
        }
        Ok(Body::of(bytes.into(), self.records))
    }
}
