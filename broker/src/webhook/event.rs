//! From a record to the message that is posted: its value as the body, what it is as headers.
//!
//! A record that is a CloudEvent (it was produced as one) keeps its attributes; any other becomes one. Of a record's own headers only those
//! are sent along that the webhook names: whoever may produce shall not choose what a receiver believes of a request.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use embermq_protocol::names::{GroupName, TopicName};
use embermq_protocol::time;
use embermq_storage::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::consume::Lease;
use crate::topic::TopicId;

/// Bytes that the headers of one message may have: more is refused by common servers.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// The type of a record that is no CloudEvent.
const RECORD_TYPE: &str = "dev.embermq.record.v1";
/// The type of a test.
const TEST_TYPE: &str = "dev.embermq.webhook.test.v1";

/// What is posted, but for the signature, which has the time of the attempt in it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The same for each attempt.
    pub(super) id: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a record cannot be posted, now or ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsendable {
    #[error(
        "too_large: the value has {bytes} bytes, the webhook's limit is {limit} (max_body_bytes)"
    )]
    Body { bytes: u64, limit: u64 },
    #[error(
        "headers_too_large: what is to be sent along has more than {HEADER_BYTES_MAX} bytes; name fewer headers, or send less in them"
    )]
    Headers,
}

/// Where a record comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) webhook: &'a GroupName,
    pub(super) topic: &'a TopicName,
    pub(super) topic_id: TopicId,
}

impl Origin<'_> {
    /// The id of a message: the same whenever this webhook posts this record, another one for every other. It has no full stop,
    /// which the signature separates with.
    fn message_id(&self, lease: &Lease) -> String {
        let facts = format!(
            "{}\n{}\n{}\n{}",
            self.webhook, self.topic_id.0, lease.partition.0, lease.offset
        );
        let mut id = "msg_".to_owned();
        for byte in &Sha256::digest(facts)[..16] {
            // Writing to a string cannot fail.
            let _ok = write!(id, "{byte:02x}");
        }
        id
    }
}

/// The message of a record.
pub(super) fn message(
    origin: &Origin<'_>,
    lease: &Lease,
    along: &[HeaderName],
    body_bytes_max: u64,
) -> Result<Message, Unsendable> {
    let record = &lease.record;
    let body = record.value.clone().unwrap_or_default();
    let bytes = body.len() as u64;
    if bytes > body_bytes_max {
        return Err(Unsendable::Body { bytes, limit: body_bytes_max });
    }
    let mut headers = Headers::default();
    if let Some(media_type) = record.header_value("content-type") {
        headers.raw(header::CONTENT_TYPE, media_type);
    }
    for name in along {
        for value in
            record.headers.iter().filter(|known| known.name.eq_ignore_ascii_case(name.as_str()))
        {
            headers.raw(name.clone(), &value.value);
        }
    }
    if record.header_value("ce-specversion").is_some() {
        for known in &record.headers {
            if let Some(attribute) = known.name.strip_prefix("ce-") {
                headers.attribute(attribute, &known.value);
            }
        }
    } else {
        own_attributes(&mut headers, origin, lease);
    }
    if headers.bytes > HEADER_BYTES_MAX {
        return Err(Unsendable::Headers);
    }
    Ok(Message { id: origin.message_id(lease), headers: headers.map, body })
}

fn own_attributes(headers: &mut Headers, origin: &Origin<'_>, lease: &Lease) {
    let topic = origin.topic;
    let place = format!("{topic}/{}/{}", lease.partition.0, lease.offset);
    headers.attribute("specversion", b"1.0");
    headers.attribute("id", place.as_bytes());
    headers.attribute("source", format!("/v1/topics/{topic}").as_bytes());
    headers.attribute("type", RECORD_TYPE.as_bytes());
    let event_time = lease.record.event_time_us;
    let time = if event_time == 0 { lease.append_time } else { Timestamp(event_time) };
    headers.attribute("time", time::Timestamp::from_micros(time.0).to_string().as_bytes());
    if let Some(key) = lease.record.key.as_deref().filter(|key| !key.is_empty()) {
        // A subject is text; a key of other bytes is in no attribute.
        if std::str::from_utf8(key).is_ok() {
            headers.attribute("subject", key);
            headers.attribute("partitionkey", key);
        }
    }
}

/// A message that says that it is a test.
pub(super) fn test(webhook: &GroupName, lot: u64, now: Timestamp) -> Message {
    let time = time::Timestamp::from_micros(now.0).to_string();
    let id = format!("msg_test_{lot:016x}");
    let mut headers = Headers::default();
    headers.raw(header::CONTENT_TYPE, b"application/json");
    headers.attribute("specversion", b"1.0");
    headers.attribute("id", id.as_bytes());
    headers.attribute("source", format!("/v1/webhooks/{webhook}").as_bytes());
    headers.attribute("type", TEST_TYPE.as_bytes());
    headers.attribute("time", time.as_bytes());
    let data = serde_json::json!({ "webhook": webhook.as_str() });
    let body = serde_json::json!({ "type": TEST_TYPE, "timestamp": time, "data": data });
    Message { id, headers: headers.map, body: body.to_string().into() }
}

