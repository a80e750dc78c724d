//! How a stage is doing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::meter::Meters;
use super::takeover::Takeover;
use crate::attempt::FailedAttempt;

/// What a stage is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageState {
    /// It works, or waits for records.
    Running,
    /// It was told to pause.
    Paused,
    /// Something is in its way; it tries again.
    Waiting {
        /// What.
        reason: String,
    },
    /// It has ended.
    Stopped,
}

impl StageState {
    /// What it is called.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Waiting { .. } => "waiting",
            Self::Stopped => "stopped",
        }
    }
}

/// A stage, as it is now. Counts are since the process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageStatus {
    /// What it is at.
    pub state: StageState,
    /// It was told to pause, and all that it had begun is committed: until it goes on it holds nothing. Or it has stopped; what could not
    /// be committed then is given to somebody else when its leases end.
    pub at_rest: bool,
    /// The model that makes its outputs: `name@version`.
    pub model: String,
    /// Batches that were committed.
    pub batches: u64,
    /// Records with an output.
    pub succeeded: u64,
    /// Attempts that failed and are made again, or were the last.
    pub failed: u64,
    /// Records that went to the dead-letter topic at once.
    pub rejected: u64,
    /// Records that went to the dead-letter topic, at once or behind their last attempt.
    pub dead: u64,
    /// The last attempt that failed.
    pub last_failure: Option<FailedAttempt>,
    /// Calls that did not return in time.
    pub abandoned: u64,
    /// Threads that were given up and have not come back.
    pub threads_lost: usize,
    /// From which record on which model answers: the latest of each partition.
    pub takeovers: Vec<Takeover>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Lanes that hold nothing, and lease nothing before they are told to.
    pub(super) resting: AtomicU32,
    pub(super) batches: AtomicU64,
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) dead: AtomicU64,
    pub(super) last_failure: Mutex<Option<FailedAttempt>>,
    pub(super) meters: Meters,
    /// Set while something is in the way.
    pub(super) hindrance: Mutex<Option<String>>,
}

impl Counters {
    /// A lane comes to rest.
    pub(super) fn rest(&self) {
        self.resting.fetch_add(1, Ordering::AcqRel);
    }

    /// A lane looks what it was told.
    pub(super) fn wake(&self) {
        self.resting.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}
