//! Stored batches back into records, one at a time.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::{
    FormError, ProducerFields, decompress,
    layout::{BATCH, Layout, RECORDS},
    scan::decode_record,
    split::Head,
    wire::{Value, Walk},
};
use crate::{
    limits::REQUEST_BYTES_MAX,
    v1::{Compression, Record},
};

const RESPONSE: &str = "FetchResponse";

/// A record as it is stored: with its place and time.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// Its number in the partition.
    pub offset: u64,
    /// When the broker took it, in microseconds since 1970-01-01T00:00:00Z.
    pub append_time_us: i64,
    /// What was produced.
    pub record: Record,
}

/// A batch as it is stored, with its head read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// The CRC that it carries; it covers the segment's epoch and can be checked only with that.
    pub crc: u32,
    /// Offset of its first record.
    pub base_offset: u64,
    /// When the broker took it, in microseconds since 1970-01-01T00:00:00Z.
    pub append_time_us: i64,
    /// How many records it has.
    pub record_count: u32,
    /// How many offsets it covers; more than it has records when it was compacted.
    pub offset_span: u32,
    /// Who produced it.
    pub producer: ProducerFields,
    /// Fields 9 and up.
    pub body: Bytes,
}

impl StoredBatch {
    /// Reads the head of a batch.
    ///
    /// # Errors
    /// [`FormError`] when its fields before the body are not those of a `RecordBatch`.
    pub fn parse(batch: &Bytes) -> Result<Self, FormError> {
        let (head, body) = Head::read(batch)?;
        Ok(Self {
            crc: head.crc,
            base_offset: head.base_offset,
            append_time_us: head.append_time_us,
            record_count: head.record_count,
            offset_span: head.offset_span,
            producer: head.producer,
            body: batch.slice(body..),
        })
    }

    /// The offset behind its last one.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.base_offset.saturating_add(u64::from(self.offset_span))
    }
}

/// The records of a batch, as far as they have been handed out.
#[derive(Debug)]
struct Open {
    base_offset: u64,
    append_time_us: i64,
    /// The fields 10 lie in here,
    inside: Bytes,
    /// in this part of it; the start moves.
    rest: Range<usize>,
    deltas: Vec<u32>,
    next: usize,
}

impl Open {
    fn new(batch: &StoredBatch) -> Result<Self, FormError> {
        let layout = Layout::read(&batch.body)?;
        let deltas = layout.read_deltas(&batch.body)?;
        let (inside, rest) = if layout.compression == Compression::Unspecified {
            (batch.body.clone(), layout.content)
        } else {
            let content = &batch.body[layout.content];
            let inside = decompress(layout.compression, content, REQUEST_BYTES_MAX)?;
            let all = 0..inside.len();
            (inside, all)
        };
        let (base_offset, append_time_us) = (batch.base_offset, batch.append_time_us);
        Ok(Self { base_offset, append_time_us, inside, rest, deltas, next: 0 })
    }

    fn next(&mut self, from: u64) -> Result<Option<StoredRecord>, FormError> {
        let mut walk = Walk::within(BATCH, &self.inside, self.rest.start, self.rest.end);
        while let Some(field) = walk.next()? {
            let (RECORDS, Value::Len(start, end)) = (field.number, field.value) else {
                return Err(field.unknown("RecordSet"));
            };
            let offset = self.base_offset.wrapping_add(self.delta()?);
            self.next += 1;
            self.rest.start = field.end;
            if offset >= from {
                let record = decode_record(self.inside.slice(start..end), start)?;
                let append_time_us = self.append_time_us;
                return Ok(Some(StoredRecord { offset, append_time_us, record }));
            }
        }
        Ok(None)
    }

    fn delta(&self) -> Result<u64, FormError> {
        if self.deltas.is_empty() {
            return Ok(self.next as u64);
        }
        let (records, offsets) = (self.next + 1, self.deltas.len());
        let delta = self.deltas.get(self.next).ok_or(FormError::Offsets { records, offsets })?;
        Ok(u64::from(*delta))
    }
}

