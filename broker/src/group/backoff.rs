//! How long a failed record waits: a curve that grows with its attempts, and a random share of it.
//!
//! There is no randomness in here: the shell gives a seed with each call, and what was drawn from it is in the event.

use super::open::Place;
use super::settings::{DELAY_US_MAX, SettingInvalid, Unit, within};

/// The shortest first delay: without one, bare nacks would burn all attempts at once.
const INITIAL_US_MIN: u64 = 1_000;
/// From this attempt on the delay grows no more, so that no curve takes long to follow.
const STEPS_MAX: u32 = 1_000;

/// The curve: `initial * multiplier ^ (attempt - 1)`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// After the first attempt.
    pub(crate) initial_us: u64,
    /// After any attempt.
    pub(crate) max_us: u64,
    /// In thousandths: 2,000 doubles.
    pub(crate) multiplier_permille: u32,
    /// Whether the delay is drawn evenly from between nothing and the curve, so that those who failed together do not
    /// come back together.
    pub(crate) jitter: bool,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial_us: 1_000_000, max_us: 60_000_000, multiplier_permille: 2_000, jitter: true }
    }
}

impl Backoff {
    pub(super) fn check(&self) -> Result<(), SettingInvalid> {
        let multiplier = u64::from(self.multiplier_permille);
        let micros = Unit::Micros;
        within("backoff.initial", micros, self.initial_us, INITIAL_US_MIN..=DELAY_US_MAX)?;
        within("backoff.max", micros, self.max_us, self.initial_us..=DELAY_US_MAX)?;
        within("backoff.multiplier", Unit::Permille, multiplier, 1_000..=100_000)
    }

    /// What the curve says after this attempt, from 1.
    pub(crate) fn curve_us(&self, attempt: u32) -> u64 {
        let most = u128::from(self.max_us) * 1_000;
        let mut delay = u128::from(self.initial_us) * 1_000;
        for _ in 1..attempt.min(STEPS_MAX) {
            if delay >= most {
                break;
            }
            delay = delay * u128::from(self.multiplier_permille) / 1_000;
        }
        u64::try_from(delay.min(most) / 1_000).unwrap_or(self.max_us)
    }

    /// How long the record at `place` waits after this attempt.
    pub(super) fn delay_us(&self, attempt: u32, place: Place, seed: u64) -> u64 {
        let curve = self.curve_us(attempt);
        if !self.jitter {
            return curve;
        }
        let lot = [u64::from(place.partition.0), place.offset.0, u64::from(attempt)]
            .into_iter()
            .fold(mixed(seed), |lot, fact| mixed(lot ^ fact));
        // The high half of the product: evenly 0 to `curve`.
        let drawn = (u128::from(lot) * (u128::from(curve) + 1)) >> 64;
        u64::try_from(drawn).unwrap_or(curve)
    }
}

/// One step of SplitMix64: neighbouring numbers become unlike ones.
const fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_doubles_up_to_its_most() {
        let seconds: Vec<u64> =
            (1..=9).map(|attempt| Backoff::default().curve_us(attempt) / 1_000_000).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(Backoff::default().curve_us(u32::MAX), 60_000_000);
        let half_again = Backoff { multiplier_permille: 1_500, ..Backoff::default() };
        assert_eq!(half_again.curve_us(3), 2_250_000);
        let flat = Backoff { multiplier_permille: 1_000, ..Backoff::default() };
        assert_eq!(flat.curve_us(u32::MAX), 1_000_000);
        let slow = Backoff { initial_us: 1_000, multiplier_permille: 1_001, ..Backoff::default() };
        assert!(slow.curve_us(u32::MAX) < 3_000, "it grows no more after a thousand steps");
    }

    #[test]
    fn jitter_is_drawn_evenly_from_the_whole_curve() {
        let backoff = Backoff::default();
        let (mut sum, mut tenths) = (0, [0; 10]);
        for seed in 0..1_000 {
            let delay = backoff.delay_us(3, Place::default(), seed);
            assert!(delay <= 4_000_000);
            sum += delay;
            tenths[usize::try_from(delay / 400_001).unwrap()] += 1;
        }
        assert!((1_850_000..2_150_000).contains(&(sum / 1_000)), "the mean is {}", sum / 1_000);
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }

    #[test]
    fn records_of_one_call_draw_unlike_delays() {
        let delay = |offset| {
            let place = Place { offset: embermq_storage::Offset(offset), ..Place::default() };
            Backoff::default().delay_us(1, place, 7)
        };
        assert_ne!(delay(1), delay(2));
        assert_eq!(delay(1), delay(1));
    }
}
