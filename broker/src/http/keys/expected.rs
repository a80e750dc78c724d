//! What a request expects of keys: `If-Key-Version` of a produce request, and preconditions of a commit.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use embermq_protocol::batch::{ScanLimits, scan, split};
use embermq_protocol::headers::IF_KEY_VERSION;
use embermq_protocol::limits::{REQUEST_BYTES_MAX, REQUEST_RECORDS_MAX};
use embermq_protocol::v1;
use embermq_storage::Offset;
use serde::Deserialize;

use crate::http::append::Records;
use crate::http::failure::Failure;
use crate::http::named::only;
use crate::{KeyExpectation, PartitionId, Precondition, Topic, TopicSeen};

/// The precondition that the version of a key is this one. `topic` is the one by which the appends find their partitions, so
/// that both speak of the same partition, whatever becomes of the topic meanwhile.
pub(in crate::http) fn key_version_is(
    topic: &Topic,
    partition: Option<u32>,
    key: Bytes,
    expected: KeyExpectation,
) -> Result<Precondition, Failure> {
    if key.is_empty() {
        return Err(Failure::invalid("the key of a precondition is empty: name one"));
    }
    let (seen, partition) = (Some(TopicSeen::of(topic)), partition.map(PartitionId));
    Ok(Precondition::Key { topic: topic.name.clone(), partition, seen, key, expected })
}

/// A precondition on a key as a message.
pub(in crate::http) fn of_message(
    topic: &Topic,
    wanted: &v1::precondition::KeyVersion,
) -> Result<Precondition, Failure> {
    key_version_is(topic, wanted.partition, wanted.key.clone(), expectation(wanted.offset))
}

fn expectation(offset: Option<u64>) -> KeyExpectation {
    offset.map_or(KeyExpectation::Absent, |offset| KeyExpectation::Version(Offset(offset)))
}

/// A precondition on a key in the JSON of people; without an offset there must be no record.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with a key, and the offset of its latest record"
)]
pub(in crate::http) struct JsonKeyVersion {
    key: String,
    #[serde(default)]
    key_encoding: Option<String>,
    #[serde(default)]
    offset: Option<u64>,
}

impl JsonKeyVersion {
    /// The key, and what is expected of it.
    pub(in crate::http) fn read(self) -> Result<(Bytes, KeyExpectation), Failure> {
        let key = match self.key_encoding.as_deref() {
            None => self.key.into_bytes(),
            Some("base64") => STANDARD.decode(&self.key).map_err(|error| {
                Failure::malformed(format!("the key of a precondition is not base64: {error}"))
            })?,
            Some(other) => {
                let detail = format!("key_encoding is {other:?}, only \"base64\" is possible");
                return Err(Failure::malformed(detail));
            }
        };
        Ok((key.into(), expectation(self.offset)))
    }
}

/// What the header `If-Key-Version` expects of the one key that the records of a request have.
pub(in crate::http) fn of_produce(
    headers: &HeaderMap,
    topic: &Topic,
    partition: Option<u32>,
    records: &Records,
) -> Result<Option<Precondition>, Failure> {
    let Some(value) = only(headers, IF_KEY_VERSION)? else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim().trim_matches('"');
    let expected = match text {
        "none" => KeyExpectation::Absent,
        text => text.parse().map(|offset| KeyExpectation::Version(Offset(offset))).map_err(|_| {
            let detail = format!(
                "header {IF_KEY_VERSION} is {value:?}, expected the offset of the key's latest record, or none"
            );
            Failure::invalid(detail).with("header", IF_KEY_VERSION)
        })?,
    };
    let (key, own) = only_key(topic, records)?;
    key_version_is(topic, partition.or(own), key, expected).map(Some)
}

/// The key that all records have, and the partition that they name themselves.
fn only_key(topic: &Topic, records: &Records) -> Result<(Bytes, Option<u32>), Failure> {
    let wrong = |detail: &str| {
        let detail = format!("{IF_KEY_VERSION} {detail}");
        Failure::invalid(detail).with("header", IF_KEY_VERSION)
    };
    let mut places: Vec<(Option<Bytes>, Option<u32>)> = match records {
        Records::List(list) => {
            list.iter().map(|record| (record.record.key.clone(), record.partition)).collect()
        }
        Records::Batch(batch) => {
            let limits = ScanLimits {
                records: REQUEST_RECORDS_MAX,
                record_bytes: topic.settings.record_bytes_max,
                inflated_bytes: REQUEST_BYTES_MAX,
                limit_headers: true,
            };
            let scanned = scan(&split(batch.clone())?.1, limits)?;
            let key = |index| scanned.key(index).map(Bytes::copy_from_slice);
            (0..scanned.records.len()).map(|index| (key(index), None)).collect()
        }
    };
    places.dedup();
    match places.as_slice() {
        [(Some(key), partition)] if !key.is_empty() => Ok((key.clone(), *partition)),
        [] | [_] => Err(wrong(
            "needs a record with a key: send the Key header with a raw body, or a key in the JSON",
        )),
        _ => Err(wrong(
            "speaks of one key in one partition, and the records have several; \
             POST /v1/commits takes a precondition for each",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::HeaderValue;
    use embermq_storage::Timestamp;

    use super::*;
    use crate::http::json::IncomingRecord;
    use crate::{TopicId, TopicSettings};

    #[test]
    fn a_precondition_speaks_of_the_topic_that_the_records_go_by() {
        let topic = Topic {
            id: TopicId(7),
            name: "t".parse().unwrap(),
            settings: TopicSettings { partitions: 5, ..TopicSettings::default() },
            created: Timestamp(1),
            partitions: Vec::new(),
            counters: Arc::default(),
            grown: Arc::default(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(IF_KEY_VERSION, HeaderValue::from_static("none"));
        let record = v1::Record::new("x").with_key("k");
        let records = Records::List(vec![IncomingRecord { partition: None, record }]);
        let found = of_produce(&headers, &topic, None, &records).unwrap().unwrap();
        let Precondition::Key { partition, seen, .. } = found else { panic!("{found:?}") };
        assert_eq!((partition, seen), (None, Some(TopicSeen { id: TopicId(7), partitions: 5 })));
    }
}
