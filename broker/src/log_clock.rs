//! Log time as it is handed to decisions: it follows the wall clock ahead, and never stands still.
//!
//! Log time does not go back. While the wall clock is behind it (somebody set it, or it was ahead when the log was last
//! written), leases have to end all the same, retries to come due and delays to pass; so it goes on by the monotonic clock. It
//! does so a little slower than time itself, so that the wall clock catches up: durations are a ninth longer until then, and times that
//! were given as such come early by what the log is ahead.

use std::sync::Arc;
use std::time::Duration;

use embermq_storage::Timestamp;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::steady_time::after;

/// Of the time that passes, in tenths, while the wall clock is behind.
const PACE_TENTHS: u32 = 9;

/// The clock of those who decide, and of those who have to know what time a decision would have.
#[derive(Debug)]
pub(crate) struct LogClock {
    clock: Arc<dyn Clock>,
    last: Mutex<Stamp>,
}

/// A log time, and when it was given.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    time: Timestamp,
    elapsed: Duration,
}

impl LogClock {
    /// Goes on from the time of the last frame of the log.
    pub(crate) fn new(clock: Arc<dyn Clock>, recovered: Timestamp) -> Self {
        let last = Stamp { time: recovered, elapsed: clock.elapsed() };
        Self { clock, last: Mutex::new(last) }
    }

    /// The time for what is decided now. No later one is earlier.
    pub(crate) fn stamp(&self) -> Timestamp {
        let mut last = self.last.lock();
        let stamp = self.look(*last);
        *last = stamp;
        stamp.time
    }

    /// The time that a decision would have now. It binds nobody: a clock that is ahead for a moment in which nothing is decided leaves no trace.
    pub(crate) fn time(&self) -> Timestamp {
        let last = *self.last.lock();
        self.look(last).time
    }

    fn look(&self, last: Stamp) -> Stamp {
        let elapsed = self.clock.elapsed();
        let passed = elapsed.saturating_sub(last.elapsed) / 10 * PACE_TENTHS;
        Stamp { time: self.clock.now().max(after(last.time, passed)), elapsed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Hands(Mutex<(i64, u64)>);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.lock().0)
        }

        fn elapsed(&self) -> Duration {
            Duration::from_micros(self.0.lock().1)
        }
    }

    fn at(recovered: i64, wall: i64) -> (Arc<Hands>, LogClock) {
        let hands = Arc::new(Hands::default());
        hands.0.lock().0 = wall;
        let clock = LogClock::new(Arc::<Hands>::clone(&hands), Timestamp(recovered));
        (hands, clock)
    }

    #[test]
    fn it_is_the_wall_clock_where_that_is_ahead() {
        let (hands, clock) = at(500, 1_000);
        assert_eq!(clock.stamp(), Timestamp(1_000));
        *hands.0.lock() = (1_010, 10);
        assert_eq!((clock.time(), clock.stamp()), (Timestamp(1_010), Timestamp(1_010)));
        *hands.0.lock() = (9_000, 11);
        assert_eq!(clock.stamp(), Timestamp(9_000), "a jump is followed");
    }

    #[test]
    fn it_goes_on_while_the_wall_clock_is_behind_until_that_has_caught_up() {
        let (hands, clock) = at(1_000, 0);
        assert_eq!(clock.stamp(), Timestamp(1_000));
        *hands.0.lock() = (100, 100);
        assert_eq!(clock.time(), Timestamp(1_090));
        assert_eq!(clock.stamp(), Timestamp(1_090));
        *hands.0.lock() = (200, 200);
        assert_eq!(clock.stamp(), Timestamp(1_180), "from the last stamp");
        *hands.0.lock() = (20_000, 20_000);
        assert_eq!(clock.stamp(), Timestamp(20_000));
    }

    #[test]
    fn a_clock_that_was_ahead_while_nothing_was_decided_leaves_no_trace() {
        let (hands, clock) = at(0, 1_000);
        assert_eq!(clock.stamp(), Timestamp(1_000));
        *hands.0.lock() = (90_000, 10);
        assert_eq!(clock.time(), Timestamp(90_000));
        *hands.0.lock() = (1_020, 20);
        assert_eq!(clock.stamp(), Timestamp(1_020));
    }
}
