//! A place to begin, as `consume --from`, `group create --start` and `group seek --to` take it: `--from start | end | OFFSET | TIME | -1h`.

use std::str::FromStr;
use std::time::Duration;

use embermq_protocol::{client, time};

use crate::config::parse_duration;

/// A place to begin, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Start,
    End,
    Offset(u64),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// So long before now.
    Ago(Duration),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(span) = text.strip_prefix('-') {
            return parse_duration(span).map(Self::Ago);
        }
        match text {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            _ => text
                .parse()
                .map(Self::Offset)
                .ok()
                .or_else(|| {
                    let time: time::Timestamp = text.parse().ok()?;
                    time.micros().map(Self::Time)
                })
                .ok_or_else(|| {
                    "write start, end, an offset, a time such as 2026-11-22T10:00:00Z, or a span back such as -1h"
                        .to_owned()
                }),
        }
    }
}

impl From {
    /// As the client says it. `now_us` is only looked at for a span back.
    pub(super) fn for_client(self, now_us: i64) -> client::From {
        match self {
            Self::Start => client::From::Start,
            Self::End => client::From::End,
            Self::Offset(offset) => client::From::Offset(offset),
            Self::Time(us) => client::From::TimeUs(us),
            Self::Ago(span) => {
                let span_us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
                client::From::TimeUs(now_us.saturating_sub(span_us).max(0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, from) in [
            ("start", From::Start),
            ("end", From::End),
            ("17", From::Offset(17)),
            ("1970-01-01T00:00:01Z", From::Time(1_000_000)),
            ("-1h30m", From::Ago(Duration::from_secs(5400))),
        ] {
            assert_eq!(text.parse(), Ok(from), "{text}");
        }
        for text in ["", "yesterday", "-", "-5", "1.5"] {
            assert!(text.parse::<From>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_back_counts_from_now() {
        let from = From::Ago(Duration::from_secs(2)).for_client(5_000_000);
        assert_eq!(from, client::From::TimeUs(3_000_000));
    }
}
