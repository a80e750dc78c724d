//! When a record is posted again that its receiver did not take.

use std::time::Duration;

/// Delays in front of the second attempt and those behind it.
pub(super) const DELAYS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
    Duration::from_secs(14 * 3_600),
    Duration::from_secs(20 * 3_600),
    Duration::from_secs(24 * 3_600),
];

/// How far jitter goes to both sides, in hundredths of the delay.
const JITTER_PERCENT: u64 = 20;

/// Attempts and what lies between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// One fewer than there are attempts.
    pub(super) delays: Vec<Duration>,
    /// Whether the delays are drawn from around these, so that what failed together does not come back together.
    pub(super) jitter: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { delays: DELAYS.to_vec(), jitter: true }
    }
}

impl Schedule {
    /// How many attempts there are.
    pub(super) fn attempts(&self) -> u32 {
        u32::try_from(self.delays.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// How long a record waits whose attempt (from 1) failed; `wished` is what its receiver asked for. `lot` is random.
    pub(super) fn delay(&self, attempt: u32, wished: Option<Duration>, lot: u64) -> Duration {
        let at = attempt.saturating_sub(1) as usize;
        let delay = self.delays.get(at).or(self.delays.last()).copied().unwrap_or_default();
        let delay = if self.jitter { jittered(delay, lot) } else { delay };
        delay.max(wished.unwrap_or_default())
    }
}

fn jittered(delay: Duration, lot: u64) -> Duration {
    let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
    let reach = micros / 100 * JITTER_PERCENT;
    // The high half of the product: evenly 0 to twice the reach.
    let drawn = (u128::from(lot) * (u128::from(reach) * 2 + 1)) >> 64;
    Duration::from_micros(micros - reach + u64::try_from(drawn).unwrap_or(reach))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ten_attempts_over_three_days() {
        let schedule = Schedule { jitter: false, ..Schedule::default() };
        assert_eq!(schedule.attempts(), 10);
        let all: Duration = (1..10).map(|attempt| schedule.delay(attempt, None, 0)).sum();
        assert_eq!(all, Duration::from_secs(75 * 3_600 + 35 * 60 + 5));
        assert_eq!(schedule.delay(99, None, 0), schedule.delays[8]);
        let at_once = Schedule { delays: Vec::new(), jitter: true };
        assert_eq!((at_once.attempts(), at_once.delay(1, None, 7)), (1, Duration::ZERO));
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_a_receiver_can_ask_for_more() {
        let schedule = Schedule::default();
        let second = Duration::from_secs(1);
        assert_eq!(schedule.delay(1, None, 0), 4 * second);
        assert_eq!(schedule.delay(1, None, u64::MAX), 6 * second);
        assert_eq!(schedule.delay(1, Some(60 * second), 0), 60 * second);
        assert_eq!(schedule.delay(1, Some(second), 0), 4 * second);
    }
}
