//! A stage that runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::instances::Instances;
use super::lane;
use super::pace::Pace;
use super::processor::{Identity, Processor};
use super::settings::{INSTANCES_MAX, StageSettings};
use super::status::{Counters, StageState, StageStatus};
use super::suspects::Suspects;
use super::takeover::{Begun, Installed, Journal, Takeover, Takeovers};
use crate::broker::Broker;
use crate::commit::{Append, Batch};
use crate::error::CommitError;
use crate::read::From;
use crate::record::Record;
use crate::topic::PartitionId;

/// A stage. Dropping it stops it without waiting; [`stop`](Self::stop) waits until what was begun is committed.
#[derive(Debug)]
pub struct Stage {
    inner: Arc<Inner>,
    lanes: JoinSet<()>,
}

/// What lanes share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) broker: Broker,
    pub(super) settings: StageSettings,
    /// One that is put in place while a batch is processed is used from the next batch on.
    pub(super) installed: ArcSwap<Installed>,
    pub(super) takeovers: Takeovers,
    /// What an earlier process left unfinished.
    pub(super) suspects: Suspects,
    pub(super) instances: Instances,
    pub(super) pace: Pace,
    pub(super) counters: Counters,
    pub(super) signal: watch::Sender<Signal>,
}

/// What a stage was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) paused: bool,
    pub(super) stopping: bool,
}

/// What is known of a stage before it starts.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// It is ready, and waits until it is resumed.
    pub(super) paused: bool,
    pub(super) takeovers: Vec<Takeover>,
    pub(super) journal: Option<Journal>,
}

/// Why leases of an earlier process ended.
const ENDED: &str = "the process ended while the record was being processed";

impl Inner {
    /// The notes of takeovers, for the commit that brings them about.
    pub(super) fn notes_of(&self, begun: &[Begun]) -> Option<Append> {
        let journal = self.takeovers.journal.as_ref()?;
        // Whoever deletes the journal does without it.
        if begun.is_empty() || self.broker.topic(&journal.topic).is_none() {
            return None;
        }
        let note = |begun: &Begun| (journal.record)(&self.settings, &begun.takeover);
        let notes: Vec<Record> = begun.iter().map(note).collect();
        let (topic, partition) = (journal.topic.clone(), PartitionId(0));
        Some(Append { topic, partition, batch: Batch::of(&notes) })
    }

    /// Notes what is in the way, or that nothing is.
    pub(super) fn hindered(&self, reason: Option<String>) {
        let mut hindrance = self.counters.hindrance.lock();
        if let Some(reason) = &reason
            && hindrance.as_ref() != Some(reason)
        {
            tracing::warn!(stage = %self.settings.name, %reason, "a stage waits");
        }
        *hindrance = reason;
    }
}

impl Broker {
    /// Starts a stage over a topic: makes its group if need be, and runs `processor` over its records until it is stopped. Both topics
    /// have to be there. A group of that name that is there becomes the stage's, whoever made it. To be called within a tokio runtime, which has to have time enabled.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`]; [`CommitError::Invalid`] settings; [`CommitError::GroupExists`] when the group has another
    /// ordering; or what can befall any commit.
    pub async fn start_stage(
        &self,
        settings: StageSettings,
        processor: Arc<dyn Processor>,
    ) -> Result<Stage, CommitError> {
        self.start_stage_in(settings, processor, Known::default()).await
    }

