//! Batches as they are stored: slices of the segments with the answer's small fields behind them.
//!
//! A client that cannot decompress (the rule: one that does not say `compressed=true` in the query) gets compressed
//! batches inflated. Their checksum field is 0 then, as the stored one is of the compressed bytes.

use bytes::{Bytes, BytesMut};
use embermq_protocol::batch::{BodyBuilder, FormError, HEAD_BYTES, ScanLimits, StoredBatch, scan};
use embermq_protocol::code::Code;
use embermq_protocol::limits::REQUEST_BYTES_MAX;
use embermq_protocol::v1::FetchResponse;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use super::wanted::Wanted;
use crate::Read;
use crate::http::failure::Failure;
use crate::http::protobuf::Pieces;

/// The number of `FetchResponse.batches`.
const BATCHES: u32 = 1;
/// The number of `RecordBatch.offset_deltas`.
const OFFSET_DELTAS: u32 = 12;
/// The first byte of a body that is not compressed: field 10.
const RECORDS_TAG: u8 = 0x52;

/// A `FetchResponse` as pieces, and the offset at which to go on.
pub(in crate::http) fn fetch_response(
    read: &Read,
    wanted: &Wanted,
) -> Result<(Pieces, u64), Failure> {
    let (mut pieces, next) = match wanted.records_max {
        None => (read.pieces.clone(), read.next.0),
        Some(max) => cut(read, max)?,
    };
    if !wanted.compressed {
        pieces = pieces.into_iter().map(inflated).collect::<Result<_, _>>()?;
    }
    let tail = FetchResponse {
        batches: Vec::new(),
        next_offset: next,
        start_offset: read.start.0,
        end_offset: read.end.0,
    };
    pieces.push(tail.encode_to_vec().into());
    Ok((Pieces::new(pieces), next))
}

/// The batches of a piece, each with the bytes of its whole field.
struct Batches {
    piece: Bytes,
    at: usize,
}

impl Batches {
    const fn of(piece: Bytes) -> Self {
        Self { piece, at: 0 }
    }

    /// Start and end of the next field, and its batch.
    fn next(&mut self) -> Result<Option<(usize, usize, Bytes)>, Failure> {
        let mut rest = &self.piece[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let broken = |_| unreadable("a batch field is cut off");
        let (number, kind) = decode_key(&mut rest).map_err(broken)?;
        let length = decode_varint(&mut rest).map_err(broken)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if number != BATCHES || kind != WireType::LengthDelimited || length > rest.len() {
            return Err(unreadable("something else stands where a batch should"));
        }
        let batch = self.piece.len() - rest.len();
        self.at = batch + length;
        Ok(Some((start, self.at, self.piece.slice(batch..self.at))))
    }
}

/// Whole batches up to the one that holds the record number `max`, counted from where the read began.
fn cut(read: &Read, max: u64) -> Result<(Vec<Bytes>, u64), Failure> {
    let mut pieces = Vec::with_capacity(read.pieces.len());
    let mut count = 0;
    for piece in &read.pieces {
        let mut batches = Batches::of(piece.clone());
        while let Some((_, end, batch)) = batches.next()? {
            let batch = StoredBatch::parse(&batch).map_err(|error| form(&error))?;
            let below = read.from.0.saturating_sub(batch.base_offset);
            count += u64::from(batch.record_count).saturating_sub(below);
            if count >= max {
                pieces.push(piece.slice(..end));
                return Ok((pieces, batch.next_offset()));
            }
        }
        pieces.push(piece.clone());
    }
    Ok((pieces, read.next.0))
}

/// A piece without compressed batches; the same bytes when it has none.
fn inflated(piece: Bytes) -> Result<Bytes, Failure> {
    let mut batches = Batches::of(piece.clone());
    let mut rebuilt: Option<BytesMut> = None;
    while let Some((start, end, batch)) = batches.next()? {
        let plain = batch.get(HEAD_BYTES).is_none_or(|tag| *tag == RECORDS_TAG);
        match (&mut rebuilt, plain) {
            (None, true) => {}
            (Some(out), true) => out.extend_from_slice(&piece[start..end]),
            (out, false) => {
                let out = out.get_or_insert_with(|| BytesMut::from(&piece[..start]));
                inflate(&batch, out)?;
            }
        }
    }
    Ok(rebuilt.map_or(piece, BytesMut::freeze))
}

/// Adds a batch to `out` as a field, without compression.
fn inflate(batch: &Bytes, out: &mut BytesMut) -> Result<(), Failure> {
    let stored = StoredBatch::parse(batch).map_err(|error| form(&error))?;
    let limits =
        ScanLimits { records: u32::MAX, record_bytes: u32::MAX, inflated_bytes: REQUEST_BYTES_MAX };
    let scanned = scan(&stored.body, limits).map_err(|error| form(&error))?;
    let mut body = BodyBuilder::default();
    for index in 0..scanned.records.len() {
        body.push_encoded(&scanned.record(index));
    }
    let mut head = BytesMut::from(&batch[..batch.len() - stored.body.len()]);
    // The checksum field stands first: a tag byte, then four bytes.
    if let Some(crc) = head.get_mut(1..5) {
        crc.fill(0);
    }
    let body = body.finish().bytes;
    let mut deltas = Vec::new();
    prost::encoding::fixed32::encode_packed(OFFSET_DELTAS, &scanned.offset_deltas, &mut deltas);
    let length = (head.len() + body.len() + deltas.len()) as u64;
    encode_key(BATCHES, WireType::LengthDelimited, out);
    encode_varint(length, out);
    for part in [&head[..], &body[..], &deltas[..]] {
        out.extend_from_slice(part);
    }
    Ok(())
}

fn form(error: &FormError) -> Failure {
    unreadable(&error.to_string())
}

fn unreadable(reason: &str) -> Failure {
    Failure::new(Code::DataDamaged, format!("a stored batch cannot be read: {reason}"))
}
