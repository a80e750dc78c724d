//! What came of an attempt, in the words of the metrics, and what becomes of the record.

use std::time::Duration;

use axum::http::StatusCode;

use super::post::{Answer, NoAnswer};

/// Nobody can put a record, or a webhook, off for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What came of an attempt. The words are the metrics'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// 2xx: the receiver has it.
    Delivered,
    /// 3xx, which is not followed.
    Redirected,
    /// 410: the receiver is gone for good.
    Gone,
    /// 429: too many.
    Throttled,
    /// Another 4xx.
    Refused,
    /// 5xx, or a status that there is none of.
    ServerFailed,
    /// No answer in time.
    Late,
    /// No connection, or it broke.
    NoConnection,
    /// The address must not be called.
    Forbidden,
    /// It cannot be posted at all.
    Unsendable,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Delivered,
        Self::Redirected,
        Self::Gone,
        Self::Throttled,
        Self::Refused,
        Self::ServerFailed,
        Self::Late,
        Self::NoConnection,
        Self::Forbidden,
        Self::Unsendable,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Redirected => "redirected",
            Self::Gone => "gone",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::ServerFailed => "server_failed",
            Self::Late => "timeout",
            Self::NoConnection => "no_connection",
            Self::Forbidden => "forbidden_address",
            Self::Unsendable => "unsendable",
        }
    }

    /// Of an attempt.
    pub(super) fn of(attempt: &Result<Answer, NoAnswer>) -> Self {
        match attempt {
            Ok(answer) => match answer.status {
                status if status.is_success() => Self::Delivered,
                status if status.is_redirection() => Self::Redirected,
                StatusCode::GONE => Self::Gone,
                StatusCode::TOO_MANY_REQUESTS => Self::Throttled,
                status if status.is_client_error() => Self::Refused,
                _ => Self::ServerFailed,
            },
            Err(NoAnswer::Late { .. }) => Self::Late,
            Err(NoAnswer::Forbidden { .. }) => Self::Forbidden,
            Err(NoAnswer::Connection { .. }) => Self::NoConnection,
        }
    }
}

/// How long the receiver wishes to be left alone, within reason; only where it cannot take anything now.
pub(super) fn wished_pause(attempt: &Result<Answer, NoAnswer>) -> Option<Duration> {
    let answer = attempt.as_ref().ok()?;
    let busy = answer.status == StatusCode::TOO_MANY_REQUESTS || answer.status.is_server_error();
    answer.retry_after.filter(|_| busy).map(|after| after.min(RETRY_AFTER_MAX))
}

/// What happened, for people: the dead letter says it.
pub(super) fn text(attempt: &Result<Answer, NoAnswer>) -> String {
    match attempt {
        Ok(answer) if answer.status.is_redirection() => format!(
            "status {}: it points to {}, and webhooks follow nowhere; name the new address as the url",
            answer.status.as_u16(),
            answer.location.as_deref().unwrap_or("nowhere"),
        ),
        Ok(answer) if answer.excerpt.is_empty() => format!("status {}", answer.status.as_u16()),
        Ok(answer) => format!("status {}: {}", answer.status.as_u16(), answer.excerpt),
        Err(NoAnswer::Late { .. }) => attempt_error("timeout", attempt),
        Err(NoAnswer::Forbidden { .. }) => attempt_error("forbidden_address", attempt),
        Err(NoAnswer::Connection { .. }) => attempt_error("no_connection", attempt),
    }
}

fn attempt_error(code: &str, attempt: &Result<Answer, NoAnswer>) -> String {
    attempt.as_ref().err().map_or_else(String::new, |error| format!("{code}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, retry_after: None, location: None, excerpt: String::new() }
    }

    #[test]
    fn every_status_has_its_outcome() {
        let table = [
            (200, "delivered"),
            (204, "delivered"),
            (299, "delivered"),
            (301, "redirected"),
            (304, "redirected"),
            (400, "refused"),
            (401, "refused"),
            (404, "refused"),
            (410, "gone"),
            (429, "throttled"),
            (500, "server_failed"),
            (503, "server_failed"),
            (600, "server_failed"),
        ];
        for (status, expected) in table {
            assert_eq!(Outcome::of(&Ok(answer(status))).as_str(), expected, "{status}");
        }
    }

    #[test]
    fn only_who_is_busy_can_ask_to_be_left_alone() {
        let wished = |status, seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            wished_pause(&Ok(Answer { retry_after, ..answer(status) })).map(|after| after.as_secs())
        };
        assert_eq!(wished(503, 7), Some(7));
        assert_eq!(wished(429, u64::MAX), Some(24 * 3_600));
        assert_eq!(wished(400, 7), None);
        assert_eq!(wished_pause(&Ok(answer(503))), None);
    }

    #[test]
    fn a_failure_says_what_happened() {
        let said = Answer { excerpt: "no such order".to_owned(), ..answer(404) };
        assert_eq!(text(&Ok(said)), "status 404: no such order");
        assert_eq!(text(&Ok(answer(500))), "status 500");
        let moved = Answer { location: Some("https://other/".to_owned()), ..answer(302) };
        assert!(text(&Ok(moved)).starts_with("status 302: it points to https://other/, and"));
        let late = NoAnswer::Late { within: Duration::from_secs(15) };
        assert_eq!(text(&Err(late)), "timeout: no answer within 15s");
    }
}
