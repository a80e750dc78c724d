//! Wall-clock time that one jump cannot use to delete records.
//!
//! Retention by age compares append times with the wall clock. A clock that jumps ahead (a wrong time server, a device
//! without a battery) would make everything look old at once. So a jump is believed only after it has lasted: until then
//! time goes on from what it was, by the monotonic clock.

use std::time::Duration;

use embermq_storage::Timestamp;

/// A difference up to this is drift and correction, not a jump.
const DRIFT: Duration = Duration::from_secs(3_600);

/// A jump that has lasted this long is the new time.
const BELIEVED_AFTER: Duration = Duration::from_secs(3_600);

/// The time that retention goes by.
#[derive(Debug)]
pub(crate) struct SteadyTime {
    wall: Timestamp,
    elapsed: Duration,
    /// When the wall clock was first seen ahead.
    ahead_since: Option<Duration>,
}

impl SteadyTime {
    pub(crate) const fn new(wall: Timestamp, elapsed: Duration) -> Self {
        Self { wall, elapsed, ahead_since: None }
    }

    /// The time to go by, when the wall clock says `wall` and the monotonic clock `elapsed`.
    pub(crate) fn accept(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        let expected = after(self.wall, elapsed.saturating_sub(self.elapsed));
        if wall <= after(expected, DRIFT) {
            *self = Self::new(wall, elapsed);
            return wall;
        }
        let since = *self.ahead_since.get_or_insert_with(|| {
            tracing::warn!(
                "the clock jumped ahead by {} s; retention by age believes it in {} s",
                (wall.0 - expected.0) / 1_000_000,
                BELIEVED_AFTER.as_secs()
            );
            elapsed
        });
        if elapsed.saturating_sub(since) >= BELIEVED_AFTER {
            *self = Self::new(wall, elapsed);
            return wall;
        }
        expected
    }
}

/// So much later.
pub(crate) fn after(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    const fn hours(hours: u64) -> Duration {
        Duration::from_secs(3_600 * hours)
    }

    #[test]
    fn a_jump_ahead_is_believed_when_it_has_lasted() {
        let mut steady = SteadyTime::new(Timestamp(0), hours(0));
        assert_eq!(steady.accept(Timestamp(HOUR), hours(1)), Timestamp(HOUR));
        let jumped = Timestamp(1_000 * HOUR);
        assert_eq!(steady.accept(jumped, hours(2)), Timestamp(2 * HOUR));
        assert_eq!(steady.accept(jumped, hours(3)), jumped);
    }

    #[test]
    fn a_jump_that_is_taken_back_did_nothing() {
        let mut steady = SteadyTime::new(Timestamp(0), hours(0));
        assert_eq!(steady.accept(Timestamp(1_000 * HOUR), hours(1)), Timestamp(HOUR));
        assert_eq!(steady.accept(Timestamp(2 * HOUR), hours(2)), Timestamp(2 * HOUR));
        assert_eq!(steady.accept(Timestamp(1_000 * HOUR), hours(3)), Timestamp(3 * HOUR));
    }

    #[test]
    fn a_jump_back_deletes_nothing_and_is_followed() {
        let mut steady = SteadyTime::new(Timestamp(5 * HOUR), hours(0));
        assert_eq!(steady.accept(Timestamp(HOUR), hours(1)), Timestamp(HOUR));
        assert_eq!(steady.accept(Timestamp(2 * HOUR), hours(2)), Timestamp(2 * HOUR));
    }
}
