//! How a webhook is doing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use embermq_storage::Timestamp;
use parking_lot::Mutex;

use super::outcome::Outcome;
use crate::attempt::FailedAttempt;
use crate::metrics::Histogram;

/// What a webhook is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookState {
    /// It posts, or waits for records.
    Running,
    /// It was told to pause.
    Paused,
    /// Its receiver said that it is gone: it posts nothing until it is resumed.
    Disabled {
        /// What the receiver said.
        reason: String,
    },
    /// Something is in its way; it tries again.
    Waiting {
        /// What.
        reason: String,
    },
    /// It has ended.
    Stopped,
}

/// A webhook, as it is now. Counts are since it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookStatus {
    /// What it is at.
    pub state: WebhookState,
    /// Records that the receiver has.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Records that went to the dead-letter topic.
    pub dead: u64,
    /// When the last record was delivered.
    pub last_delivery: Option<Timestamp>,
    /// The last attempt that failed.
    pub last_failure: Option<FailedAttempt>,
}

/// What a webhook counts.
#[derive(Debug)]
pub struct WebhookCounters {
    /// In the order of [`Outcome::ALL`].
    attempts: [AtomicU64; Outcome::ALL.len()],
    /// Seconds of each attempt that was posted.
    pub seconds: Histogram,
    /// Records that went to the dead-letter topic.
    pub dead: AtomicU64,
    last_delivery_us: AtomicI64,
    last_failure: Mutex<Option<FailedAttempt>>,
}

impl Default for WebhookCounters {
    fn default() -> Self {
        Self {
            attempts: Default::default(),
            seconds: Histogram::of_long_seconds(),
            dead: AtomicU64::new(0),
            last_delivery_us: AtomicI64::new(0),
            last_failure: Mutex::default(),
        }
    }
}

impl WebhookCounters {
    /// Attempts with an outcome.
    #[must_use]
    pub fn attempts(&self, outcome: Outcome) -> u64 {
        self.attempts.get(outcome as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn attempted(&self, outcome: Outcome) {
        if let Some(count) = self.attempts.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn took(&self, took: Duration) {
        self.seconds.observe_duration(took);
    }

    pub(super) fn delivered(&self, time: Timestamp) {
        self.last_delivery_us.fetch_max(time.0, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, failure: FailedAttempt) {
        *self.last_failure.lock() = Some(failure);
    }

    pub(super) fn status(&self, state: WebhookState) -> WebhookStatus {
        let last = self.last_delivery_us.load(Ordering::Relaxed);
        let failed = Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Delivered);
        WebhookStatus {
            state,
            delivered: self.attempts(Outcome::Delivered),
            failed: failed.map(|outcome| self.attempts(*outcome)).sum(),
            dead: self.dead.load(Ordering::Relaxed),
            last_delivery: (last != 0).then_some(Timestamp(last)),
            last_failure: self.last_failure.lock().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_place() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
