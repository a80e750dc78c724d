//! One JSON record on its way in.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use embermq_protocol::v1::{Header, Record};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::headers::HeadersIn;
use super::object::from_object;
use super::{CONTENT_TYPE, content_type, is_json};
use crate::http::span::parse_time;

/// A record and the partition that it asks for.
#[derive(Debug)]
pub(crate) struct IncomingRecord {
    pub(crate) partition: Option<u32>,
    pub(crate) record: Record,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a record, which is an object with a value")]
struct JsonRecord<'a> {
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    headers: HeadersIn,
    #[serde(borrow, default)]
    event_time: Option<Cow<'a, str>>,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(default)]
    encoding: Option<Encoding>,
    #[serde(default)]
    key_encoding: Option<Encoding>,
    // What a consumer sees beside these: ignored, so that its output can be produced again.
    #[serde(default, rename = "topic")]
    _topic: Option<IgnoredAny>,
    #[serde(default, rename = "offset")]
    _offset: Option<IgnoredAny>,
    #[serde(default, rename = "append_time")]
    _append_time: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Base64,
}

/// Reads one record; the error says what is wrong with it.
pub(crate) fn parse_record(json: &[u8]) -> Result<IncomingRecord, String> {
    let parsed: JsonRecord<'_> = from_object(json)?;
    let HeadersIn(mut headers) = parsed.headers;
    let value = value_bytes(parsed.value, parsed.encoding, &mut headers)?;
    let key = match (parsed.key, parsed.key_encoding) {
        (Some(key), Some(Encoding::Base64)) => Some(decode(&key, "key")?),
        (Some(key), None) => Some(Bytes::from(key.into_owned())),
        (None, _) => None,
    };
    let event_time_us = match parsed.event_time {
        Some(text) => event_time(&text)?,
        None => 0,
    };
    let record = Record { key, value, headers, event_time_us };
    Ok(IncomingRecord { partition: parsed.partition, record })
}

fn event_time(text: &str) -> Result<i64, String> {
    let time = parse_time(text);
    Ok(time.ok_or_else(|| format!("event_time {text:?} is not an RFC 3339 time"))?.0)
}

/// The bytes that are stored for a JSON value.
fn value_bytes(
    value: &RawValue,
    encoding: Option<Encoding>,
    headers: &mut Vec<Header>,
) -> Result<Option<Bytes>, String> {
    let text = value.get();
    let string = text.starts_with('"');
    if text == "null" {
        return Ok(None);
    }
    if encoding == Some(Encoding::Base64) {
        if !string {
            return Err("with \"encoding\":\"base64\" the value must be a string".to_owned());
        }
        return Ok(Some(decode(&unescape(text)?, "value")?));
    }
    let declared = content_type(headers);
    if string && !declared.is_some_and(is_json) {
        return Ok(Some(Bytes::from(unescape(text)?.into_owned())));
    }
    if declared.is_none() {
        let value = Bytes::from_static(b"application/json");
        headers.push(Header { name: CONTENT_TYPE.to_owned(), value });
    }
    Ok(Some(Bytes::copy_from_slice(text.as_bytes())))
}

fn unescape(text: &str) -> Result<Cow<'_, str>, String> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let Text(text) = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn decode(text: &str, what: &str) -> Result<Bytes, String> {
    let bytes = STANDARD.decode(text).map_err(|error| format!("{what} is not base64: {error}"))?;
    Ok(bytes.into())
}
