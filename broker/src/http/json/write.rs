//! One record on its way out as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use embermq_protocol::v1::Record;
use embermq_storage::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::headers::HeadersOut;
use super::{content_type, is_json};
use crate::http::span::render_time;

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) append_time: Timestamp,
}

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// Every key and value as base64.
    pub(crate) base64: bool,
    /// No line breaks within a record: JSON values get spaces in their place.
    pub(crate) one_line: bool,
}

#[derive(Serialize)]
struct PlaceOut<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    append_time: String,
}

#[derive(Serialize)]
struct RecordOut<'a> {
    #[serde(flatten)]
    place: Option<PlaceOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<String>,
    key: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    headers: HeadersOut<'a>,
    value: Value<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

/// Bytes as a string, base64 where they are no text or where it was asked for.
enum Text<'a> {
    Plain(&'a str),
    Base64(&'a [u8]),
}

enum Value<'a> {
    None,
    Json(&'a RawValue),
    Text(Text<'a>),
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8], base64: bool) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if !base64 => Self::Plain(text),
            _ => Self::Base64(bytes),
        }
    }

    const fn encoding(&self) -> Option<&'static str> {
        match self {
            Self::Plain(_) => None,
            Self::Base64(_) => Some("base64"),
        }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Base64(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Json(json) => json.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

/// Appends a record to `out`.
pub(crate) fn write_record(
    out: &mut Vec<u8>,
    place: Place<'_>,
    record: &Record,
    style: Style,
) -> serde_json::Result<()> {
    write(out, Some(place), record, style)
}

/// Appends a record that has no place yet.
pub(crate) fn write_unplaced(
    out: &mut Vec<u8>,
    record: &Record,
    style: Style,
) -> serde_json::Result<()> {
    write(out, None, record, style)
}

fn write(
    out: &mut Vec<u8>,
    place: Option<Place<'_>>,
    record: &Record,
    style: Style,
) -> serde_json::Result<()> {
    let declared_json = !style.base64 && content_type(&record.headers).is_some_and(is_json);
    let value = match &record.value {
        None => Value::None,
        Some(value) if declared_json => match serde_json::from_slice(value) {
            Ok(json) => Value::Json(json),
            // Base64 and not a string: a string would be read back as JSON.
            Err(_) => Value::Text(Text::Base64(value)),
        },
        Some(value) => Value::Text(Text::new(value, style.base64)),
    };
    let key = record.key.as_ref().map(|key| Text::new(key, style.base64));
    let start = out.len();
    let record = RecordOut {
        place: place.map(|place| PlaceOut {
            topic: place.topic,
            partition: place.partition,
            offset: place.offset,
            append_time: render_time(place.append_time),
        }),
        event_time: (record.event_time_us != 0)
            .then(|| render_time(Timestamp(record.event_time_us))),
        key_encoding: key.as_ref().and_then(Text::encoding),
        key,
        headers: HeadersOut(&record.headers),
        encoding: match &value {
            Value::Text(text) => text.encoding(),
            Value::None | Value::Json(_) => None,
        },
        value,
    };
    serde_json::to_writer(&mut *out, &record)?;
    if style.one_line {
        // A line break in valid JSON stands between tokens, never within a string.
        for byte in &mut out[start..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    Ok(())
}