    /// The same, with what a roster knows of it.
    pub(super) async fn start_stage_in(
        &self,
        settings: StageSettings,
        processor: Arc<dyn Processor>,
        known: Known,
    ) -> Result<Stage, CommitError> {
        let invalid = |detail: String| CommitError::Invalid { detail };
        settings.check().map_err(|error| invalid(error.to_string()))?;
        for topic in [&settings.input, &settings.output] {
            if self.topic(topic).is_none() {
                return Err(CommitError::TopicNotFound { topic: topic.clone() });
            }
        }
        let (input, name) = (&settings.input, &settings.name);
        self.ensure_group(input, name, settings.group(), From::Start).await?;
        // Whoever had these names has ended with its process.
        let members: Vec<String> = (0..=INSTANCES_MAX).map(|n| settings.member(n)).collect();
        let orphans = self.end_leases_of(&settings.input, &settings.name, &members, ENDED).await?;
        let count = settings.instances as usize;
        let instances = Instances::start(settings.name.as_str(), count, settings.timeout)
            .map_err(|error| invalid(format!("no threads can be started: {error}")))?;
        let lane_count = settings.lanes();
        let inner = Arc::new(Inner {
            broker: self.clone(),
            settings,
            installed: ArcSwap::from_pointee(Installed { processor, generation: 1 }),
            takeovers: Takeovers::new(known.takeovers, known.journal),
            suspects: Suspects::new(orphans),
            instances,
            pace: Pace::default(),
            counters: Counters::default(),
            signal: watch::Sender::new(Signal { paused: known.paused, stopping: false }),
        });
        let mut lanes = JoinSet::new();
        for number in 0..lane_count {
            lanes.spawn(lane::run(Arc::clone(&inner), number));
        }
        Ok(Stage { inner, lanes })
    }
}

impl Stage {
    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &StageSettings {
        &self.inner.settings
    }

    /// Leases nothing more until [`resume`](Self::resume); what was begun is finished.
    pub fn pause(&self) {
        self.inner.signal.send_modify(|signal| signal.paused = true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.inner.signal.send_modify(|signal| signal.paused = false);
    }

    /// Puts another processor in place: batches that are leased from now on are its. Nothing is dropped or reordered.
    pub fn swap(&self, processor: Arc<dyn Processor>) {
        self.inner.installed.rcu(|installed| Installed {
            processor: Arc::clone(&processor),
            generation: installed.generation + 1,
        });
    }

    /// What makes its outputs now.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.inner.installed.load().processor.identity().clone()
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> StageStatus {
        let (inner, signal) = (&*self.inner, *self.inner.signal.borrow());
        let state = match (signal, inner.counters.hindrance.lock().clone()) {
            (Signal { stopping: true, .. }, _) => StageState::Stopped,
            (Signal { paused: true, .. }, _) => StageState::Paused,
            (_, Some(reason)) => StageState::Waiting { reason },
            _ => StageState::Running,
        };
        let installed = inner.installed.load();
        let identity = installed.processor.identity();
        let resting = inner.counters.resting.load(Ordering::Acquire);
        let held = signal.paused || signal.stopping;
        StageStatus {
            state,
            at_rest: held && resting >= inner.settings.lanes(),
            model: format!("{}@{}", identity.name, identity.version),
            batches: inner.counters.batches.load(Ordering::Relaxed),
            succeeded: inner.counters.succeeded.load(Ordering::Relaxed),
            failed: inner.counters.failed.load(Ordering::Relaxed),
            rejected: inner.counters.rejected.load(Ordering::Relaxed),
            dead: inner.counters.dead.load(Ordering::Relaxed),
            last_failure: inner.counters.last_failure.lock().clone(),
            abandoned: inner.instances.abandoned(),
            threads_lost: inner.instances.lost(),
            takeovers: inner.takeovers.latest(),
        }
    }

    /// For those who look at it, and do not keep it.
    #[cfg(feature = "server")]
    pub(super) fn watched(&self) -> std::sync::Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    /// Stops it: nothing more is leased, and this waits until what was begun is committed. How it did in the end.
    pub async fn stop(mut self) -> StageStatus {
        self.inner.signal.send_modify(|signal| signal.stopping = true);
        while self.lanes.join_next().await.is_some() {}
        self.inner.instances.close();
        self.status()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.inner.signal.send_modify(|signal| signal.stopping = true);
    }
}
