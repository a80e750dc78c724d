//! A stage as people write it, in JSON: what a request sends, what is kept, and what is shown.

use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::settings::{AnswerIn, OnNonfinite, StageSettings};
use crate::config::{parse_duration, show_duration};
use crate::consume::{Backoff, Ordering};
use crate::models::{ModelRef, Overrides};

/// What a stage is to do; what is left out has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// The topic that it reads.
    pub input: String,
    /// `name@version` or `name@alias`; a name alone means its alias `champion`, else its latest version.
    pub model: String,
    /// The topic that its outputs go to.
    pub output: String,
    /// `none`, `key` or `partition` (default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering: Option<String>,
    /// Records that are processed together, at most: 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<u32>,
    /// Bytes that are processed together, at most: 64 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_batch_bytes: Option<u64>,
    /// How long a record waits for others to fill its batch, at most: `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queue_delay: Option<Span>,
    /// Threads that process: a number; unset, one for each core but one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// How long one call may take: `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Attempts before a record is a dead letter: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long a record waits that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffConfig>,
    /// Where dead letters go: `<input>.<stage>.dlq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// Only records that pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// `dlq` (default) or `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_nonfinite: Option<String>,
    /// `payload` (default) or `headers`: then the input goes on with the answer in headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Keys of the model's `[pre]` that are to be others; `null` takes one away.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub pre: Map<String, Value>,
    /// Keys of the model's `[post]` that are to be others.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub post: Map<String, Value>,
    /// Its outputs may come back to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loops: bool,
    /// It leases nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// How long a record waits that failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackoffConfig {
    /// After the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Span>,
    /// The most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
    /// From one attempt to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<f64>,
    /// Wait a random part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<bool>,
}

/// A duration as text: `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl StageConfig {
    /// The model that it uses.
    ///
    /// # Errors
    /// What is wrong with the reference.
    pub fn model(&self) -> Result<ModelRef, String> {
        self.model.parse().map_err(|error: crate::models::NameInvalid| format!("model: {error}"))
    }

    /// What it wants otherwise than the model's manifest says.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides { pre: self.pre.clone(), post: self.post.clone() }
    }

    /// As the stage has them.
    ///
    /// # Errors
    /// Which field is wrong, and how.
    pub fn settings(&self, name: &GroupName) -> Result<StageSettings, String> {
        let topic = |field: &str, text: &str| {
            TopicName::new(text).map_err(|error| format!("{field} {text:?}: {error}"))
        };
        let own = |field: &str, text: &str| {
            let name = topic(field, text)?;
            if name.is_reserved() {
                return Err(format!(
                    "{field} {text}: topics whose names begin with _ are the broker's own; a stage may read them, and writes elsewhere"
                ));
            }
            Ok(name)
        };
        let defaults = StageSettings::new(
            name.clone(),
            topic("input", &self.input)?,
            own("output", &self.output)?,
        );
        let ordering = match self.ordering.as_deref() {
            None | Some("partition") => Ordering::Partition,
            Some("key") => Ordering::Key,
            Some("none") => Ordering::None,
            Some(other) => {
                return Err(format!("ordering is {other:?}; it can be none, key or partition"));
            }
        };
        let on_nonfinite = match self.on_nonfinite.as_deref() {
            None | Some("dlq") => OnNonfinite::DeadLetter,
            Some("pass") => OnNonfinite::Pass,
            Some(other) => return Err(format!("on_nonfinite is {other:?}; it can be dlq or pass")),
        };
        let answer = match self.answer.as_deref() {
            None | Some("payload") => AnswerIn::Payload,
            Some("headers") => AnswerIn::Headers,
            Some(other) => {
                return Err(format!("answer is {other:?}; it can be payload or headers"));
            }
        };
        let dead = self.dead_letter_topic.as_deref();
        let settings = StageSettings {
            ordering,
            batch_size_max: self.max_batch_size.unwrap_or(defaults.batch_size_max),
            batch_bytes_max: self.max_batch_bytes.unwrap_or(defaults.batch_bytes_max),
            queue_delay_max: self.max_queue_delay.map_or(defaults.queue_delay_max, |span| span.0),
            instances: self.instances.unwrap_or(defaults.instances),
            timeout: self.timeout.map_or(defaults.timeout, |span| span.0),
            attempts_max: self.max_attempts.unwrap_or(defaults.attempts_max),
            backoff: self.backoff.map_or(defaults.backoff, BackoffConfig::to_backoff),
            dead_letter_topic: dead.map(|text| own("dead_letter_topic", text)).transpose()?,
            filter: self.filter.clone(),
            loops: self.loops,
            on_nonfinite,
            answer,
            ..defaults
        };
        settings.check().map_err(|error| in_their_words(error.to_string()))?;
        Ok(settings)
    }
}

