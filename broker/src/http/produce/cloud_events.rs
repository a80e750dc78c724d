//! CloudEvents 1.0.2, in all three modes.
//!
//! Whatever the mode, an event is stored as the binary mode has it: the data is the value, `datacontenttype` the
//! `content-type` header, each attribute a header `ce-<name>`. `partitionkey` is the key and `time` the event time.
//! What names a single event, its `source` and `id`, is its idempotency key unless the request brings one, so that an
//! event that is sent again is stored once.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use embermq_protocol::limits::RECORD_HEADERS_MAX;
use embermq_protocol::v1::{Header, Record};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::lines::too_many;
use super::raw;
use crate::http::failure::Failure;
use crate::http::json::{BoundedList, CONTENT_TYPE, is_json};
use crate::http::named::named;
use crate::http::query::percent_decode;
use crate::http::span::parse_time;

/// Attributes that every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Characters of a source or an id that are shown.
const SHOWN_CHARS_MAX: usize = 100;

/// An event as a record, and what makes it the same as another.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) record: Record,
    pub(super) name: EventName,
}

/// What two events have in common when they are the same one.
#[derive(Debug)]
pub(in crate::http) struct EventName {
    source: String,
    id: String,
}

impl EventName {
    /// A key that no other event has: source and id may be of any length, and have any character in them.
    pub(super) fn idempotency_key(&self) -> String {
        let Self { source, id } = self;
        let mut hash = Sha256::new();
        hash.update((source.len() as u64).to_le_bytes());
        hash.update(source);
        hash.update(id);
        let mut key = "ce ".to_owned();
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _ok = write!(key, "{byte:02x}");
        }
        key
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| text.chars().take(SHOWN_CHARS_MAX).collect::<String>();
        write!(f, "id {:?} and source {:?}", shown(&self.id), shown(&self.source))
    }
}

/// Whether a request is an event in binary mode.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    named(headers, "ce-specversion").is_some()
}

/// The event of a request in binary mode.
pub(super) fn binary(
    headers: &HeaderMap,
    key: Option<Bytes>,
    body: Bytes,
) -> Result<Event, Failure> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix("ce-") {
            // Non-ASCII characters come percent-encoded.
            let text =
                String::from_utf8(percent_decode(&String::from_utf8_lossy(value.as_bytes())))
                    .map_err(|_| Failure::invalid(format!("header ce-{name} is not UTF-8")))?;
            attributes.insert(name.to_owned(), text);
        }
    }
    let mut others = raw::record_headers(headers);
    others.retain(|header| !header.name.starts_with("ce-"));
    event(&attributes, others, key, Some(body)).map_err(Failure::invalid)
}

/// The event of a body in structured mode.
pub(super) fn structured(body: &[u8]) -> Result<Event, String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body)
        .map_err(|error| format!("not a CloudEvent in JSON: {error}"))?;
    let mut attributes = BTreeMap::new();
    if members.len() > RECORD_HEADERS_MAX as usize {
        return Err(format!("an event has at most {RECORD_HEADERS_MAX} attributes"));
    }
    for (name, json) in &members {
        if name == "data" || name == "data_base64" {
            continue;
        }
        let text =
            match serde_json::from_str::<Value>(json.get()).map_err(|error| error.to_string())? {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Bool(value) => value.to_string(),
                Value::Number(number) => number.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    return Err(format!(
                        "attribute {name:?} is neither a string, a number nor a boolean"
                    ));
                }
            };
        attributes.insert(name.clone(), text);
    }
    let data =
        data(members.get("data").copied(), members.get("data_base64").copied(), &mut attributes)?;
    let mut headers = Vec::new();
    if let Some(media_type) = attributes.remove("datacontenttype") {
        headers.push(Header { name: CONTENT_TYPE.to_owned(), value: Bytes::from(media_type) });
    }
    event(&attributes, headers, None, data)
}