#[derive(Debug, Default)]
struct Headers {
    map: HeaderMap,
    bytes: usize,
}

impl Headers {
    /// As it is; what no header may have is left away.
    fn raw(&mut self, name: HeaderName, value: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            self.bytes += name.as_str().len() + value.len();
            if self.bytes <= HEADER_BYTES_MAX {
                self.map.append(name, value);
            }
        }
    }

    /// An attribute of the event. Names that none may have are left away, as are second values.
    fn attribute(&mut self, name: &str, value: &[u8]) {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || !name.bytes().all(allowed) {
            return;
        }
        let Ok(name) = HeaderName::try_from(format!("ce-{name}")) else { return };
        if !self.map.contains_key(&name) {
            self.raw(name, percent_encoded(value).as_bytes());
        }
    }
}

/// As binary mode has it: what is not printable ASCII, and quote and percent, in `%` and two digits for each byte.
fn percent_encoded(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value {
        match byte {
            b'"' | b'%' | b' ' | ..=0x20 | 0x7f.. => {
                // Writing to a string cannot fail.
                let _ok = write!(text, "%{byte:02X}");
            }
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::topic::PartitionId;

    fn lease(record: Record) -> Lease {
        Lease {
            token: String::new(),
            partition: PartitionId(2),
            offset: embermq_storage::Offset(7),
            attempt: 1,
            deadline: Timestamp(0),
            first_leased: Timestamp(0),
            append_time: Timestamp(1_000_000),
            record,
        }
    }

    fn of(record: Record, along: &[&'static str]) -> Result<Message, Unsendable> {
        let (webhook, topic) = ("ship".parse().unwrap(), "orders".parse().unwrap());
        let origin = Origin { webhook: &webhook, topic: &topic, topic_id: TopicId(3) };
        let along: Vec<HeaderName> =
            along.iter().map(|name| HeaderName::from_static(name)).collect();
        message(&origin, &lease(record), &along, 100)
    }

    fn texts(message: &Message) -> Vec<(&str, &str)> {
        let text = |(name, value)| {
            let (name, value): (&HeaderName, &HeaderValue) = (name, value);
            (name.as_str(), value.to_str().unwrap())
        };
        let mut all: Vec<_> = message.headers.iter().map(text).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_record_becomes_a_cloud_event() {
        let record = Record::new("x")
            .with_key("Größe 1")
            .with_header("content-type", "text/plain")
            .with_header("x-a", "1")
            .with_header("x-b", "2");
        let message = of(record, &["x-b"]).unwrap();
        let expected = [
            ("ce-id", "orders/2/7"),
            ("ce-partitionkey", "Gr%C3%B6%C3%9Fe%201"),
            ("ce-source", "/v1/topics/orders"),
            ("ce-specversion", "1.0"),
            ("ce-subject", "Gr%C3%B6%C3%9Fe%201"),
            ("ce-time", "1970-01-01T00:00:01Z"),
            ("ce-type", "dev.embermq.record.v1"),
            ("content-type", "text/plain"),
            ("x-b", "2"),
        ];
        assert_eq!(texts(&message), expected);
    }

    #[test]
    fn a_cloud_event_stays_what_it_is() {
        let record = Record::new("{}")
            .with_header("ce-specversion", "1.0")
            .with_header("ce-id", "a-1")
            .with_header("ce-source", "/shop")
            .with_header("ce-type", "order")
            .with_header("ce-Bad_Name", "x")
            .with_header("ce-note", "a\r\nhost: evil");
        let message = of(record, &[]).unwrap();
        let expected = [
            ("ce-id", "a-1"),
            ("ce-note", "a%0D%0Ahost:%20evil"),
            ("ce-source", "/shop"),
            ("ce-specversion", "1.0"),
            ("ce-type", "order"),
        ];
        assert_eq!(texts(&message), expected);
    }

    #[test]
    fn ids_are_the_same_for_the_same_record_alone() {
        let (ship, other) = ("ship".parse().unwrap(), "other".parse().unwrap());
        let topic = "orders".parse().unwrap();
        let id = |webhook, topic_id, offset| {
            let mut lease = lease(Record::new("x"));
            lease.offset = embermq_storage::Offset(offset);
            lease.attempt = u32::try_from(offset).unwrap();
            Origin { webhook, topic: &topic, topic_id: TopicId(topic_id) }.message_id(&lease)
        };
        assert_eq!(id(&ship, 3, 7), id(&ship, 3, 7));
        let ids = [id(&ship, 3, 7), id(&ship, 3, 8), id(&ship, 4, 7), id(&other, 3, 7)];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert!(ids.iter().all(|id| id.len() == 36 && !id.contains('.')), "{ids:?}");
    }

    #[test]
    fn what_is_too_large_is_not_sent() {
        let error = of(Record::new("x".repeat(101)), &[]).unwrap_err();
        assert_eq!(error, Unsendable::Body { bytes: 101, limit: 100 });
        let large = Record::new("x").with_header("x-a", "a".repeat(9_000));
        assert_eq!(of(large.clone(), &["x-a"]).unwrap_err(), Unsendable::Headers);
        assert!(of(large, &[]).is_ok());
    }
}
