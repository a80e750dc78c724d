//! A stage that runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::instances::Instances;
use super::lane;
use super::processor::{Identity, Processor};
use super::settings::StageSettings;
use super::status::{Counters, StageState, StageStatus};
use crate::broker::Broker;
use crate::error::CommitError;
use crate::read::From;

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
    pub(super) processor: ArcSwap<Arc<dyn Processor>>,
    pub(super) instances: Instances,
    pub(super) counters: Counters,
    pub(super) signal: watch::Sender<Signal>,
}

/// What a stage was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) paused: bool,
    pub(super) stopping: bool,
}

impl Inner {
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
    /// have to be there. To be called within a tokio runtime, which has to have time enabled.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`]; [`CommitError::Invalid`] settings; [`CommitError::GroupExists`] when the group has another
    /// ordering; or what can befall any commit.
    pub async fn start_stage(
        &self,
        settings: StageSettings,
        processor: Arc<dyn Processor>,
    ) -> Result<Stage, CommitError> {
        self.start_stage_in(settings, processor, false).await
    }

    /// The same, paused from the start if it is to be.
    pub(crate) async fn start_stage_in(
        &self,
        settings: StageSettings,
        processor: Arc<dyn Processor>,
        paused: bool,
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
        let count = settings.instances as usize;
        let instances = Instances::start(settings.name.as_str(), count, settings.timeout)
            .map_err(|error| invalid(format!("no threads can be started: {error}")))?;
        let lane_count = settings.instances + 1;
        let inner = Arc::new(Inner {
            broker: self.clone(),
            settings,
            processor: ArcSwap::from_pointee(processor),
            instances,
            counters: Counters::default(),
            signal: watch::Sender::new(Signal { paused, stopping: false }),
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
        self.inner.processor.store(Arc::new(processor));
    }

    /// What makes its outputs now.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.inner.processor.load().identity().clone()
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
        let processor = inner.processor.load();
        let identity = processor.identity();
        StageStatus {
            state,
            model: format!("{}@{}", identity.name, identity.version),
            batches: inner.counters.batches.load(Ordering::Relaxed),
            succeeded: inner.counters.succeeded.load(Ordering::Relaxed),
            failed: inner.counters.failed.load(Ordering::Relaxed),
            rejected: inner.counters.rejected.load(Ordering::Relaxed),
            dead: inner.counters.dead.load(Ordering::Relaxed),
            last_failure: inner.counters.last_failure.lock().clone(),
            abandoned: inner.instances.abandoned(),
            threads_lost: inner.instances.lost(),
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
