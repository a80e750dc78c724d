//! How fast dead letters are offered once more: `10/s`, `600/m`, `1/h`.

use std::str::FromStr;
use std::time::Duration;

/// Steps a second, at most: a call for each letter would be slow when there are many.
const STEPS_A_SECOND: u64 = 10;

/// So many in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    count: u32,
    span: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a rate such as 10/s, 600/m or 1/h".to_owned();
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let count: u32 = count.parse().map_err(|_| wrong())?;
        let span = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => return Err(wrong()),
        };
        if count == 0 {
            Err("at a rate of 0 nothing happens".to_owned())
        } else {
            Ok(Self { count, span })
        }
    }
}

impl Rate {
    /// How many at once.
    pub(super) fn step(self) -> u32 {
        let a_second = u64::from(self.count) / self.span.as_secs().max(1);
        u32::try_from((a_second / STEPS_A_SECOND).max(1)).unwrap_or(u32::MAX)
    }

    /// How long to wait behind so many.
    pub(super) fn pause_after(self, done: u64) -> Duration {
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        self.span.saturating_mul(done) / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_in_steps() {
        for (text, step, pause_ms) in [
            ("10/s", 1, 100),
            ("600/m", 1, 100),
            ("1/h", 1, 3_600_000),
            ("5000/s", 500, 100),
            ("2", 1, 500),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.step(), step, "{text}");
            let pause = rate.pause_after(step.into());
            assert_eq!(pause, Duration::from_millis(pause_ms), "{text}");
        }
        for text in ["", "0/s", "-1/s", "x/s", "1/y", "1/"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
