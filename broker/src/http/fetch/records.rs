//! Batches as JSON records: exactly from the offset that was asked for, exactly as many as were asked for.

use embermq_protocol::batch::{StoredRecord, decode_batches};
use embermq_protocol::code::Code;
use embermq_protocol::limits::FETCH_BYTES_MAX;
use embermq_storage::Timestamp;

use crate::http::failure::Failure;
use crate::http::json::{Place, Style, write_record};
use crate::{Read, ReadRequest};

/// A page ends behind the record that makes it longer than this.
const TEXT_BYTES_MAX: usize = 4 * FETCH_BYTES_MAX as usize;

/// Records as one JSON text.
#[derive(Debug)]
pub(super) struct JsonPage {
    pub(super) text: Vec<u8>,
    /// Where to go on.
    pub(super) next: u64,
}

/// One record as JSON.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) offset: u64,
    pub(super) json: Vec<u8>,
}

/// A page of records: `{"records":[..],"next_offset":..,"start_offset":..,"end_offset":..}`, or with `one_line` lines.
pub(super) fn page(
    request: &ReadRequest,
    read: &Read,
    max: u64,
    style: Style,
) -> Result<JsonPage, Failure> {
    let mut text = Vec::with_capacity(read.pieces.iter().map(|piece| piece.len() + 256).sum());
    let mut next = read.next.0;
    if !style.one_line {
        text.extend_from_slice(b"{\"records\":[");
    }
    let records = decode_batches(read.pieces.iter().cloned(), read.from.0);
    for (stored, count) in records.zip(0..) {
        let stored = stored.map_err(|error| damaged(&error.to_string()))?;
        // A batch may inflate to far more than was read.
        if count == max || (count > 0 && text.len() > TEXT_BYTES_MAX) {
            next = stored.offset;
            break;
        }
        if count > 0 && !style.one_line {
            text.push(b',');
        }
        write(&mut text, request, &stored, style)?;
        if style.one_line {
            text.push(b'\n');
        }
    }
    if !style.one_line {
        let (start, end) = (read.start, read.end);
        let tail =
            format!("],\"next_offset\":{next},\"start_offset\":{start},\"end_offset\":{end}}}");
        text.extend_from_slice(tail.as_bytes());
    }
    Ok(JsonPage { text, next })
}

/// Records one by one.
pub(super) fn render_records(
    request: &ReadRequest,
    read: &Read,
    style: Style,
) -> Result<Vec<Rendered>, Failure> {
    decode_batches(read.pieces.iter().cloned(), read.from.0)
        .map(|stored| {
            let stored = stored.map_err(|error| damaged(&error.to_string()))?;
            let mut json = Vec::new();
            write(&mut json, request, &stored, style)?;
            Ok(Rendered { offset: stored.offset, json })
        })
        .collect()
}

fn write(
    text: &mut Vec<u8>,
    request: &ReadRequest,
    stored: &StoredRecord,
    style: Style,
) -> Result<(), Failure> {
    let place = Place {
        topic: request.topic.as_str(),
        partition: request.partition.0,
        offset: stored.offset,
        append_time: Timestamp(stored.append_time_us),
    };
    write_record(text, place, &stored.record, style)
        .map_err(|error| Failure::new(Code::Internal, format!("a record cannot be shown: {error}")))
}

/// The checksum was right, the form is not: a defect of whoever wrote it, not of the disk.
fn damaged(reason: &str) -> Failure {
    Failure::new(
        Code::DataDamaged,
        format!(
            "a stored batch cannot be read as records: {reason}; application/x-protobuf gives it as it is"
        ),
    )
}
