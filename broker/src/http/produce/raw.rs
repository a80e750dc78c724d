//! A raw body is a record: its bytes are the value, its content type and its metadata headers are kept as headers.

use axum::http::{HeaderMap, HeaderName, header};
use bytes::Bytes;
use embermq_protocol::v1::{Header, Record};

use crate::http::json::CONTENT_TYPE;

/// Headers that are kept with a record as they are.
const KEPT: [&str; 3] = ["traceparent", "tracestate", "baggage"];
/// Headers that are kept when their name begins so.
const KEPT_PREFIXES: [&str; 3] = ["ce-", "x-", "embermq-"];
/// Headers of the way here, not of the record.
const TRANSPORT: [&str; 3] = ["x-request-id", "x-real-ip", "x-http-method-override"];
const TRANSPORT_PREFIX: &str = "x-forwarded-";

/// Whether a request header belongs to the record.
fn is_metadata(name: &HeaderName) -> bool {
    let name = name.as_str();
    KEPT.contains(&name)
        || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            && !TRANSPORT.contains(&name)
            && !name.starts_with(TRANSPORT_PREFIX)
}

/// The record headers that a request carries: its content type first, then its metadata headers in their order.
pub(in crate::http) fn record_headers(headers: &HeaderMap) -> Vec<Header> {
    let mut kept = Vec::new();
    if let Some(value) = headers.get(header::CONTENT_TYPE) {
        // What curl says when it was told nothing: not a statement about the data.
        if !value.as_bytes().eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
            kept.push(Header {
                name: CONTENT_TYPE.to_owned(),
                value: Bytes::copy_from_slice(value.as_bytes()),
            });
        }
    }
    for (name, value) in headers {
        if is_metadata(name) {
            let value = Bytes::copy_from_slice(value.as_bytes());
            kept.push(Header { name: name.as_str().to_owned(), value });
        }
    }
    kept
}

/// The record of a raw body.
pub(in crate::http) fn record(headers: &HeaderMap, key: Option<Bytes>, body: Bytes) -> Record {
    Record { key, value: Some(body), headers: record_headers(headers), event_time_us: 0 }
}
