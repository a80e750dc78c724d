//! A group's settings in and out, and how it is doing. Canonical ProtoJSON is read too.

use std::time::Duration;

use embermq_protocol::{time, v1};
use embermq_storage::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{PlaceIn, parse};
use crate::http::failure::Failure;
use crate::http::json::{Number, Object, Span};
use crate::http::span::{render_duration, render_time};

/// Settings on their way in. What is missing stays unset; `null` and an empty text are the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "group settings, which are an object")]
struct SettingsIn {
    ordering: Option<OrderingIn>,
    lease: Option<Span>,
    #[serde(alias = "maxAttempts")]
    max_attempts: Option<Number>,
    backoff: Option<Object<BackoffIn>>,
    #[serde(alias = "maxInFlight")]
    max_in_flight: Option<Number>,
    #[serde(alias = "deadLetterTopic", deserialize_with = "text_or_null")]
    dead_letter_topic: Option<String>,
    #[serde(deserialize_with = "text_or_null")]
    filter: Option<String>,
    start: Option<PlaceIn>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "an object with initial, max, multiplier and jitter"
)]
struct BackoffIn {
    initial: Option<Span>,
    max: Option<Span>,
    multiplier: Option<f64>,
    jitter: Option<bool>,
}

#[derive(Debug, Deserialize)]
enum OrderingIn {
    #[serde(rename = "none", alias = "ORDERING_NONE")]
    None,
    #[serde(rename = "key", alias = "ORDERING_KEY")]
    Key,
    #[serde(rename = "partition", alias = "ORDERING_PARTITION")]
    Partition,
}

fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::<String>::deserialize(deserializer)?.unwrap_or_default()))
}

/// Reads the body of a PUT.
pub(in crate::http::groups) fn creation(body: &[u8]) -> Result<v1::CreateGroupRequest, Failure> {
    let mut settings: SettingsIn = parse(body, "group settings")?;
    let start = settings.start.take().map(v1::Place::from);
    let settings = Some(message(settings)?);
    Ok(v1::CreateGroupRequest { settings, start, ..v1::CreateGroupRequest::default() })
}

/// Reads the body of a PATCH.
pub(in crate::http::groups) fn update(body: &[u8]) -> Result<v1::UpdateGroupRequest, Failure> {
    let settings: SettingsIn = parse(body, "group settings")?;
    if settings.start.is_some() {
        let detail = "the body is no change of settings: only a new group has a start; this one is moved with :seek";
        return Err(Failure::malformed(detail));
    }
    let settings = Some(message(settings)?);
    Ok(v1::UpdateGroupRequest { settings, ..v1::UpdateGroupRequest::default() })
}

fn message(settings: SettingsIn) -> Result<v1::GroupSettings, Failure> {
    let small = |name, number: Option<Number>| {
        let number = number.map(|number| number.small(name)).transpose();
        number.map_err(|reason| Failure::invalid(reason).with("field", name))
    };
    Ok(v1::GroupSettings {
        ordering: match settings.ordering {
            None => v1::Ordering::Unspecified.into(),
            Some(OrderingIn::None) => v1::Ordering::None.into(),
            Some(OrderingIn::Key) => v1::Ordering::Key.into(),
            Some(OrderingIn::Partition) => v1::Ordering::Partition.into(),
        },
        lease: settings.lease.map(|Span(lease)| lease),
        max_attempts: small("max_attempts", settings.max_attempts)?,
        backoff: settings.backoff.map(|Object(backoff)| v1::Backoff {
            initial: backoff.initial.map(|Span(initial)| initial),
            max: backoff.max.map(|Span(max)| max),
            multiplier: backoff.multiplier,
            jitter: backoff.jitter,
        }),
        max_in_flight: small("max_in_flight", settings.max_in_flight)?,
        dead_letter_topic: settings.dead_letter_topic,
        filter: settings.filter,
    })
}

/// A group on its way out.
#[derive(Debug, Serialize)]
pub(in crate::http::groups) struct GroupOut {
    topic: String,
    group: String,
    settings: SettingsOut,
    dead_letter_topic: String,
    create_time: String,
    lag: LagOut,
    in_flight: u64,
    waiting: u64,
    held: u64,
    dead: u64,
    scheduled: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<PartitionOut>,
}

/// Several groups on their way out.
#[derive(Debug, Serialize)]
pub(in crate::http::groups) struct GroupsOut {
    pub(in crate::http::groups) groups: Vec<GroupOut>,
}

#[derive(Debug, Serialize)]
struct SettingsOut {
    ordering: &'static str,
    lease: String,
    max_attempts: u32,
    backoff: BackoffOut,
    max_in_flight: u32,
    dead_letter_topic: String,
    filter: Option<String>,
}

#[derive(Debug, Serialize)]
struct BackoffOut {
    initial: String,
    max: String,
    multiplier: f64,
    jitter: bool,
}

