//! A walk over a body that checks every record and remembers where it is, without building any.

use bytes::Bytes;
use prost::Message as _;

use super::{
    Body, BodyBuilder, FormError, decompress,
    layout::{BATCH, Layout, RECORDS},
    wire::{Field, Value, Walk},
};
use crate::{
    headers::REDRIVE_GROUP,
    limits::{
        HEADER_NAME_BYTES_MAX, RECORD_BYTES_MAX, RECORD_HEADERS_MAX, REQUEST_BYTES_MAX,
        REQUEST_HEADERS_MAX, REQUEST_RECORDS_MAX,
    },
    v1::{Compression, Record},
};

const RECORD: &str = "Record";
const HEADER: &str = "Header";

/// What a batch may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// Records in the batch, at most [`REQUEST_RECORDS_MAX`].
    pub records: u32,
    /// Bytes of one record, as encoded.
    pub record_bytes: u32,
    /// Bytes of all records, inflated.
    pub inflated_bytes: usize,
    /// Whether headers are held to their limits: how many a record and a request may have, and how long their names are.
    pub limit_headers: bool,
}

impl ScanLimits {
    /// What a stored batch may have: whatever was let in once is read again. Dead letters have more headers than requests
    /// may send, and who embeds the broker is asked for no limits.
    #[must_use]
    pub const fn stored() -> Self {
        Self {
            records: u32::MAX,
            record_bytes: u32::MAX,
            inflated_bytes: REQUEST_BYTES_MAX,
            limit_headers: false,
        }
    }
}

impl Default for ScanLimits {
    /// What a request may have, with records as large as a topic allows that says nothing.
    fn default() -> Self {
        Self {
            records: REQUEST_RECORDS_MAX,
            record_bytes: RECORD_BYTES_MAX,
            inflated_bytes: REQUEST_BYTES_MAX,
            limit_headers: true,
        }
    }
}

/// Where a record is in [`Scan::inside`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSpan {
    /// First byte of the `Record` message (behind its tag and length).
    pub start: u32,
    /// Behind its last byte.
    pub end: u32,
    /// First byte of the key and the one behind it; `None` when there is no key.
    pub key: Option<(u32, u32)>,
    /// False for a tombstone.
    pub has_value: bool,
}

/// A body that was checked: decoding its records can neither fail nor surprise.
#[derive(Clone, Debug)]
pub struct Scan {
    /// What the spans count in: the body itself, or what its compressed records inflated to.
    pub inside: Bytes,
    /// Every record, in order; at least one.
    pub records: Vec<RecordSpan>,
    /// How the body is compressed.
    pub compression: Compression,
    /// One per record in a compacted batch, else empty.
    pub offset_deltas: Vec<u32>,
    /// Whether a record says for which group alone it is ([`REDRIVE_GROUP`]).
    pub redriven: bool,
}

/// What was seen of the headers of a body.
#[derive(Default)]
struct Headers {
    count: u32,
    redriven: bool,
}

/// Checks a body (fields 9 and up, in order) within limits.
///
/// ```
/// use embermq_protocol::{batch::{Body, scan, ScanLimits}, v1::Record};
///
/// let body = Body::from_records(&[Record::new("17").with_key("cam-7")]);
/// let scan = scan(&body.bytes, ScanLimits::default())?;
/// assert_eq!(scan.key(0), Some(&b"cam-7"[..]));
/// # Ok::<(), embermq_protocol::batch::FormError>(())
/// ```
///
/// # Errors
/// [`FormError`], which says what is wrong and in which record.
pub fn scan(body: &Bytes, limits: ScanLimits) -> Result<Scan, FormError> {
    let layout = Layout::read(body)?;
    let offset_deltas = layout.read_deltas(body)?;
    let compression = layout.compression;
    let (inside, content) = if compression == Compression::Unspecified {
        (body.clone(), layout.content)
    } else {
        let inside = decompress(compression, &body[layout.content], limits.inflated_bytes)?;
        let all = 0..inside.len();
        (inside, all)
    };
    if inside.len() > u32::MAX as usize {
        return Err(FormError::Inflates { sent: body.len(), limit: u32::MAX as usize });
    }

    let mut walk = Walk::within(BATCH, &inside, content.start, content.end);
    let mut records = Vec::new();
    let mut headers = Headers::default();
    while let Some(field) = walk.next()? {
        let (RECORDS, Value::Len(start, end)) = (field.number, field.value) else {
            return Err(field.unknown("RecordSet"));
        };
        if records.len() as u64 == u64::from(limits.records) {
            return Err(FormError::TooManyRecords { limit: limits.records });
        }
        let record = position(records.len());
        if end - start > limits.record_bytes as usize {
            let (bytes, limit) = (end - start, limits.record_bytes);
            return Err(FormError::RecordTooLarge { record, bytes, limit });
        }
        records.push(check_record(
            &inside,
            (start, end),
            record,
            limits.limit_headers,
            &mut headers,
        )?);
    }
    if records.is_empty() {
        return Err(FormError::NoRecords);
    }
    if !offset_deltas.is_empty() && offset_deltas.len() != records.len() {
        let (records, offsets) = (records.len(), offset_deltas.len());
        return Err(FormError::Offsets { records, offsets });
    }
    Ok(Scan { inside, records, compression, offset_deltas, redriven: headers.redriven })
}

