//! A webhook as people write it, in JSON, and as it is run.

use std::time::Duration;

use axum::http::HeaderName;
use embermq_protocol::names::{GroupName, TopicName};
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use super::secret::Secret;
use super::target::Target;
use crate::consume::{Backoff, GroupSettings, Ordering};
use crate::read::From;
use crate::stage::Span;

/// The group of a webhook is called after it.
const GROUP_PREFIX: &str = "webhook-";
const CONCURRENCY: u32 = 8;
const CONCURRENCY_MAX: u32 = 64;
const TIMEOUT: Duration = Duration::from_secs(15);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const DELAYS_MAX: usize = 100;
const DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
const BODY_BYTES: u64 = 8 << 20;
const BODY_BYTES_MAX: u64 = 64 << 20;
const HEADERS_MAX: usize = 32;
/// Of trace contexts, so that what a receiver does belongs to what was produced.
const HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];
/// What a lease has beyond the timeout: to settle it, whatever else the disk has to do.
const SETTLE_TIME: Duration = Duration::from_secs(10);

/// Headers that are not a record's to say: what frames a message, where it goes, and what is ours.
const RESERVED: [&str; 15] = [
    "host",
    "connection",
    "content-length",
    "content-encoding",
    "content-type",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "cookie",
    "user-agent",
];

/// What a webhook is to do; what is left out has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The topic that it reads.
    pub topic: String,
    /// Where it posts to.
    pub url: String,
    /// What it signs with; never shown or kept in this form.
    #[serde(default, skip_serializing)]
    pub secret: Option<Secret>,
    /// `none` (default), `key` or `partition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<String>,
    /// Only records that pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Posts at a time: 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// From the name's resolution to the answer's end: `15s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Delays between attempts; one attempt more than there are delays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<Span>>,
    /// Whether the delays vary by a fifth: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<bool>,
    /// Larger values are dead letters: 8 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Headers of a record that are sent along: those of trace contexts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<String>>,
    /// `earliest` (default) or `latest`; only where there is no group of its name yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Where dead letters go: `<topic>.webhook-<name>.dlq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// It posts nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WebhookSettings {
    pub(super) name: GroupName,
    pub(super) group: GroupName,
    pub(super) topic: TopicName,
    pub(super) target: Target,
    pub(super) ordering: Ordering,
    pub(super) filter: Option<String>,
    pub(super) concurrency: u32,
    pub(super) timeout: Duration,
    pub(super) schedule: Schedule,
    pub(super) body_bytes_max: u64,
    pub(super) headers: Vec<HeaderName>,
    pub(super) start: From,
    pub(super) dead_letter_topic: Option<TopicName>,
}

impl WebhookConfig {
    /// As the webhook has them.
    ///
    /// # Errors
    /// Which field is wrong, and how.
    pub(super) fn settings(&self, name: &GroupName) -> Result<WebhookSettings, String> {
        let topic = |field: &str, text: &str| {
            TopicName::new(text).map_err(|error| format!("{field} {text:?}: {error}"))
        };
        let own = |field: &str, text: &str| match topic(field, text)? {
            name if name.is_reserved() => Err(format!(
                "{field} {text}: topics whose names begin with _ are the broker's own; letters go elsewhere"
            )),
            name => Ok(name),
        };
        let ordering = match self.ordering.as_deref() {
            None | Some("none") => Ordering::None,
            Some("key") => Ordering::Key,
            Some("partition") => Ordering::Partition,
            Some(other) => {
                return Err(format!("ordering is {other:?}; it can be none, key or partition"));
            }
        };
        let start = match self.start.as_deref() {
            None | Some("earliest") => From::Start,
            Some("latest") => From::End,
            Some(other) => return Err(format!("start is {other:?}; it can be earliest or latest")),
        };
        let dead = self.dead_letter_topic.as_deref();
        Ok(WebhookSettings {
            name: name.clone(),
            group: group_of(name)?,
            topic: topic("topic", &self.topic)?,
            target: self.url.parse().map_err(|error: super::TargetInvalid| error.to_string())?,
            ordering,
            filter: self.filter.clone(),
            concurrency: within(
                "concurrency",
                self.concurrency.unwrap_or(CONCURRENCY),
                1,
                CONCURRENCY_MAX,
            )?,
            timeout: self.timeout()?,
            schedule: self.schedule()?,
            body_bytes_max: within(
                "max_body_bytes",
                self.max_body_bytes.unwrap_or(BODY_BYTES),
                0,
                BODY_BYTES_MAX,
            )?,
            headers: self.headers()?,
            start,
            dead_letter_topic: dead.map(|text| own("dead_letter_topic", text)).transpose()?,
        })
    }

    fn timeout(&self) -> Result<Duration, String> {
        let timeout = self.timeout.map_or(TIMEOUT, |span| span.0);
        if (Duration::from_millis(1)..=TIMEOUT_MAX).contains(&timeout) {
            return Ok(timeout);
        }
        Err(format!("timeout is {timeout:?}; it can be 1 ms to 5 min"))
    }