#[derive(Debug, Serialize)]
struct LagOut {
    records: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct PartitionOut {
    partition: u32,
    next_offset: u64,
    first_open_offset: u64,
    open: u64,
    lag_records: u64,
}

fn std_duration(duration: Option<time::Duration>) -> Duration {
    duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default()
}

impl From<v1::Group> for GroupOut {
    fn from(group: v1::Group) -> Self {
        let settings = SettingsOut::from(group.settings.unwrap_or_default());
        let created = group.create_time.and_then(time::Timestamp::micros).unwrap_or_default();
        let seconds = std_duration(group.lag).as_secs_f64();
        Self {
            topic: group.topic,
            group: group.group,
            dead_letter_topic: settings.dead_letter_topic.clone(),
            settings,
            create_time: render_time(Timestamp(created)),
            lag: LagOut { records: group.lag_records, seconds },
            in_flight: group.in_flight,
            waiting: group.waiting,
            held: group.held,
            dead: group.dead,
            scheduled: group.scheduled,
            partitions: group.partitions.iter().map(PartitionOut::from).collect(),
        }
    }
}

impl From<v1::GroupSettings> for SettingsOut {
    fn from(settings: v1::GroupSettings) -> Self {
        let ordering = match v1::Ordering::try_from(settings.ordering) {
            Ok(v1::Ordering::Key) => "key",
            Ok(v1::Ordering::Partition) => "partition",
            _ => "none",
        };
        let backoff = settings.backoff.unwrap_or_default();
        Self {
            ordering,
            lease: render_duration(std_duration(settings.lease)),
            max_attempts: settings.max_attempts.unwrap_or_default(),
            backoff: BackoffOut {
                initial: render_duration(std_duration(backoff.initial)),
                max: render_duration(std_duration(backoff.max)),
                multiplier: backoff.multiplier.unwrap_or_default(),
                jitter: backoff.jitter.unwrap_or_default(),
            },
            max_in_flight: settings.max_in_flight.unwrap_or_default(),
            dead_letter_topic: settings.dead_letter_topic.unwrap_or_default(),
            filter: settings.filter.filter(|filter| !filter.is_empty()),
        }
    }
}

impl From<&v1::GroupPartition> for PartitionOut {
    fn from(partition: &v1::GroupPartition) -> Self {
        Self {
            partition: partition.partition,
            next_offset: partition.next_offset,
            first_open_offset: partition.first_open_offset,
            open: partition.open,
            lag_records: partition.lag_records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_the_forms_of_people_and_of_proto_json() {
        let people =
            br#"{"ordering":"key","lease":"1m","max_attempts":3,"backoff":{"initial":"500ms"},
            "max_in_flight":10,"dead_letter_topic":"x.dlq","start":{"offset":5}}"#;
        let proto = br#"{"ordering":"ORDERING_KEY","lease":"60s","maxAttempts":"3","backoff":{"initial":"0.5s"},
            "maxInFlight":10,"deadLetterTopic":"x.dlq","start":{"offset":"5"}}"#;
        assert_eq!(creation(people).unwrap(), creation(proto).unwrap());
        let start = creation(people).unwrap().start.unwrap().at;
        assert_eq!(start, Some(v1::place::At::Offset(5)));
        let nothing = creation(b" ").unwrap();
        assert_eq!((nothing.settings, nothing.start), (Some(v1::GroupSettings::default()), None));
        let reset = update(br#"{"filter":null}"#).unwrap().settings.unwrap();
        assert_eq!((reset.filter, reset.dead_letter_topic), (Some(String::new()), None));
    }

    #[test]
    fn what_is_wrong_with_settings_is_said() {
        let reason = |body: &str| creation(body.as_bytes()).unwrap_err().problem().detail.clone();
        assert!(reason(r#"{"max_attempt":4}"#).contains("unknown field `max_attempt`"));
        assert!(reason(r#"{"max_attempt":4}"#).contains("`max_attempts`"));
        assert!(reason(r#"{"max_attempts":-1}"#).contains("whole number"));
        assert!(reason(r#"{"max_attempts":4294967296}"#).contains("at most"));
        assert!(reason(r#"{"lease":"soon"}"#).contains("duration"));
        assert!(reason(r#"{"ordering":"random"}"#).contains("partition"));
        assert!(reason(r#"{"start":"now"}"#).contains("latest"));
        assert!(reason(r#"{"start":{"time":"now"}}"#).contains("now"));
        assert!(reason(r#"{"backoff":{"initial":"1s","min":"1s"}}"#).contains("multiplier"));
        assert!(reason(r#"{"backoff":["5s","6s"]}"#).contains("expected an object with initial"));
        assert!(update(br#"{"start":"earliest"}"#).is_err());
    }
}
