//! What can be wrong with the form of a batch.

use crate::{
    code::Code,
    limits::{HEADER_NAME_BYTES_MAX, RECORD_HEADERS_MAX, REQUEST_HEADERS_MAX, REQUEST_RECORDS_MAX},
};

/// Why bytes are no acceptable batch. Final: the same bytes are never acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// A field says that it goes on behind the end of what holds it.
    #[error("{message} is cut off at byte {at}")]
    Truncated {
        /// The message it is in.
        message: &'static str,
        /// Where the field starts.
        at: usize,
    },
    /// A varint has more than ten bytes, or its value does not fit.
    #[error("{message} has a malformed varint at byte {at}")]
    Varint {
        /// The message it is in.
        message: &'static str,
        /// Where it starts.
        at: usize,
    },
    /// A field that the message does not have, or not with this wire type.
    #[error("{message} has no field {field} of wire type {wire_type} (at byte {at})")]
    Field {
        /// The message it is in.
        message: &'static str,
        /// The field's number.
        field: u32,
        /// Its wire type.
        wire_type: u8,
        /// Where it starts.
        at: usize,
    },
    /// A field may be there at most once.
    #[error("{message} has field {field} more than once")]
    Repeated {
        /// The message it is in.
        message: &'static str,
        /// The field's number.
        field: u32,
    },
    /// The fields of a body do not ascend. Only stored bodies: [`split`](super::split) puts a producer's in order.
    #[error("RecordBatch has field {field} out of order")]
    Unordered {
        /// The field that should have come earlier.
        field: u32,
    },
    /// A producer sent the field that only compaction writes.
    #[error("RecordBatch has offset_deltas, which only the broker may write; leave the field out")]
    OffsetDeltas,
    /// Records and compressed records, or one of them where the compression says the other.
    #[error(
        "RecordBatch does not fit its compression {compression}: 0 wants records, others want compressed_records"
    )]
    Layout {
        /// Its field 9.
        compression: u64,
    },
    /// A compression that is not known here.
    #[error(
        "compression {compression} is not known; send 0 (none), 1 (LZ4 frame) or 2 (zstd, if built in)"
    )]
    UnknownCompression {
        /// Its field 9.
        compression: u64,
    },
    /// The compressed bytes are no single well-formed frame.
    #[error("compressed_records is no well-formed {compression} frame: {reason}")]
    Compressed {
        /// `lz4` or `zstd`.
        compression: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The records inflate to more than is allowed.
    #[error(
        "compressed_records of {sent} bytes inflates to more than {limit} bytes; send smaller batches"
    )]
    Inflates {
        /// Bytes as sent.
        sent: usize,
        /// How many it may become.
        limit: usize,
    },
    /// There are no records.
    #[error("the batch has no records")]
    NoRecords,
    /// There are more records than a request may have.
    #[error(
        "the batch has more than {limit} records (at most {REQUEST_RECORDS_MAX} in a request); send several requests"
    )]
    TooManyRecords {
        /// How many are allowed.
        limit: u32,
    },
    /// A record is too large.
    #[error("record {record} has {bytes} bytes, at most {limit} are allowed in this topic")]
    RecordTooLarge {
        /// Its index in the batch.
        record: u32,
        /// Its length as encoded.
        bytes: usize,
        /// The topic's limit.
        limit: u32,
    },
    /// A record, or all of them together, have too many headers.
    #[error(
        "record {record} has too many headers: at most {RECORD_HEADERS_MAX} a record and {REQUEST_HEADERS_MAX} a request are allowed"
    )]
    TooManyHeaders {
        /// The index of the record that goes over the limit.
        record: u32,
    },
    /// A header's name is empty, too long or no UTF-8.
    #[error(
        "record {record} has a header whose name is not 1 to {HEADER_NAME_BYTES_MAX} bytes of UTF-8"
    )]
    HeaderName {
        /// The index of the record.
        record: u32,
    },
    /// The offsets of a stored batch do not fit its records.
    #[error("a stored batch has {records} records and offsets for {offsets}")]
    Offsets {
        /// Records in it.
        records: usize,
        /// Offsets in it.
        offsets: usize,
    },
}

impl FormError {
    /// The code that a request with such a batch fails with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Inflates { .. } => Code::BodyTooLarge,
            Self::TooManyRecords { .. } => Code::TooManyRecords,
            Self::RecordTooLarge { .. } => Code::RecordTooLarge,
            _ => Code::MalformedBody,
        }
    }
}
