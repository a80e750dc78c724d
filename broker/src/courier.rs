//! Carries the answers of a large group to the tasks that wait for them.
//!
//! Waking a task of an async runtime from outside of it takes a lock and often a system call, each time. So the
//! committer wakes one task, inside of the runtime, and that one wakes the others, which is cheap there. Small groups are
//! answered directly: one hop less.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

use crate::commit::{Append, Committed};
use crate::committer::Answer;
use crate::error::CommitError;
use crate::metrics::Metrics;
use crate::state::Made;
use crate::topic::Durability;

/// Groups up to this size are answered directly.
const DIRECT: usize = 16;

/// The answers of one group, as they wait for it.
pub(crate) struct Parcel {
    pub(crate) pending: Vec<Pending>,
    /// What came of the group.
    pub(crate) outcome: Result<(), CommitError>,
    /// When it did.
    pub(crate) landed: Duration,
}

/// An answer that waits for its group to be durable.
pub(crate) enum Pending {
    Commit {
        result: Answer,
        arrived: Duration,
        answer: oneshot::Sender<Answer>,
        /// What was staged, to be freed where the answer is handed out: the committer has more to do than that.
        spent: Vec<Append>,
    },
    Group {
        /// With whether it has to wait for the sync.
        result: Result<(Made, bool), CommitError>,
        answer: oneshot::Sender<Result<Made, CommitError>>,
    },
    Catalog {
        result: Result<bool, CommitError>,
        answer: oneshot::Sender<Result<bool, CommitError>>,
    },
}

/// The way from the committer into the runtime of those who ask.
#[derive(Debug)]
pub(crate) struct Courier {
    metrics: Arc<Metrics>,
    /// Unbounded, and bounded all the same: an answer is for a commit that the queue let in.
    post: OnceLock<mpsc::UnboundedSender<Parcel>>,
}

impl Courier {
    pub(crate) const fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, post: OnceLock::new() }
    }

    /// Takes the runtime of the caller for all that follows, if it is in one that runs by itself: one of a single thread only runs while
    /// somebody blocks on it.
    pub(crate) fn settle(&self) {
        if self.post.get().is_some() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return;
        }
        let (post, parcels) = mpsc::unbounded_channel();
        if self.post.set(post).is_ok() {
            let mut round = Round { parcels, metrics: Arc::clone(&self.metrics) };
            runtime.spawn(async move {
                while let Some(parcel) = round.parcels.recv().await {
                    hand_out(parcel, &round.metrics);
                }
            });
        }
    }

    /// Delivers.
    pub(crate) fn deliver(&self, parcel: Parcel) {
        match self.post.get().filter(|_| parcel.pending.len() > DIRECT) {
            Some(post) => {
                // A runtime that ended took its task along; whoever still waits does so elsewhere.
                if let Err(mpsc::error::SendError(parcel)) = post.send(parcel) {
                    hand_out(parcel, &self.metrics);
                }
            }
            None => hand_out(parcel, &self.metrics),
        }
    }
}

/// What was posted into a runtime. One that ends leaves nobody without the answer that was there.
struct Round {
    parcels: mpsc::UnboundedReceiver<Parcel>,
    metrics: Arc<Metrics>,
}

impl Drop for Round {
    fn drop(&mut self) {
        self.parcels.close();
        while let Ok(parcel) = self.parcels.try_recv() {
            hand_out(parcel, &self.metrics);
        }
    }
}

/// Counts and answers.
fn hand_out(parcel: Parcel, metrics: &Metrics) {
    let Parcel { pending, outcome, landed } = parcel;
    let took_effect = |p: &&Pending| matches!(p, Pending::Commit { result: Ok(_), .. });
    let committed = if outcome.is_ok() { pending.iter().filter(took_effect).count() } else { 0 };
    if committed > 0 {
        metrics.commits_per_group.observe_count(u32::try_from(committed).unwrap_or(u32::MAX));
        metrics.commits.fetch_add(committed as u64, Ordering::Relaxed);
    }
    for waiting in pending {
        // The asker may have gone away meanwhile: the commit stands all the same.
        match waiting {
            Pending::Commit { result, arrived, answer, spent } => {
                drop(spent);
                let result = outcome.clone().and(result);
                metrics.note_commit(&result, landed.saturating_sub(arrived));
                answer.send(result).ok();
            }
            Pending::Group { result, answer } => {
                let result = outcome.clone().and(result).map(|(made, _)| made);
                answer.send(result).ok();
            }
            Pending::Catalog { result, answer } => {
                answer.send(outcome.clone().and(result)).ok();
            }
        }
    }
}

impl Metrics {
    fn note_commit(&self, answer: &Answer, waited: Duration) {
        let histogram = match answer {
            Ok(Committed { durability: Durability::Fsync, .. }) => &self.append_fsync,
            Ok(Committed { durability: Durability::Os, .. }) => &self.append_os,
            Err(_) => {
                self.commits_refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        histogram.observe_duration(waited);
    }
}

impl Pending {
    pub(crate) fn needs_sync(&self) -> bool {
        match self {
            Self::Commit { result: Ok(committed), .. } => {
                committed.repeated || committed.durability == Durability::Fsync
            }
            Self::Commit { result: Err(_), .. } => false,
            Self::Group { result, .. } => matches!(result, Ok((_, true))),
            Self::Catalog { result, .. } => matches!(result, Ok(true)),
        }
    }

    /// True for what can be answered before the sync. A refusal cannot: it may rest on a commit of this very group.
    pub(crate) const fn is_os(&self) -> bool {
        match self {
            Self::Commit { result: Ok(committed), .. } => {
                matches!(committed.durability, Durability::Os) && !committed.repeated
            }
            Self::Group { result, .. } => matches!(result, Ok((_, false))),
            Self::Commit { result: Err(_), .. } | Self::Catalog { .. } => false,
        }
    }
}
