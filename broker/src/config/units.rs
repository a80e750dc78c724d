//! Sizes and time spans as people write them: `64MiB`, `1GB`, `7d`, `1h30m`.
//!
//! Whole numbers with a unit; several time units may follow each other. `MiB` is 1,048,576 bytes and `MB` 1,000,000;
//! a lone `M` could be either and is refused.

use std::fmt::Write as _;
use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Unit and milliseconds.
const SPANS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a size. A number without a unit is bytes.
///
/// # Errors
/// What would be right.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (digits, unit) = split_number(text);
    let number: u64 =
        digits.parse().map_err(|_| "write a whole number and a unit, such as 64MiB".to_owned())?;
    let factor = if unit.is_empty() {
        1
    } else {
        SIZES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| *factor)
            .ok_or_else(|| {
                format!("unknown unit {unit:?}: use B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB")
            })?
    };
    number.checked_mul(factor).ok_or_else(|| "it is more than 16 EiB".to_owned())
}

/// Reads a time span: one or more numbers, each with its unit.
///
/// # Errors
/// What would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("write a time span such as 30s or 7d".to_owned());
    }
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (digits, behind) = split_number(rest);
        let unit_end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(unit_end);
        let unit = unit.trim();
        let number: u64 = digits
            .parse()
            .map_err(|_| "write a number and a unit, such as 30s or 7d".to_owned())?;
        let factor =
            SPANS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms).ok_or_else(|| {
                if unit.is_empty() {
                    format!("{digits} has no unit: use ms, s, m, h, d or w")
                } else {
                    format!("unknown unit {unit:?}: use ms, s, m, h, d or w")
                }
            })?;
        total_ms = number
            .checked_mul(factor)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| "it is longer than 500 million years".to_owned())?;
        rest = next;
    }
    Ok(Duration::from_millis(total_ms))
}

/// The shortest exact way to write a size with a binary unit: `64MiB`, `1536KiB`, `1000B`.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    SIZES[..4]
        .iter()
        .find(|(_, factor)| bytes.is_multiple_of(*factor))
        .map_or_else(|| format!("{bytes}B"), |(name, factor)| format!("{}{name}", bytes / factor))
}

/// An exact way to write a time span (to the millisecond): `7d`, `1h30m`, `50ms`.
#[must_use]
pub fn show_duration(span: Duration) -> String {
    let mut ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, factor) in SPANS.iter().filter(|(name, _)| *name != "w") {
        let number = ms / factor;
        if number > 0 {
            ms %= factor;
            // Writing to a String cannot fail.
            let _ = write!(text, "{number}{name}");
        }
    }
    text
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    (digits, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1GB", 1_000_000_000),
            (" 8 KiB ", 8192),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5GiB", "-1", "64M", "12 parsecs", "99999999999TiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn time_spans_are_read() {
        for (text, ms) in [
            ("50ms", 50),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
            ("1d 12h", 129_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "s", "1.5h", "3 fortnights", "99999999999999999w", "-1h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for bytes in [0, 1, 1000, 1024, 1536, 64 << 20, (64 << 20) + 1, 1 << 40, u64::MAX] {
            assert_eq!(parse_bytes(&show_bytes(bytes)), Ok(bytes));
        }
        for ms in [0, 1, 999, 1000, 61_001, 86_400_000, 604_800_000, 90_061_001] {
            let span = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(span)), Ok(span));
        }
    }
}