/// A position or index as the four bytes it is kept in; `scan` has checked that all of them fit.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Checks one record and everything in it.
fn check_record(
    inside: &[u8],
    (start, end): (usize, usize),
    record: u32,
    limit_headers: bool,
    all: &mut Headers,
) -> Result<RecordSpan, FormError> {
    let mut span =
        RecordSpan { start: position(start), end: position(end), key: None, has_value: false };
    let mut headers = 0;
    let mut walk = Walk::within(RECORD, inside, start, end);
    while let Some(field) = walk.next()? {
        match (field.number, field.value) {
            (1, Value::Len(from, to)) => span.key = Some((position(from), position(to))),
            (2, Value::Len(..)) => span.has_value = true,
            (3, Value::Len(from, to)) => {
                headers += 1;
                all.count += 1;
                let too_many = headers > RECORD_HEADERS_MAX || all.count > REQUEST_HEADERS_MAX;
                if too_many && limit_headers {
                    return Err(FormError::TooManyHeaders { record });
                }
                let name = check_header(inside, from, to, record)?;
                let fits = (1..=HEADER_NAME_BYTES_MAX).contains(&name.len());
                if !fits && limit_headers {
                    return Err(FormError::HeaderName { record });
                }
                all.redriven |= name == REDRIVE_GROUP.as_bytes();
            }
            (4, Value::Fixed64(_)) => {}
            _ => return Err(field.unknown(RECORD)),
        }
    }
    Ok(span)
}

/// Checks the form of a header, and gives its name, whose length is not checked.
fn check_header(inside: &[u8], start: usize, end: usize, record: u32) -> Result<&[u8], FormError> {
    let mut name: &[u8] = &[];
    let mut walk = Walk::within(HEADER, inside, start, end);
    while let Some(field) = walk.next()? {
        match field {
            Field { number: 1, value: Value::Len(from, to), .. } => {
                name = &inside[from..to];
                // Every one that is there must be text, though only the last one counts.
                std::str::from_utf8(name).map_err(|_| FormError::HeaderName { record })?;
            }
            Field { number: 2, value: Value::Len(..), .. } => {}
            _ => return Err(field.unknown(HEADER)),
        }
    }
    Ok(name)
}

impl Scan {
    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        position(self.records.len())
    }

    /// The encoded `Record` message at an index.
    ///
    /// # Panics
    /// When there is no such record.
    #[must_use]
    pub fn record(&self, index: usize) -> Bytes {
        let span = &self.records[index];
        self.inside.slice(span.start as usize..span.end as usize)
    }

    /// The key of the record at an index, if it has one.
    ///
    /// # Panics
    /// When there is no such record.
    #[must_use]
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = self.records[index].key?;
        Some(&self.inside[start as usize..end as usize])
    }

    /// The record at an index; key, value and header values are slices of [`Scan::inside`].
    ///
    /// # Errors
    /// None that a scan would not have found.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn decode(&self, index: usize) -> Result<Record, FormError> {
        decode_record(self.record(index), self.records[index].start as usize)
    }

    /// Offset of the record at an index, counted from the batch's base offset.
    #[must_use]
    pub fn offset_delta(&self, index: usize) -> u32 {
        self.offset_deltas.get(index).copied().unwrap_or_else(|| position(index))
    }

    /// A body of some of the records, compressed as this one is: what one partition gets of a batch for many.
    ///
    /// # Errors
    /// None that a scan would not have found.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn select(&self, indexes: &[u32]) -> Result<Body, FormError> {
        self.collect(indexes).finish_compressed(self.compression)
    }

    /// The same with the offsets that the records have: what compaction leaves of a batch.
    ///
    /// # Errors
    /// None that a scan would not have found.
    ///
    /// # Panics
    /// When there is no such record.
    pub fn keep(&self, indexes: &[u32]) -> Result<Body, FormError> {
        let deltas: Vec<u32> =
            indexes.iter().map(|index| self.offset_delta(*index as usize)).collect();
        self.collect(indexes).finish_with(self.compression, &deltas)
    }

    /// A body of all the records without their headers of this name, compressed as this one is.
    ///
    /// # Errors
    /// None that a scan would not have found.
    pub fn without_header(&self, name: &str) -> Result<Body, FormError> {
        let mut builder = BodyBuilder::default();
        for index in 0..self.records.len() {
            let mut record = self.decode(index)?;
            record.headers.retain(|header| header.name != name);
            builder.push(&record);
        }
        builder.finish_compressed(self.compression)
    }

    fn collect(&self, indexes: &[u32]) -> BodyBuilder {
        let mut builder = BodyBuilder::default();
        for index in indexes {
            let span = &self.records[*index as usize];
            builder.push_encoded(&self.inside[span.start as usize..span.end as usize]);
        }
        builder
    }
}

/// Decodes one record; `at` is where it was, for the error.
pub(crate) fn decode_record(bytes: Bytes, at: usize) -> Result<Record, FormError> {
    Record::decode(bytes).map_err(|_| FormError::Truncated { message: RECORD, at })
}
