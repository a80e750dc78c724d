//! Durations and times as people and programs write them.
//!
//! A duration is `10s`, `1m30s`, `250ms`, `7d` (units w, d, h, m, s, ms, us, largest first, each a decimal number),
//! or a bare number of seconds. A time is RFC 3339.

use std::time::Duration;

use embermq_protocol::time;
use embermq_storage::Timestamp;

/// Units and their length in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("w", 7 * 86_400 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("s", 1_000_000_000),
];

/// Reads a duration; none when it is not one, or longer than 500 years.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, behind) = rest.split_at(digits);
        let (unit_length, unit_nanos) = if behind.is_empty() && number.len() == text.trim().len() {
            (0, 1_000_000_000)
        } else {
            let (unit, nanos) = UNITS.iter().find(|(unit, _)| behind.starts_with(unit))?;
            (unit.len(), *nanos)
        };
        total = total.checked_add(scale(number, unit_nanos)?)?;
        rest = &behind[unit_length..];
    }
    Some(Duration::from_nanos(total))
}

/// A decimal number times a unit, without going through floating point.
fn scale(number: &str, unit_nanos: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit_nanos)?;
    if !fraction.is_empty() {
        let part: u128 = fraction.parse::<u64>().ok()?.into();
        let digits = u32::try_from(fraction.len()).ok()?;
        let part = part * u128::from(unit_nanos) / 10_u128.pow(digits);
        nanos = nanos.checked_add(u64::try_from(part).ok()?)?;
    }
    Some(nanos)
}

/// Writes a duration as ProtoJSON does: seconds with as many decimals as it needs, then `s`.
pub(super) fn render_duration(duration: Duration) -> String {
    let nanos = duration.subsec_nanos();
    if nanos == 0 {
        return format!("{}s", duration.as_secs());
    }
    let text = format!("{}.{nanos:09}", duration.as_secs());
    format!("{}s", text.trim_end_matches('0'))
}

/// Reads an RFC 3339 time; none when it is not one.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let time: time::Timestamp = text.parse().ok()?;
    time.micros().map(Timestamp)
}

/// Writes a time as RFC 3339 with microseconds, in UTC.
pub(super) fn render_time(time: Timestamp) -> String {
    // Microseconds give 0, 3 or 6 decimals: they are filled up, so that times sort as text.
    let mut text = time::Timestamp::from_micros(time.0).to_string();
    text.pop();
    let decimals = text.rsplit_once('.').map_or(0, |(_, decimals)| decimals.len());
    text.push_str(if decimals == 0 { "." } else { "" });
    text.push_str(&"000000Z"[decimals.min(6)..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        let cases = [
            ("10s", Some(10_000)),
            ("10", Some(10_000)),
            ("0", Some(0)),
            ("0.25", Some(250)),
            ("1.5s", Some(1_500)),
            ("250ms", Some(250)),
            ("1m30s", Some(90_000)),
            ("7d", Some(604_800_000)),
            ("604800s", Some(604_800_000)),
            ("", None),
            ("s", None),
            ("10x", None),
            ("-5s", None),
            ("1.2.3s", None),
            ("1m30", None),
            ("99999999999999999999s", None),
            ("999999999999w", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_like_proto_json() {
        assert_eq!(render_duration(Duration::from_secs(604_800)), "604800s");
        assert_eq!(render_duration(Duration::from_millis(1_500)), "1.5s");
        assert_eq!(render_duration(Duration::from_nanos(1)), "0.000000001s");
    }

    #[test]
    fn times_have_six_decimals_and_come_back() {
        let time = Timestamp(1_795_341_600_123_456);
        let text = render_time(time);
        assert_eq!(text, "2026-11-22T10:00:00.123456Z");
        assert_eq!(parse_time(&text), Some(time));
        assert_eq!(render_time(Timestamp(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(render_time(Timestamp(999_000)), "1970-01-01T00:00:00.999000Z");
        assert_eq!(parse_time("yesterday"), None);
    }
}