/// Settings by the names that people wrote.
fn in_their_words(error: String) -> String {
    let names = [
        ("batch_size_max", "max_batch_size"),
        ("batch_bytes_max", "max_batch_bytes"),
        ("attempts_max", "max_attempts"),
        ("queue_delay_max", "max_queue_delay"),
    ];
    names.iter().fold(error, |error, (ours, theirs)| error.replace(ours, theirs))
}

impl BackoffConfig {
    fn to_backoff(self) -> Backoff {
        let defaults = Backoff::default();
        Backoff {
            initial: self.initial.map_or(defaults.initial, |span| span.0),
            max: self.max.map_or(defaults.max, |span| span.0),
            multiplier: self.multiplier.unwrap_or(defaults.multiplier),
            jitter: self.jitter.unwrap_or(defaults.jitter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<StageSettings, String> {
        let config: StageConfig = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let again: StageConfig =
            serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        config.settings(&"s".parse().unwrap())
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings = read(r#"{"input":"a","output":"b","model":"m"}"#).unwrap();
        let topic = |name: &str| name.parse::<TopicName>().unwrap();
        assert_eq!(settings, StageSettings::new("s".parse().unwrap(), topic("a"), topic("b")));
        let all = r#"{"input":"a","output":"b","model":"m@1","ordering":"key","max_batch_size":3,
            "timeout":"1m30s","backoff":{"initial":"10ms","jitter":false},"on_nonfinite":"pass",
            "answer":"headers","post":{"top_k":1,"threshold":null}}"#;
        let settings = read(all).unwrap();
        assert_eq!(settings.timeout, Duration::from_secs(90));
        assert_eq!(settings.backoff.initial, Duration::from_millis(10));
        assert_eq!(settings.backoff.max, Duration::from_secs(60));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = [
            (r#"{"input":"a","output":"b"}"#, "missing field `model`"),
            (r#"{"input":"a","output":"b","model":"m","x":1}"#, "unknown field `x`"),
            (r#"{"input":"a/b","output":"b","model":"m"}"#, "input \"a/b\""),
            (r#"{"input":"a","output":"a","model":"m"}"#, "would read what it writes"),
            (r#"{"input":"a","output":"_models","model":"m"}"#, "output _models: topics whose"),
            (
                r#"{"input":"a","output":"b","model":"m","dead_letter_topic":"_stages"}"#,
                "dead_letter_topic _stages: topics whose",
            ),
            (r#"{"input":"a","output":"b","model":"m","max_batch_size":0}"#, "max_batch_size is 0"),
            (r#"{"input":"a","output":"b","model":"m","ordering":"x"}"#, "ordering is \"x\""),
            (
                r#"{"input":"a","output":"b","model":"m","filter":"bogus ~ 3"}"#,
                "filter \"bogus ~ 3\": the filter cannot be read at byte 6",
            ),
            (
                r#"{"input":"a","output":"b","model":"m","backoff":{"initial":"0s","multiplier":0.5}}"#,
                "backoff.initial is 0ns; it can be 1ms to 2592000s",
            ),
            (
                r#"{"input":"a","output":"b","model":"m","backoff":{"initial":"2m"}}"#,
                "backoff.max is 60s; it can be 120s to 2592000s",
            ),
            (
                r#"{"input":"a","output":"b","model":"m","backoff":{"multiplier":-3}}"#,
                "backoff.multiplier is -3; it can be 1 to 100",
            ),
            (
                r#"{"input":"a","output":"b","model":"m","dead_letter_topic":"a"}"#,
                "dead_letter_topic: the dead letters of group s cannot go to a, which it reads",
            ),
            (
                r#"{"input":"a","output":"b","model":"m","dead_letter_topic":"b"}"#,
                "dead_letter_topic: b is the output too: whoever reads it would take",
            ),
            (
                r#"{"input":"a","output":"b","model":"m","answer":"x"}"#,
                "answer is \"x\"; it can be payload or headers",
            ),
            (
                r#"{"input":"a","output":"b","model":"m","post":1}"#,
                "invalid type: integer `1`, expected a map",
            ),
            (
                r#"{"input":"a","output":"b","model":"m","timeout":"x"}"#,
                "write a number and a unit",
            ),
        ];
        for (json, expected) in wrong {
            let error = read(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
