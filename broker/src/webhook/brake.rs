//! Patience with a receiver that fails: while nothing gets through, fewer and fewer attempts are begun, so that a receiver that is down
//! costs the records behind the first few no attempts. They stay in the topic, as lag.

use std::time::Duration;

/// Failures in a row before anything slows down.
const FREE: u32 = 8;
/// The pause behind the first failure that counts; it doubles.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LAST: Duration = Duration::from_secs(60);

/// When the next attempt may begin. Times are those of a clock that never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Brake {
    failures: u32,
    until: Duration,
    /// The receiver asked for it.
    asked: bool,
}

impl Brake {
    /// Something got through.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        if !self.asked {
            self.until = Duration::ZERO;
        }
    }

    /// Something did not, at `now`; the receiver may have asked for a pause.
    pub(super) fn failed(&mut self, now: Duration, wished: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let pause = match self.failures.checked_sub(FREE) {
            None | Some(0) => Duration::ZERO,
            Some(over) => FIRST.saturating_mul(2_u32.saturating_pow(over - 1)).min(LAST),
        };
        let until = now + pause.max(wished.unwrap_or_default());
        if until > self.until.max(now) {
            self.until = until;
            self.asked = wished.is_some_and(|wished| wished >= pause);
        }
    }

    /// How long from `now` on nothing is begun, and whether the receiver asked for that.
    pub(super) fn holds(&mut self, now: Duration) -> Option<(Duration, bool)> {
        let left = self.until.checked_sub(now).filter(|left| !left.is_zero());
        if left.is_none() {
            self.asked = false;
        }
        left.map(|left| (left, self.asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_few_failures_slow_nothing_and_many_do_up_to_a_minute() {
        let mut brake = Brake::default();
        for _ in 0..FREE {
            brake.failed(SECOND, None);
            assert_eq!(brake.holds(SECOND), None);
        }
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            brake.failed(SECOND, None);
            assert_eq!(brake.holds(SECOND), Some((expected * SECOND, false)));
        }
        assert_eq!(brake.holds(62 * SECOND), None);
        brake.succeeded();
        brake.failed(SECOND, None);
        assert_eq!(brake.holds(SECOND), None);
    }

    #[test]
    fn what_the_receiver_asks_for_holds_whatever_gets_through_meanwhile() {
        let mut brake = Brake::default();
        brake.failed(SECOND, Some(10 * SECOND));
        brake.succeeded();
        assert_eq!(brake.holds(2 * SECOND), Some((9 * SECOND, true)));
        brake.failed(2 * SECOND, Some(SECOND));
        assert_eq!(brake.holds(3 * SECOND), Some((8 * SECOND, true)));
        assert_eq!(brake.holds(11 * SECOND), None);
    }
}
