//! What the core counts, without a metrics library: atomics that an exporter samples.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A histogram with fixed bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    sum_micros: AtomicU64,
}

/// What one histogram held at one moment.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    /// Upper bounds of the buckets; the last bucket has none.
    pub bounds: &'static [f64],
    /// Observations in each bucket (not cumulative), one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all observations.
    pub sum: f64,
}

const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    5.0,
];
const COUNTS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0];

/// Of work that may take minutes.
const LONG_SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];

impl Histogram {
    /// For durations of up to some minutes.
    #[must_use]
    pub(crate) fn of_long_seconds() -> Self {
        Self::new(LONG_SECONDS)
    }

    /// For counts.
    #[must_use]
    pub(crate) fn of_counts() -> Self {
        Self::new(COUNTS)
    }

    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_micros: AtomicU64::new(0) }
    }

    fn observe(&self, value: f64, micros: u64, times: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(times, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros.saturating_mul(times), Ordering::Relaxed);
    }

    /// Counts a duration.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe_durations(duration, 1);
    }

    /// Counts the same duration several times.
    pub fn observe_durations(&self, duration: Duration, times: u64) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.observe(duration.as_secs_f64(), micros, times);
    }

    /// Counts a number.
    pub fn observe_count(&self, count: u32) {
        self.observe(f64::from(count), u64::from(count) * 1_000_000, 1);
    }

    /// What it holds now.
    #[must_use]
    pub fn sample(&self) -> HistogramSample {
        #[expect(clippy::cast_precision_loss, reason = "a sum of seconds for a chart")]
        let sum = self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        HistogramSample { bounds: self.bounds, counts, sum }
    }
}

/// The core's counters.
#[derive(Debug)]
pub struct Metrics {
    /// Commits that took effect.
    pub commits: AtomicU64,
    /// Commits that were refused.
    pub commits_refused: AtomicU64,
    /// Seconds of each sync of the commit log; of a large group with its write.
    pub fsync: Histogram,
    /// Seconds from a commit's arrival to its acknowledgement, durability `fsync`.
    pub append_fsync: Histogram,
    /// The same for durability `os`.
    pub append_os: Histogram,
    /// Commits that shared one write and sync.
    pub commits_per_group: Histogram,
    /// Snapshots that were written.
    pub snapshots: AtomicU64,
    /// Segments that retention removed.
    pub segments_removed: AtomicU64,
    /// Segments that compaction rewrote.
    pub segments_compacted: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commits: AtomicU64::new(0),
            commits_refused: AtomicU64::new(0),
            fsync: Histogram::new(SECONDS),
            append_fsync: Histogram::new(SECONDS),
            append_os: Histogram::new(SECONDS),
            commits_per_group: Histogram::new(COUNTS),
            snapshots: AtomicU64::new(0),
            segments_removed: AtomicU64::new(0),
            segments_compacted: AtomicU64::new(0),
        }
    }
}

/// What went in and out of one topic since the process started.
#[derive(Debug, Default)]
pub struct TopicCounters {
    /// Records appended.
    pub records_in: AtomicU64,
    /// Bytes appended (bodies of batches).
    pub bytes_in: AtomicU64,
    /// Bytes read (whole batches).
    pub bytes_out: AtomicU64,
    /// Records read, counted as offsets passed.
    pub records_out: AtomicU64,
    /// Records that groups passed over since they are damaged or missing; each group that does counts them.
    pub records_passed_over: AtomicU64,
}