/// The bytes of an event's data.
fn data(
    data: Option<&RawValue>,
    base64: Option<&RawValue>,
    attributes: &mut BTreeMap<String, String>,
) -> Result<Option<Bytes>, String> {
    let string = |json: &RawValue, what: &str| {
        serde_json::from_str::<String>(json.get()).map_err(|error| format!("{what}: {error}"))
    };
    match (data.filter(|json| json.get() != "null"), base64) {
        (Some(_), Some(_)) => Err("an event has data or data_base64, not both".to_owned()),
        (None, Some(json)) => {
            let bytes = STANDARD
                .decode(string(json, "data_base64")?)
                .map_err(|error| format!("data_base64 is not base64: {error}"))?;
            Ok(Some(bytes.into()))
        }
        (Some(json), None) => {
            let media_type = attributes
                .entry("datacontenttype".to_owned())
                .or_insert_with(|| "application/json".to_owned());
            if json.get().starts_with('"') && !is_json(media_type.as_bytes()) {
                return Ok(Some(Bytes::from(string(json, "data")?)));
            }
            Ok(Some(Bytes::copy_from_slice(json.get().as_bytes())))
        }
        (None, None) => Ok(Some(Bytes::new())),
    }
}

/// The events of a body in batched mode.
pub(super) fn batched(body: &[u8]) -> Result<Vec<Event>, Failure> {
    let list: BoundedList<'_> = serde_json::from_slice(body).map_err(|error| {
        Failure::malformed(format!("the body is not a JSON array of CloudEvents: {error}"))
    })?;
    if list.overflow {
        return Err(too_many());
    }
    let one = |(index, json): (usize, &&RawValue)| {
        structured(json.get().as_bytes()).map_err(|reason| {
            Failure::malformed(format!("event {index} of the batch: {reason}")).with("index", index)
        })
    };
    list.elements.iter().enumerate().map(one).collect()
}

fn event(
    attributes: &BTreeMap<String, String>,
    mut headers: Vec<Header>,
    key: Option<Bytes>,
    data: Option<Bytes>,
) -> Result<Event, String> {
    for name in REQUIRED {
        if attributes.get(name).is_none_or(String::is_empty) {
            return Err(format!("a CloudEvent needs the attribute {name:?}"));
        }
    }
    let [version, id, source, _] =
        REQUIRED.map(|name| attributes.get(name).map_or("", String::as_str));
    if version != "1.0" {
        return Err(format!("CloudEvents version {version:?} is not understood, only \"1.0\""));
    }
    let event_time_us = match attributes.get("time") {
        Some(text) => {
            parse_time(text).ok_or_else(|| format!("time {text:?} is not an RFC 3339 time"))?.0
        }
        None => 0,
    };
    let partition_key =
        attributes.get("partitionkey").map(|key| Bytes::copy_from_slice(key.as_bytes()));
    for (name, value) in attributes {
        if name.is_empty() || name.len() > 200 {
            return Err("an attribute name has 1 to 200 bytes".to_owned());
        }
        headers.push(Header {
            name: format!("ce-{name}"),
            value: Bytes::copy_from_slice(value.as_bytes()),
        });
    }
    let record = Record { key: key.or(partition_key), value: data, headers, event_time_us };
    Ok(Event { record, name: EventName { source: source.to_owned(), id: id.to_owned() } })
}

#[cfg(test)]
mod tests {
    use embermq_protocol::limits::IDEMPOTENCY_KEY_BYTES_MAX;

    use super::*;

    fn key(source: &str, id: &str) -> String {
        let name = EventName { source: source.to_owned(), id: id.to_owned() };
        name.idempotency_key()
    }

    #[test]
    fn events_share_a_key_when_source_and_id_are_the_same() {
        assert_eq!(key("/cam/7", "1"), key("/cam/7", "1"));
        let long = "x".repeat(10_000);
        let names =
            [("a", "b c"), ("a b", "c"), ("ab", "c"), ("a", "bc"), (&long, "1"), ("1", &long)];
        let keys = names.map(|(source, id)| key(source, id));
        for (at, one) in keys.iter().enumerate() {
            assert!(one.len() <= IDEMPOTENCY_KEY_BYTES_MAX, "{one}");
            assert!(!keys[..at].contains(one), "{:?}", names[at]);
        }
    }

    #[test]
    fn what_names_an_event_is_shown_in_part() {
        let name = EventName { source: "s".repeat(1_000), id: "1\n".to_owned() };
        let shown = name.to_string();
        assert!(shown.starts_with("id \"1\\n\" and source \"sss") && shown.len() < 150, "{shown}");
    }
}
