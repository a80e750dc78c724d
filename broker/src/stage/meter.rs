//! What a stage counts for each model that it has used, so that a swap starts new series and ends none.
//!
//! The models used last are kept, a bounded number of them: whoever swaps a hundred times does not leave a hundred series.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use embermq_storage::Timestamp;
use parking_lot::Mutex;

use super::processor::Identity;
use crate::consume::{Lease, Settled, Settlement, Verdict};
use crate::metrics::Histogram;

/// Models whose counts are kept.
const MODELS_MAX: usize = 4;

/// What one model did in one stage.
#[derive(Debug)]
pub struct StageMeter {
    /// The model.
    pub identity: Identity,
    /// Records with an output.
    pub succeeded: AtomicU64,
    /// Attempts that failed. What was rejected at once is none: it is dead.
    pub failed: AtomicU64,
    /// Of these, those that are made again.
    pub retried: AtomicU64,
    /// Records that went to the dead-letter topic.
    pub dead: AtomicU64,
    /// Batches that were committed.
    pub batches: AtomicU64,
    /// Records of each.
    pub batch_size: Histogram,
    /// From a record's arrival in the topic to its first attempt.
    pub queue_seconds: Histogram,
    /// From a batch's lease to its outcomes.
    pub batch_seconds: Histogram,
}

impl StageMeter {
    fn new(identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            batch_size: Histogram::of_counts(),
            queue_seconds: Histogram::of_long_seconds(),
            batch_seconds: Histogram::of_long_seconds(),
        }
    }

    /// A batch begins: how long its records have waited. Those that come again waited for their backoff.
    pub(super) fn begun(&self, leases: &[Lease], now: Timestamp) {
        for lease in leases.iter().filter(|lease| lease.attempt == 1) {
            let waited = u64::try_from(now.0.saturating_sub(lease.append_time.0));
            self.queue_seconds.observe_duration(Duration::from_micros(waited.unwrap_or(0)));
        }
    }

    /// A batch was committed.
    pub(super) fn committed(&self, settlements: &[Settlement], settled: &[Settled]) {
        let add = |counter: &AtomicU64, count: usize| {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        };
        let count = |wanted: fn(&Settled) -> bool| settled.iter().filter(|s| wanted(s)).count();
        let failed = |s: &&Settlement| matches!(s.verdict, Verdict::Nack { .. });
        add(&self.batches, 1);
        add(&self.succeeded, count(|settled| *settled == Settled::Acked));
        add(&self.failed, settlements.iter().filter(failed).count());
        add(&self.retried, count(|settled| matches!(settled, Settled::Waiting { .. })));
        add(&self.dead, count(|settled| matches!(settled, Settled::Dead { .. })));
        self.batch_size.observe_count(u32::try_from(settlements.len()).unwrap_or(u32::MAX));
    }
}

/// The meters of a stage, those used last behind the others.
#[derive(Debug, Default)]
pub(super) struct Meters(Mutex<Vec<Arc<StageMeter>>>);

impl Meters {
    /// The meter of a model.
    pub(super) fn of(&self, identity: &Identity) -> Arc<StageMeter> {
        let mut all = self.0.lock();
        let known = all.iter().position(|meter| meter.identity == *identity);
        let meter = known.map_or_else(|| Arc::new(StageMeter::new(identity)), |at| all.remove(at));
        if all.len() == MODELS_MAX {
            all.remove(0);
        }
        all.push(Arc::clone(&meter));
        meter
    }

    /// All that are kept.
    #[cfg(any(feature = "server", test))]
    pub(super) fn all(&self) -> Vec<Arc<StageMeter>> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(version: &str) -> Identity {
        let (name, version) = ("m".to_owned(), version.to_owned());
        Identity { name, version, digest: String::new(), overrides: None }
    }

    #[test]
    fn the_models_used_last_are_kept_with_their_counts() {
        let meters = Meters::default();
        for version in ["1", "2", "3", "4"] {
            meters.of(&identity(version)).succeeded.fetch_add(1, Ordering::Relaxed);
        }
        meters.of(&identity("1")).succeeded.fetch_add(1, Ordering::Relaxed);
        meters.of(&identity("5"));
        let kept: Vec<_> = meters
            .all()
            .iter()
            .map(|meter| (meter.identity.version.clone(), meter.succeeded.load(Ordering::Relaxed)))
            .collect();
        let expected = [("3", 1), ("4", 1), ("1", 2), ("5", 0)];
        assert_eq!(kept, expected.map(|(version, count)| (version.to_owned(), count)));
    }
}