    fn schedule(&self) -> Result<Schedule, String> {
        let jitter = self.jitter.unwrap_or(true);
        let Some(delays) = &self.schedule else {
            return Ok(Schedule { jitter, ..Schedule::default() });
        };
        if delays.len() > DELAYS_MAX {
            return Err(format!("schedule has {} delays; at most {DELAYS_MAX}", delays.len()));
        }
        if let Some(long) = delays.iter().find(|delay| delay.0 > DELAY_MAX) {
            return Err(format!("schedule has a delay of {:?}; at most 30 days", long.0));
        }
        Ok(Schedule { delays: delays.iter().map(|delay| delay.0).collect(), jitter })
    }

    fn headers(&self) -> Result<Vec<HeaderName>, String> {
        let Some(names) = &self.headers else {
            return Ok(HEADERS.map(HeaderName::from_static).to_vec());
        };
        if names.len() > HEADERS_MAX {
            return Err(format!("headers names {}; at most {HEADERS_MAX}", names.len()));
        }
        let header = |text: &String| {
            let name = HeaderName::try_from(text.as_str())
                .map_err(|_| format!("headers: {text:?} is no name of a header"))?;
            let known = name.as_str();
            let ours = known.starts_with("webhook-") || known.starts_with("ce-");
            if ours || RESERVED.contains(&known) {
                return Err(format!("headers: {text:?} is not a record's to say"));
            }
            Ok(name)
        };
        names.iter().map(header).collect()
    }
}

fn within<T: PartialOrd + std::fmt::Display>(
    field: &str,
    given: T,
    least: T,
    most: T,
) -> Result<T, String> {
    if given < least || given > most {
        return Err(format!("{field} is {given}; it can be {least} to {most}"));
    }
    Ok(given)
}

/// The group of a webhook, on its topic.
pub(super) fn group_of(name: &GroupName) -> Result<GroupName, String> {
    GroupName::new(&format!("{GROUP_PREFIX}{name}")).map_err(|error| {
        format!("webhook {name}: its group would be {GROUP_PREFIX}{name}: {error}")
    })
}

impl WebhookSettings {
    /// How long a lease lasts: an attempt ends within the timeout, and is settled then.
    pub(super) fn lease(&self) -> Duration {
        self.timeout + SETTLE_TIME
    }

    /// The settings of its group.
    pub(super) fn group(&self) -> GroupSettings {
        GroupSettings {
            ordering: self.ordering,
            lease: self.lease(),
            attempts_max: self.schedule.attempts(),
            // Of records whose lease lapsed with the broker: what fails is put off by the schedule.
            backoff: Backoff::default(),
            dead_letter_topic: self.dead_letter_topic.clone(),
            filter: self.filter.clone(),
            ..GroupSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<WebhookSettings, String> {
        let config: WebhookConfig =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.settings(&"ship".parse().unwrap())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings = read(r#"{"topic":"orders","url":"https://example.com/hook"}"#).unwrap();
        assert_eq!(settings.group.as_str(), "webhook-ship");
        assert_eq!(settings.schedule, Schedule::default());
        assert_eq!((settings.concurrency, settings.timeout), (8, Duration::from_secs(15)));
        assert_eq!((settings.ordering, settings.start), (Ordering::None, From::Start));
        assert_eq!(settings.group().attempts_max, 10);
        let all = r#"{"topic":"orders","url":"http://example.com/","ordering":"key","concurrency":2,"timeout":"1s","start":"latest",
            "schedule":["10ms","1h"],"jitter":false,"max_body_bytes":1000,"headers":["X-Model"],"dead_letter_topic":"dead"}"#;
        let settings = read(all).unwrap();
        assert_eq!(settings.schedule.attempts(), 3);
        assert_eq!(settings.headers, [HeaderName::from_static("x-model")]);
        assert_eq!(settings.start, From::End);
    }

    #[test]
    fn a_secret_is_read_and_never_written() {
        let text = format!("whsec_{}", "A".repeat(32));
        let json = format!(r#"{{"topic":"a","url":"http://b/","secret":"{text}"}}"#);
        let config: WebhookConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(config.secret.as_ref().unwrap().reveal(), text);
        let written = serde_json::to_string(&config).unwrap();
        assert!(
            !written.contains("secret") && !format!("{config:?}").contains("AAAA"),
            "{written}"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = [
            (r#""x":1"#, "unknown field `x`"),
            (r#""ordering":"x""#, "ordering is \"x\""),
            (r#""start":"x""#, "start is \"x\""),
            (r#""concurrency":0"#, "concurrency is 0; it can be 1 to 64"),
            (r#""concurrency":65"#, "concurrency is 65"),
            (r#""timeout":"0s""#, "timeout is 0ns"),
            (r#""timeout":"6m""#, "timeout is 360s"),
            (r#""schedule":["31d"]"#, "at most 30 days"),
            (r#""max_body_bytes":67108865"#, "max_body_bytes is 67108865"),
            (r#""headers":["Host"]"#, "\"Host\" is not a record's to say"),
            (r#""headers":["webhook-id"]"#, "is not a record's to say"),
            (r#""headers":["a b"]"#, "is no name of a header"),
            (r#""dead_letter_topic":"a/b""#, "dead_letter_topic \"a/b\""),
            (r#""secret":"hunter2""#, "the secret is none"),
        ];
        for (field, expected) in wrong {
            let json = format!(r#"{{"topic":"orders","url":"https://example.com/",{field}}}"#);
            let error = read(&json).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{field}: {error}");
        }
        let long: GroupName = "n".repeat(121).parse().unwrap();
        assert!(group_of(&long).unwrap_err().contains("too long"));
    }
}
