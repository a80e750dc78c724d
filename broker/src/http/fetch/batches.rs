//! Batches as they are stored: slices of the segments with the answer's small fields behind them.
//!
//! A client that cannot decompress (the rule: one that does not say `compressed=true` in the query) gets compressed
//! batches inflated. Their checksum field is 0 then, as the stored one is of the compressed bytes.

use bytes::{Bytes, BytesMut};
use embermq_protocol::batch::{BodyBuilder, FormError, HEAD_BYTES, ScanLimits, StoredBatch, scan};
use embermq_protocol::code::Code;
use embermq_protocol::limits::FETCH_BYTES_MAX;
use embermq_protocol::v1::FetchResponse;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

use super::wanted::Wanted;
use crate::Read;
use crate::http::failure::Failure;
use crate::http::held::Answers;
use crate::http::protobuf::Pieces;

/// The number of `FetchResponse.batches`.
const BATCHES: u32 = 1;
/// The number of `RecordBatch.offset_deltas`.
const OFFSET_DELTAS: u32 = 12;
/// The first byte of a body that is not compressed: field 10.
const RECORDS_TAG: u8 = 0x52;

/// A `FetchResponse` as pieces, and the offset at which to go on. What was inflated counts; slices of segments need not.
pub(in crate::http) fn fetch_response(
    read: &Read,
    wanted: &Wanted,
    answers: &Answers,
) -> Result<(Pieces, u64), Failure> {
    let (mut pieces, mut next) = match wanted.records_max {
        None => (read.pieces.clone(), read.next.0),
        Some(max) => cut(read, max)?,
    };
    if !wanted.compressed {
        (pieces, next) = inflated(pieces, next, answers)?;
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

/// The batches of a piece, as places in it.
struct Batches<'a> {
    piece: &'a [u8],
    at: usize,
}

/// Where a batch is: its field with tag and length from `start` to `end`, itself from `batch` to `end`.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    batch: usize,
    end: usize,
}

impl<'a> Batches<'a> {
    const fn of(piece: &'a [u8]) -> Self {
        Self { piece, at: 0 }
    }

    fn next(&mut self) -> Result<Option<Span>, Failure> {
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
        Ok(Some(Span { start, batch, end: self.at }))
    }
}

impl Span {
    fn parse(self, piece: &Bytes) -> Result<StoredBatch, Failure> {
        StoredBatch::parse(&piece.slice(self.batch..self.end)).map_err(|error| form(&error))
    }

    /// Whether the batch is certainly not compressed, by the first byte of its body.
    fn is_plain(self, piece: &[u8]) -> bool {
        piece[self.batch..self.end].get(HEAD_BYTES).is_none_or(|tag| *tag == RECORDS_TAG)
    }
}

/// Whole batches up to the one that holds the record number `max`, counted from where the read began.
fn cut(read: &Read, max: u64) -> Result<(Vec<Bytes>, u64), Failure> {
    let mut pieces = Vec::with_capacity(read.pieces.len());
    let mut count = 0;
    for piece in &read.pieces {
        let mut batches = Batches::of(piece);
        while let Some(span) = batches.next()? {
            let batch = span.parse(piece)?;
            let below = read.from.0.saturating_sub(batch.base_offset);
            count += u64::from(batch.record_count).saturating_sub(below);
            if count >= max {
                pieces.push(piece.slice(..span.end));
                return Ok((pieces, batch.next_offset()));
            }
        }
        pieces.push(piece.clone());
    }
    Ok((pieces, read.next.0))
}

/// Pieces without compressed batches, and where to go on; pieces that had none are passed on as they are.
///
/// What inflates to more than a fetch may give is cut behind the batch that reaches the limit.
fn inflated(
    pieces: Vec<Bytes>,
    next: u64,
    answers: &Answers,
) -> Result<(Vec<Bytes>, u64), Failure> {
    let mut out = Vec::with_capacity(pieces.len());
    let mut grown = 0;
    let counted = |rebuilt: BytesMut| answers.hold(rebuilt.freeze());
    for piece in pieces {
        let mut batches = Batches::of(&piece);
        let mut rebuilt: Option<BytesMut> = None;
        while let Some(span) = batches.next()? {
            if grown >= FETCH_BYTES_MAX as usize {
                let base_offset = span.parse(&piece)?.base_offset;
                out.push(rebuilt.map_or_else(|| piece.slice(..span.start), counted));
                return Ok((out, base_offset));
            }
            match (&mut rebuilt, span.is_plain(&piece)) {
                (None, true) => {}
                (Some(rebuilt), true) => rebuilt.extend_from_slice(&piece[span.start..span.end]),
                (rebuilt, false) => {
                    if grown == 0 {
                        answers.room()?;
                    }
                    let rebuilt =
                        rebuilt.get_or_insert_with(|| BytesMut::from(&piece[..span.start]));
                    let before = rebuilt.len();
                    inflate(&piece.slice(span.batch..span.end), rebuilt)?;
                    grown += rebuilt.len() - before;
                }
            }
        }
        out.push(rebuilt.map_or(piece, counted));
    }
    Ok((out, next))
}

/// Adds a batch to `out` as a field, without compression.
fn inflate(batch: &Bytes, out: &mut BytesMut) -> Result<(), Failure> {
    let stored = StoredBatch::parse(batch).map_err(|error| form(&error))?;
    let scanned = scan(&stored.body, ScanLimits::stored()).map_err(|error| form(&error))?;
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
