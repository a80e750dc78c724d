//! `google.protobuf.Duration` and `Timestamp` with the conversions and the JSON that the contract needs.
//!
//! They are the messages of the well-known types, field by field; only their home is here, so that users need no
//! further crate (and no calendar library) for two pairs of numbers.

use std::time::Duration as StdDuration;

#[cfg(feature = "json")]
mod json;

const NANOS_PER_SECOND: i32 = 1_000_000_000;

/// A signed span of time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest, with the same sign as `seconds`.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest, never negative.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// A duration that is negative, too long, or has its parts out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{seconds} s and {nanos} ns is no duration; it must be 0 or more, with 0 to 999999999 ns")]
pub struct DurationError {
    /// The seconds as they came.
    pub seconds: i64,
    /// The nanoseconds as they came.
    pub nanos: i32,
}

impl TryFrom<Duration> for StdDuration {
    type Error = DurationError;

    fn try_from(Duration { seconds, nanos }: Duration) -> Result<Self, DurationError> {
        let error = DurationError { seconds, nanos };
        if nanos >= NANOS_PER_SECOND {
            return Err(error);
        }
        Ok(Self::new(
            u64::try_from(seconds).map_err(|_| error)?,
            u32::try_from(nanos).map_err(|_| error)?,
        ))
    }
}

impl From<StdDuration> for Duration {
    /// Durations of more than 292 thousand million years become that.
    fn from(span: StdDuration) -> Self {
        Self {
            seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            nanos: span.subsec_nanos().cast_signed(),
        }
    }
}

impl Timestamp {
    /// The time that many microseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        // The remainder is below a million, so it fits.
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a million")]
        let nanos = (micros.rem_euclid(1_000_000) * 1_000) as i32;
        Self { seconds: micros.div_euclid(1_000_000), nanos }
    }

    /// Microseconds since 1970-01-01T00:00:00Z, rounded down, or `None` when that does not fit.
    #[must_use]
    pub const fn micros(self) -> Option<i64> {
        match self.seconds.checked_mul(1_000_000) {
            Some(micros) => micros.checked_add((self.nanos / 1_000) as i64),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_survive() {
        for micros in [0, 1, -1, 1_795_000_000_123_456, -62_135_596_800_000_000, i64::MAX] {
            assert_eq!(Timestamp::from_micros(micros).micros(), Some(micros));
        }
        assert_eq!(Timestamp { seconds: i64::MAX, nanos: 0 }.micros(), None);
    }

    #[test]
    fn only_sound_durations_become_std_durations() {
        let span = StdDuration::new(3, 5);
        assert_eq!(StdDuration::try_from(Duration::from(span)), Ok(span));
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, NANOS_PER_SECOND)] {
            assert!(StdDuration::try_from(Duration { seconds, nanos }).is_err());
        }
    }
}
