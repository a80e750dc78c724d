//! Record batches as bytes: checked for form, split, cut, compressed and read without being built up.
//!
//! # Format
//!
//! A batch is the protobuf message `RecordBatch`. As stored and as fetched it is a *head* of 56 bytes (fields 1 to 8,
//! all fixed width, in order) followed by its *body*: fields 9 and up, exactly as the producer sent them:
//!
//! ```text
//! 9   compression         0x48 varint        left out when not compressed
//! 10  records             0x52 len Record    repeated; when not compressed
//! 11  compressed_records  0x5A len bytes     when compressed
//! 12  offset_deltas       0x62 len fixed32*  only after compaction
//! ```
//!
//! `compressed_records` inflates to the very bytes that an uncompressed body would have as its field 10. LZ4 is one LZ4
//! *frame*, zstd one zstd frame with a window of at most 8 MiB.
//!
//! # Order of work
//!
//! A broker that takes a batch calls [`split`] (head from body), then [`scan`] (form, counts, keys), and only then may
//! anything be decoded: a record of two bytes becomes a struct of a hundred, so `RecordBatch::decode` on bytes from
//! outside would let a 64 MiB request fill gigabytes. [`decode_batches`] decodes one record at a time.

mod body;
mod compression;
mod decode;
mod error;
mod layout;
mod route;
mod scan;
mod split;
mod wire;

pub use body::{Body, BodyBuilder};
pub use compression::{compress, decompress};
pub use decode::{
    DecodedRecords, FetchedBatches, StoredBatch, StoredRecord, decode_batches, first_batch,
};
pub use error::FormError;
pub use route::{Route, key_hash, partition_for_key, route};
pub use scan::{RecordSpan, Scan, ScanLimits, scan};
pub use split::{ProducerFields, split};

/// Bytes of a batch before its body, as stored and as fetched.
pub const HEAD_BYTES: usize = 56;
