//! Records as people see them in JSON, in and out. What comes out can be sent back in and is the same record again.
//!
//! Out: `{"topic","partition","offset","append_time","event_time"?,"key","headers","value"}`, offsets as numbers, times
//! in RFC 3339 with microseconds. A value is JSON when its `content-type` header says so (and it is), else a string when
//! it is UTF-8, else base64 with `"encoding":"base64"` beside it; `null` is a tombstone. A key is a string or base64
//! with `"key_encoding":"base64"`. A header is a string, an array when its name repeats, `{"base64":..}` when it is
//! not UTF-8.
//!
//! In: `{"key"?,"value","headers"?,"event_time"?,"partition"?,"encoding"?,"key_encoding"?}`. A string value is that text,
//! unless the headers declare JSON; any other value is kept as the JSON text it was sent as, byte for byte, and gets
//! `content-type: application/json` when it has none. `topic`, `offset` and `append_time` are accepted and ignored.

mod headers;
mod list;
mod object;
mod quantity;
mod read;
mod topic;
mod write;

pub(super) use list::BoundedList;
pub(super) use object::{Object, from_object};
pub(super) use quantity::{Number, Span};
pub(crate) use read::{IncomingRecord, parse_record};
pub(super) use topic::{TopicOut, TopicsOut, parse_settings};
pub(crate) use write::{Place, Style, write_record, write_unplaced};

use embermq_protocol::v1::Header;

/// The name of the header that says what a value is.
pub(super) const CONTENT_TYPE: &str = "content-type";

/// Whether a media type (parameters allowed) is JSON.
pub(super) fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let json_suffix =
        essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json");
    essence.eq_ignore_ascii_case(b"application/json")
        || essence.eq_ignore_ascii_case(b"text/json")
        || json_suffix
}

/// The content type among a record's headers.
pub(super) fn content_type(headers: &[Header]) -> Option<&[u8]> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(CONTENT_TYPE))?;
    Some(&header.value)
}
