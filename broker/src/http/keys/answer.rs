//! Records that were found by their keys, in the form that the client accepts: JSON, lines, protobuf, or for one record its
//! bare value.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use embermq_protocol::headers::KEY_VERSION;
use embermq_protocol::v1;
use embermq_storage::Timestamp;

use crate::http::failure::Failure;
use crate::http::json::{Place, Style, content_type, write_record};
use crate::http::media::{JSON, NDJSON};
use crate::http::span::render_time;

const PARTITION: HeaderName = HeaderName::from_static("partition");
const APPEND_TIME: HeaderName = HeaderName::from_static("append-time");

/// What is said of a page beside its records: a member of JSON, a header of lines.
pub(super) struct Tail {
    pub(super) member: &'static str,
    pub(super) header: HeaderName,
    /// As JSON; none behind the last page.
    pub(super) json: Option<String>,
}

/// One record as JSON or as a line.
pub(super) fn one(
    topic: &str,
    found: &v1::KeyRecord,
    kind: &'static str,
    base64: bool,
) -> Result<Response, Failure> {
    let mut text = Vec::new();
    write(&mut text, topic, found, Style { base64, one_line: kind == NDJSON })?;
    if kind == NDJSON {
        text.push(b'\n');
    }
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (HeaderName::from_static(KEY_VERSION), found.offset.into()),
    ];
    Ok((head, text).into_response())
}

/// The value of a record, with what is known of it in headers. A record without a value is an answer without content.
pub(super) fn bare(found: v1::KeyRecord) -> Response {
    let record = found.record.unwrap_or_default();
    let kind = content_type(&record.headers)
        .and_then(|kind| HeaderValue::from_bytes(kind).ok())
        .unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"));
    let time = HeaderValue::try_from(render_time(append_time(found.append_time)));
    let head = [
        (HeaderName::from_static(KEY_VERSION), found.offset.into()),
        (PARTITION, found.partition.into()),
        (APPEND_TIME, time.unwrap_or_else(|_| HeaderValue::from_static(""))),
        // What somebody has produced is not to be taken for a page of ours.
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    match record.value {
        Some(value) => (head, [(header::CONTENT_TYPE, kind)], value).into_response(),
        None => (StatusCode::NO_CONTENT, head).into_response(),
    }
}

/// A page of records as JSON or as lines.
pub(super) fn page(
    topic: &str,
    records: &[v1::KeyRecord],
    tail: Tail,
    kind: &'static str,
    base64: bool,
) -> Result<Response, Failure> {
    let style = Style { base64, one_line: kind == NDJSON };
    let mut text = Vec::new();
    if kind == JSON {
        text.extend_from_slice(b"{\"records\":[");
    }
    for (found, index) in records.iter().zip(0..) {
        if kind == JSON && index > 0 {
            text.push(b',');
        }
        write(&mut text, topic, found, style)?;
        if kind == NDJSON {
            text.push(b'\n');
        }
    }
    if kind == JSON {
        let Tail { member, json, .. } = &tail;
        let next = json.as_deref().unwrap_or("null");
        text.extend_from_slice(format!("],\"{member}\":{next}}}").as_bytes());
    }
    let head = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))];
    let mut response = (head, text).into_response();
    let next = tail.json.map(|json| HeaderValue::try_from(json.trim_matches('"')));
    if let Some(Ok(next)) = next {
        response.headers_mut().insert(tail.header, next);
    }
    Ok(response)
}

fn write(
    text: &mut Vec<u8>,
    topic: &str,
    found: &v1::KeyRecord,
    style: Style,
) -> Result<(), Failure> {
    let append_time = append_time(found.append_time);
    let place = Place { topic, partition: found.partition, offset: found.offset, append_time };
    let record = found.record.as_ref();
    let written = record.map_or(Ok(()), |record| write_record(text, place, record, style));
    written
        .map_err(|error| Failure::new(Code::Internal, format!("a record cannot be shown: {error}")))
}

fn append_time(time: Option<embermq_protocol::time::Timestamp>) -> Timestamp {
    Timestamp(time.and_then(|time| time.micros()).unwrap_or_default())
}
