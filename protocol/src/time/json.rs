//! Canonical ProtoJSON: durations as `"1.5s"`, times as RFC 3339 in UTC.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use super::{Duration, NANOS_PER_SECOND, Timestamp};

/// 10,000 years, the range of the well-known types.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A text that is no duration or time as ProtoJSON writes them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}")]
pub struct ParseTimeError {
    text: String,
    what: &'static str,
}

/// 0, 3, 6 or 9 digits, as many as are needed.
fn write_fraction(f: &mut fmt::Formatter<'_>, nanos: u32) -> fmt::Result {
    match nanos {
        0 => Ok(()),
        n if n.is_multiple_of(1_000_000) => write!(f, ".{:03}", n / 1_000_000),
        n if n.is_multiple_of(1_000) => write!(f, ".{:06}", n / 1_000),
        n => write!(f, ".{n:09}"),
    }
}

/// Nanoseconds from the digits behind a point.
fn fraction(digits: &str) -> Option<i32> {
    let well_formed = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    well_formed.then(|| format!("{digits:0<9}").parse().ok()).flatten()
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seconds < 0 || self.nanos < 0 {
            f.write_str("-")?;
        }
        write!(f, "{}", self.seconds.unsigned_abs())?;
        write_fraction(f, self.nanos.unsigned_abs())?;
        f.write_str("s")
    }
}

impl FromStr for Duration {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        let parse = || {
            let (sign, rest) = match text.strip_prefix('-') {
                Some(rest) => (-1, rest),
                None => (1, text),
            };
            let number = rest.strip_suffix('s')?;
            let (seconds, nanos) = match number.split_once('.') {
                Some((seconds, digits)) => (seconds, fraction(digits)?),
                None => (number, 0),
            };
            if !seconds.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let seconds: i64 = seconds.parse().ok()?;
            (seconds <= DURATION_SECONDS_MAX).then_some(Self {
                seconds: sign * seconds,
                nanos: i32::try_from(sign).ok()? * nanos,
            })
        };
        parse().ok_or_else(|| ParseTimeError {
            text: text.to_owned(),
            what: "duration; seconds such as \"30s\" or \"0.5s\" are",
        })
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`] (`days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.seconds.div_euclid(SECONDS_PER_DAY));
        let second = self.seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        write_fraction(f, self.nanos.unsigned_abs())?;
        f.write_str("Z")
    }
}

/// The number of exactly `width` digits at the front, and what follows it.
fn digits(text: &str, width: usize) -> Option<(i64, &str)> {
    let (front, rest) = text.split_at_checked(width)?;
    let number = front.bytes().all(|b| b.is_ascii_digit()).then(|| front.parse().ok())??;
    Some((number, rest))
}

/// Seconds east of Greenwich, from `Z` or `+hh:mm`.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" || text == "z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, rest) = digits(text.strip_prefix(['+', '-'])?, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':')?, 2)?;
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (hour, rest) = digits(rest.strip_prefix(['T', 't', ' '])?, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (nanos, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (front, rest) = rest.split_at(end);
            (fraction(front)?, rest)
        }
        None => (0, rest),
    };
    let east = zone(rest)?;
    let day_number = days(year, month, day);
    let exists = year >= 1 && civil(day_number) == (year, month, day);
    let seconds = day_number * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second - east;
    (exists && hour < 24 && minute < 60 && second < 60).then_some(Timestamp { seconds, nanos })
}

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        parse_timestamp(text).ok_or_else(|| ParseTimeError {
            text: text.to_owned(),
            what: "time; RFC 3339 such as \"2026-11-22T10:00:00.5Z\" is",
        })
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let signs_differ = self.seconds.signum() * i64::from(self.nanos.signum()) < 0;
        if signs_differ || self.nanos.abs() >= NANOS_PER_SECOND {
            return Err(S::Error::custom("a duration's parts are out of range"));
        }
        serializer.collect_str(self)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let years = days(1, 1, 1) * SECONDS_PER_DAY..days(10_000, 1, 1) * SECONDS_PER_DAY;
        if !years.contains(&self.seconds) || !(0..NANOS_PER_SECOND).contains(&self.nanos) {
            return Err(S::Error::custom("a time lies outside of the years 1 to 9999"));
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_as_proto_json() {
        for (text, seconds, nanos) in [
            ("0s", 0, 0),
            ("30s", 30, 0),
            ("1.500s", 1, 500_000_000),
            ("-0.000001s", 0, -1_000),
            ("2.000000001s", 2, 1),
        ] {
            let span = Duration { seconds, nanos };
            assert_eq!(text.parse(), Ok(span));
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("1.5s".parse(), Ok(Duration { seconds: 1, nanos: 500_000_000 }));
        for text in ["", "s", "1", "1.s", "+1s", "1.0000000001s", "--1s", "1e3s", "999999999999s"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_read_and_write_as_rfc_3339() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-22T10:00:00.123456Z", 1_795_341_600_123_456),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999_000),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp::from_micros(micros)), "{text}");
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
        assert_eq!(
            "2026-11-22T12:00:00+02:00".parse::<Timestamp>(),
            "2026-11-22T10:00:00Z".parse::<Timestamp>()
        );
        for text in [
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "0000-01-01T00:00:00Z",
            "now",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
