//! Numbers and durations as people write them in JSON, and as canonical ProtoJSON has them.

use embermq_protocol::time;
use serde::de::{Deserialize, Deserializer, Error as _};

use crate::http::span::parse_duration;

/// A whole number, as a number or in a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        let wrong = || D::Error::custom("expected a whole number of 0 or more");
        match Form::deserialize(deserializer).map_err(|_| wrong())? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.parse().map(Self).map_err(|_| wrong()),
        }
    }
}

impl Number {
    /// The number in 32 bits.
    ///
    /// # Errors
    /// A text that says that it is too large.
    pub(crate) fn small(self, name: &str) -> Result<u32, String> {
        u32::try_from(self.0)
            .map_err(|_| format!("{name} is {}, at most {} is possible", self.0, u32::MAX))
    }
}

/// A duration: `7d`, `1m30s`, or a number of seconds. A negative one is read, so that whoever knows the limits can refuse it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) time::Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Seconds(i64),
            Text(String),
        }
        let wrong = || D::Error::custom("expected a duration such as \"7d\", \"12h\" or \"1m30s\"");
        let text = match Form::deserialize(deserializer).map_err(|_| wrong())? {
            Form::Seconds(seconds) => return Ok(Self(time::Duration { seconds, nanos: 0 })),
            Form::Text(text) => text,
        };
        if let Some(positive) = text.strip_prefix('-') {
            let duration = time::Duration::from(parse_duration(positive).ok_or_else(wrong)?);
            let (seconds, nanos) = (-duration.seconds, -duration.nanos);
            return Ok(Self(time::Duration { seconds, nanos }));
        }
        Ok(Self(parse_duration(&text).ok_or_else(wrong)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(json: &str) -> Result<i64, String> {
        serde_json::from_str::<Span>(json)
            .map(|Span(duration)| duration.seconds)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_read_with_their_sign() {
        assert_eq!(seconds("\"1m30s\"").unwrap(), 90);
        assert_eq!(seconds("30").unwrap(), 30);
        assert_eq!(seconds("\"-5s\"").unwrap(), -5);
        assert_eq!(seconds("-5").unwrap(), -5);
        for wrong in ["\"soon\"", "\"-\"", "\"--5s\"", "true", "99999999999999999999"] {
            assert!(seconds(wrong).unwrap_err().contains("duration"), "{wrong}");
        }
    }
}
