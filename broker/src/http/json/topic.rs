//! Topics as people see them in JSON: names as in the proto files, numbers as numbers, durations as `7d` or `604800s`.
//!
//! Canonical ProtoJSON (camel case, `DURABILITY_OS`, numbers in strings) is read too.

use embermq_protocol::{time, v1};
use embermq_storage::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::object::{Object, from_object};
use super::quantity::{Number, Span};
use crate::http::span::{render_duration, render_time};

/// Settings on their way in. What is missing stays unset; `null` is nothing that any of them can be, and may be meant as no bound.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "topic settings, which are an object")]
struct SettingsIn {
    #[serde(deserialize_with = "not_null")]
    partitions: Option<Number>,
    #[serde(deserialize_with = "not_null")]
    retention: Option<Object<RetentionIn>>,
    #[serde(deserialize_with = "not_null")]
    compact: Option<bool>,
    #[serde(alias = "tombstoneRetention", deserialize_with = "not_null")]
    tombstone_retention: Option<Span>,
    #[serde(deserialize_with = "not_null")]
    durability: Option<Durable>,
    #[serde(alias = "recordBytesMax", deserialize_with = "not_null")]
    record_bytes_max: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "an object with age, bytes or both, in which null is no bound"
)]
struct RetentionIn {
    age: Option<Span>,
    bytes: Option<Number>,
}

fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Debug, Deserialize)]
enum Durable {
    #[serde(rename = "fsync", alias = "DURABILITY_FSYNC")]
    Fsync,
    #[serde(rename = "os", alias = "DURABILITY_OS")]
    Os,
}

/// Reads settings; an empty body means that nothing is set.
pub(crate) fn parse_settings(body: &[u8]) -> Result<v1::TopicSettings, String> {
    if body.trim_ascii().is_empty() {
        return Ok(v1::TopicSettings::default());
    }
    let settings: SettingsIn = from_object(body)?;
    let small = |name, number: Option<Number>| number.map(|number| number.small(name)).transpose();
    Ok(v1::TopicSettings {
        partitions: small("partitions", settings.partitions)?,
        retention: settings.retention.map(|Object(retention)| v1::Retention {
            age: retention.age.map(|Span(age)| age),
            bytes: retention.bytes.map(|Number(bytes)| bytes),
        }),
        compact: settings.compact,
        tombstone_retention: settings.tombstone_retention.map(|Span(retention)| retention),
        durability: match settings.durability {
            None => v1::Durability::Unspecified.into(),
            Some(Durable::Fsync) => v1::Durability::Fsync.into(),
            Some(Durable::Os) => v1::Durability::Os.into(),
        },
        record_bytes_max: small("record_bytes_max", settings.record_bytes_max)?,
    })
}

/// A topic on its way out.
#[derive(Debug, Serialize)]
pub(crate) struct TopicOut {
    name: String,
    settings: SettingsOut,
    create_time: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<PartitionOut>,
}

#[derive(Debug, Serialize)]
struct SettingsOut {
    partitions: u32,
    retention: RetentionOut,
    compact: bool,
    tombstone_retention: String,
    durability: &'static str,
    record_bytes_max: u32,
}

#[derive(Debug, Serialize)]
struct RetentionOut {
    age: Option<String>,
    bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct PartitionOut {
    partition: u32,
    start_offset: u64,
    end_offset: u64,
    bytes: u64,
}

/// Several topics on their way out.
#[derive(Debug, Serialize)]
pub(crate) struct TopicsOut {
    pub(crate) topics: Vec<TopicOut>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) next_page_token: String,
}

fn span(duration: Option<time::Duration>) -> Option<String> {
    duration.and_then(|duration| duration.try_into().ok()).map(render_duration)
}

impl From<v1::Topic> for TopicOut {
    fn from(topic: v1::Topic) -> Self {
        let settings = topic.settings.unwrap_or_default();
        let retention = settings.retention.unwrap_or_default();
        let os = settings.durability == i32::from(v1::Durability::Os);
        let created = topic.create_time.and_then(time::Timestamp::micros).unwrap_or_default();
        Self {
            name: topic.name,
            settings: SettingsOut {
                partitions: settings.partitions.unwrap_or_default(),
                retention: RetentionOut { age: span(retention.age), bytes: retention.bytes },
                compact: settings.compact.unwrap_or_default(),
                tombstone_retention: span(settings.tombstone_retention).unwrap_or_default(),
                durability: if os { "os" } else { "fsync" },
                record_bytes_max: settings.record_bytes_max.unwrap_or_default(),
            },
            create_time: render_time(Timestamp(created)),
            partitions: topic.partitions.iter().map(PartitionOut::from).collect(),
        }
    }
}

impl From<&v1::PartitionInfo> for PartitionOut {
    fn from(partition: &v1::PartitionInfo) -> Self {
        Self {
            partition: partition.partition,
            start_offset: partition.start_offset,
            end_offset: partition.end_offset,
            bytes: partition.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_the_forms_of_people_and_of_proto_json() {
        let people =
            br#"{"partitions":4,"retention":{"age":"7d"},"durability":"os","record_bytes_max":10}"#;
        let proto = br#"{"partitions":4,"retention":{"age":"604800s"},"durability":"DURABILITY_OS","recordBytesMax":"10"}"#;
        assert_eq!(parse_settings(people).unwrap(), parse_settings(proto).unwrap());
        assert_eq!(parse_settings(b" ").unwrap(), v1::TopicSettings::default());
    }

    #[test]
    fn what_is_wrong_with_settings_is_said() {
        let reason = |body: &str| parse_settings(body.as_bytes()).unwrap_err();
        assert!(reason(r#"{"partition":4}"#).contains("unknown field `partition`"));
        assert!(reason(r#"{"partitions":-1}"#).contains("whole number"));
        assert!(reason(r#"{"partitions":4294967296}"#).contains("at most"));
        assert!(reason(r#"{"retention":{"age":"soon"}}"#).contains("duration"));
        assert!(reason(r#"{"retention":["1d",5]}"#).contains("expected an object with age"));
        assert!(reason(r#"{"retention":null}"#).contains("null is no bound"));
        let all =
            ["partitions", "compact", "tombstone_retention", "durability", "record_bytes_max"];
        for setting in all {
            assert!(parse_settings(format!(r#"{{"{setting}":null}}"#).as_bytes()).is_err());
        }
        let unbounded = parse_settings(br#"{"retention":{"age":null}}"#).unwrap();
        assert_eq!(unbounded.retention, Some(v1::Retention::default()));
        assert!(reason(r#"{"durability":"disk"}"#).contains("fsync"));
        assert!(reason("{").contains("EOF"));
        assert!(reason("[1]").contains("an object is expected"));
        assert!(reason("7").contains("expected topic settings"));
    }
}