/// The records of stored batches, in order. Ends behind the first error.
#[derive(Debug)]
pub struct DecodedRecords {
    pieces: VecDeque<Bytes>,
    /// Where in the first piece to go on.
    at: usize,
    open: Option<Open>,
    from: u64,
}

/// Reads the records of pieces, each a run of whole `batches` fields (tag 0x0A, length, batch) such as a segment or a
/// `FetchResponse` has. Records below the offset `from` are left out, and batches that end below it are not even
/// inflated. Other fields between the batches are skipped.
///
/// ```
/// use embermq_protocol::{batch::decode_batches, v1::{FetchResponse, Record, RecordBatch}};
/// use prost::Message as _;
///
/// let batch = RecordBatch {
///     base_offset: 40,
///     offset_span: 2,
///     records: vec![Record::new("a"), Record::new("b")],
///     ..RecordBatch::default()
/// };
/// let answer = FetchResponse { batches: vec![batch], next_offset: 42, ..FetchResponse::default() };
/// let records: Vec<_> = decode_batches([answer.encode_to_vec().into()], 41).collect::<Result<_, _>>()?;
/// assert_eq!((records[0].offset, &records[0].record), (41, &Record::new("b")));
/// # Ok::<(), embermq_protocol::batch::FormError>(())
/// ```
pub fn decode_batches(pieces: impl IntoIterator<Item = Bytes>, from: u64) -> DecodedRecords {
    DecodedRecords { pieces: pieces.into_iter().collect(), at: 0, open: None, from }
}

/// The first of the batches that pieces have, as [`decode_batches`] takes them; its records are not looked at.
///
/// # Errors
/// [`FormError`] when its fields before the body are not those of a `RecordBatch`.
pub fn first_batch(
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<Option<StoredBatch>, FormError> {
    decode_batches(pieces, 0).next_batch()
}

impl DecodedRecords {
    fn step(&mut self) -> Result<Option<StoredRecord>, FormError> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(record) = open.next(self.from)? {
                    return Ok(Some(record));
                }
                self.open = None;
            }
            let Some(batch) = self.next_batch()? else { return Ok(None) };
            let skip = batch.offset_span > 0 && batch.next_offset() <= self.from;
            self.open = if skip { None } else { Some(Open::new(&batch)?) };
        }
    }

    fn next_batch(&mut self) -> Result<Option<StoredBatch>, FormError> {
        while let Some(piece) = self.pieces.front() {
            let mut walk = Walk::within(RESPONSE, piece, self.at, piece.len());
            while let Some(field) = walk.next()? {
                if let (1, Value::Len(start, end)) = (field.number, field.value) {
                    let batch = StoredBatch::parse(&piece.slice(start..end))?;
                    self.at = field.end;
                    return Ok(Some(batch));
                }
            }
            self.pieces.pop_front();
            self.at = 0;
        }
        Ok(None)
    }
}

impl Iterator for DecodedRecords {
    type Item = Result<StoredRecord, FormError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.pieces.clear();
            self.open = None;
        }
        step.transpose()
    }
}

/// A `FetchResponse` as it came, with its numbers read and its batches left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedBatches {
    response: Bytes,
    /// Where to go on.
    pub next_offset: u64,
    /// The first offset that can be read.
    pub start_offset: u64,
    /// The offset that the next record will get.
    pub end_offset: u64,
}

impl FetchedBatches {
    /// Reads the numbers. Fields that this version does not know are skipped.
    ///
    /// # Errors
    /// [`FormError`] when it is no protobuf.
    pub fn parse(response: Bytes) -> Result<Self, FormError> {
        let (mut next_offset, mut start_offset, mut end_offset) = (0, 0, 0);
        let mut walk = Walk::new(RESPONSE, &response);
        while let Some(field) = walk.next()? {
            match (field.number, field.value) {
                (2, Value::Varint(value)) => next_offset = value,
                (3, Value::Varint(value)) => start_offset = value,
                (4, Value::Varint(value)) => end_offset = value,
                _ => {}
            }
        }
        Ok(Self { response, next_offset, start_offset, end_offset })
    }

    /// The records, from an offset on.
    pub fn records(&self, from: u64) -> DecodedRecords {
        decode_batches([self.response.clone()], from)
    }
}
