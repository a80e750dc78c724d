//! How many records a lane takes at once: what is processed in a moment.
//!
//! A lease and a commit cost the same whatever their size. Beside a model that takes a second that is nothing, and what is begun should be
//! little: it is tried again after a crash, and a pause or a swap waits for it. Beside one that takes microseconds it is nearly everything.
//! So the number begins at what keeps the instances busy, doubles while full turns take less than half a moment, and halves when they take two.
//! How many records are given to the model in one call is another matter: that is the batch, and stays what the settings say.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a turn may take, if its records need not take longer: many times what its lease and its commit take, and less than anybody waits for.
const MOMENT: Duration = Duration::from_millis(20);

/// The records of a turn.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    /// What a lane takes now: at least what keeps the instances busy, at most what leaves other lanes theirs.
    pub(super) fn records(&self, least: u32, most: u32) -> u32 {
        self.0.load(Ordering::Relaxed).min(most).max(least)
    }

    /// So many records were asked for and found, and processed in that time.
    pub(super) fn took(&self, (asked, found): (u32, usize), time: Duration) {
        // A turn that found fewer says nothing of a full one, unless even those took too long.
        let full = u32::try_from(found).is_ok_and(|found| found >= asked);
        if time > MOMENT * 2 {
            self.0.store(asked / 2, Ordering::Relaxed);
        } else if full && time * 2 < MOMENT {
            self.0.store(asked.saturating_mul(2), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_model_gets_many_records_and_a_slow_one_few() {
        let pace = Pace::default();
        for expected in [8, 16, 32, 64, 128, 256, 500, 500] {
            let asked = pace.records(8, 500);
            assert_eq!(asked, expected);
            pace.took((asked, asked as usize), Duration::from_millis(1));
        }
        pace.took((500, 500), MOMENT);
        for expected in [500, 250, 125, 62, 31, 15, 8, 8] {
            let asked = pace.records(8, 500);
            assert_eq!(asked, expected);
            pace.took((asked, 3), Duration::from_secs(1));
        }
    }

    #[test]
    fn a_turn_that_found_few_records_says_nothing() {
        let pace = Pace::default();
        pace.took((8, 7), Duration::ZERO);
        assert_eq!(pace.records(8, 500), 8);
    }

    #[test]
    fn what_keeps_the_instances_busy_is_the_least() {
        assert_eq!(Pace::default().records(800, 500), 800);
    }
}
