//! When an append is to take effect, in the words of every way in: one of a time and a delay, within limits. A time that has passed
//! is fine: that is an ordinary append.

use std::time::Duration;

use axum::http::HeaderMap;
use embermq_protocol::headers::{DELAY, DELIVER_AT};
use embermq_protocol::limits::SCHEDULE_AHEAD_MAX;
use embermq_protocol::time;
use embermq_storage::Timestamp;

use crate::http::failure::Failure;
use crate::http::named::only;
use crate::http::query::Query;
use crate::http::span::{parse_duration, parse_time};

const EXPECTED_TIME: &str =
    "an RFC 3339 time such as 2026-11-22T10:00:00Z, at most 100 years (36500 days) ahead";
const EXPECTED_DELAY: &str =
    "a duration such as 30s or 1h30m, 0 or more and at most 100 years (36500 days)";

/// What headers and query say; each may be said in either.
pub(in crate::http) fn of_request(
    now: Timestamp,
    headers: &HeaderMap,
    query: &mut Query,
) -> Result<Option<Timestamp>, Failure> {
    let at = said(headers, DELIVER_AT, query.take("deliver_at")?)?;
    let delay = said(headers, DELAY, query.take("delay")?)?;
    match (at, delay) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(both("Deliver-At", "Delay")),
        (Some(at), None) => {
            let moment = parse_time(&at).and_then(|at| within(now, at));
            moment.map(Some).ok_or_else(|| wrong("Deliver-At", &at, EXPECTED_TIME))
        }
        (None, Some(delay)) => {
            let moment = parse_duration(&delay).and_then(|delay| after(now, delay));
            moment.map(Some).ok_or_else(|| wrong("Delay", &delay, EXPECTED_DELAY))
        }
    }
}

/// What a message says.
pub(in crate::http) fn of_message(
    now: Timestamp,
    at: Option<time::Timestamp>,
    delay: Option<time::Duration>,
) -> Result<Option<Timestamp>, Failure> {
    match (at, delay) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(both("deliver_at", "delay")),
        (Some(at), None) => {
            let moment = at.micros().and_then(|at| within(now, Timestamp(at)));
            moment.map(Some).ok_or_else(|| wrong("deliver_at", &at.to_string(), EXPECTED_TIME))
        }
        (None, Some(delay)) => {
            let moment = Duration::try_from(delay).ok().and_then(|delay| after(now, delay));
            moment.map(Some).ok_or_else(|| wrong("delay", &delay.to_string(), EXPECTED_DELAY))
        }
    }
}

/// The refusal of an expected offset for what appears later.
pub(in crate::http) fn no_offset_yet(precondition: &str) -> Failure {
    Failure::invalid(format!(
        "{precondition} and a delay do not go together: which offset a record gets that appears later is not known yet; leave \
         one of them out"
    ))
}

fn said(
    headers: &HeaderMap,
    name: &'static str,
    in_query: Option<String>,
) -> Result<Option<String>, Failure> {
    let Some(value) = only(headers, name)? else { return Ok(in_query) };
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Failure::invalid(format!("header {name} is not UTF-8")).with("header", name))?
        .trim();
    match in_query {
        Some(query) if query != text => Err(Failure::invalid(format!(
            "header {name} says {text:?} and the query {query:?}; say one of them"
        ))),
        _ => Ok(Some(text.to_owned())),
    }
}

fn within(now: Timestamp, at: Timestamp) -> Option<Timestamp> {
    let most = i64::try_from(SCHEDULE_AHEAD_MAX.as_micros()).ok()?;
    (at.0.saturating_sub(now.0) <= most).then_some(at)
}

fn after(now: Timestamp, delay: Duration) -> Option<Timestamp> {
    let delay = Some(delay).filter(|delay| *delay <= SCHEDULE_AHEAD_MAX)?;
    Some(Timestamp(now.0.saturating_add(i64::try_from(delay.as_micros()).ok()?)))
}

fn both(one: &str, other: &str) -> Failure {
    Failure::invalid(format!("{one} and {other} say the same in two ways; send one of them"))
}

fn wrong(name: &str, said: &str, expected: &str) -> Failure {
    Failure::invalid(format!("{name} is {said:?}, expected {expected}")).with("field", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn headers(said: &[(&'static str, &str)]) -> Result<Option<i64>, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.insert(*name, value.parse().unwrap());
        }
        let mut query = Query::of(&"/v1/topics/t/records".parse().unwrap());
        let moment = of_request(NOW, &headers, &mut query);
        let moment = moment.map_err(|failure| failure.problem().detail.clone());
        moment.map(|moment| moment.map(|moment| moment.0))
    }

    #[test]
    fn a_moment_is_a_time_or_a_delay() {
        assert_eq!(headers(&[]), Ok(None));
        assert_eq!(headers(&[("delay", "30s")]), Ok(Some(31_000_000)));
        assert_eq!(headers(&[("delay", "0")]), Ok(Some(1_000_000)));
        assert_eq!(headers(&[("deliver-at", "1970-01-01T00:00:07Z")]), Ok(Some(7_000_000)));
        assert_eq!(headers(&[("deliver-at", "1969-12-31T23:59:59Z")]), Ok(Some(-1_000_000)));
        let both = headers(&[("delay", "1s"), ("deliver-at", "1970-01-01T00:00:07Z")]);
        assert!(both.unwrap_err().contains("two ways"));
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_the_limit() {
        for delay in ["-1s", "soon", "36501d", "101000w"] {
            assert!(headers(&[("delay", delay)]).unwrap_err().contains("100 years"), "{delay}");
        }
        for at in ["tomorrow", "2099-01-01T00:00:00Z"] {
            assert!(headers(&[("deliver-at", at)]).unwrap_err().contains("100 years"), "{at}");
        }
        assert!(headers(&[("delay", "36500d")]).is_ok());
        let negative = time::Duration { seconds: -1, nanos: 0 };
        assert!(of_message(NOW, None, Some(negative)).is_err());
        let delay = time::Duration { seconds: 2, nanos: 0 };
        assert_eq!(of_message(NOW, None, Some(delay)).ok().flatten(), Some(Timestamp(3_000_000)));
    }
}
