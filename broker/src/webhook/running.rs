//! A webhook that runs.

use std::sync::Arc;
use std::time::Duration;

use embermq_storage::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::brake::Brake;
use super::lane;
use super::post::Post;
use super::secret::Secret;
use super::settings::WebhookSettings;
use super::status::{WebhookCounters, WebhookState, WebhookStatus};
use crate::broker::Broker;
use crate::error::CommitError;

/// The secrets that a webhook signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Secrets {
    pub(super) current: Secret,
    /// Those before, the newest first, each until its time.
    pub(super) previous: Vec<(Secret, Timestamp)>,
}

impl Secrets {
    /// Those that are valid at a time, the newest first.
    pub(super) fn at(&self, now: Timestamp) -> Vec<Secret> {
        let previous = self.previous.iter().filter(|(_, until)| now < *until);
        let previous = previous.map(|(secret, _)| secret.clone());
        std::iter::once(self.current.clone()).chain(previous).collect()
    }
}

/// A webhook. Dropping it stops it without waiting; [`stop`](Self::stop) waits for what was begun.
#[derive(Debug)]
pub(super) struct Webhook {
    inner: Arc<Inner>,
    lanes: JoinSet<()>,
}

/// What lanes share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) broker: Broker,
    pub(super) settings: WebhookSettings,
    pub(super) secrets: Secrets,
    pub(super) post: Post,
    pub(super) counters: Arc<WebhookCounters>,
    pub(super) signal: watch::Sender<Signal>,
    pub(super) brake: Mutex<Brake>,
    /// Set while something is in the way.
    hindrance: Mutex<Option<String>>,
    /// Why it is disabled.
    gone: Mutex<Option<String>>,
    /// Told when its receiver says that it is gone.
    pub(super) notice: Arc<Notify>,
}

/// What a webhook was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) paused: bool,
    pub(super) disabled: bool,
    pub(super) stopping: bool,
}

impl Inner {
    /// Notes what is in the way, or that nothing is.
    pub(super) fn hindered(&self, reason: Option<String>) {
        let mut hindrance = self.hindrance.lock();
        if let Some(reason) = &reason
            && hindrance.as_ref() != Some(reason)
        {
            tracing::warn!(webhook = %self.settings.name, %reason, "a webhook waits");
        }
        *hindrance = reason;
    }

    /// How long nothing is to be begun.
    pub(super) fn held(&self) -> Option<Duration> {
        self.brake.lock().holds(self.broker.elapsed()).map(|(left, _)| left)
    }

    /// Its receiver is gone: nothing more is posted until somebody resumes it.
    pub(super) fn disable(&self, reason: String) {
        tracing::warn!(webhook = %self.settings.name, %reason, "the receiver of a webhook is gone; it is disabled");
        *self.gone.lock() = Some(reason);
        self.signal.send_modify(|signal| signal.disabled = true);
        self.notice.notify_one();
    }

    /// The group of its topic, made if need be.
    pub(super) async fn ensure_group(&self) -> Result<(), CommitError> {
        let settings = &self.settings;
        let (topic, group) = (&settings.topic, &settings.group);
        self.broker.ensure_group(topic, group, settings.group(), settings.start).await
    }
}

/// What a webhook is started with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) settings: WebhookSettings,
    pub(super) secrets: Secrets,
    pub(super) paused: bool,
    /// Why it is disabled, if it is.
    pub(super) gone: Option<String>,
}

impl Webhook {
    /// Starts a webhook. To be called within a runtime.
    pub(super) async fn start(
        broker: &Broker,
        post: &Post,
        notice: &Arc<Notify>,
        start: Start,
    ) -> Result<Self, CommitError> {
        let Start { settings, secrets, paused, gone } = start;
        let signal = Signal { paused, disabled: gone.is_some(), stopping: false };
        let inner = Arc::new(Inner {
            broker: broker.clone(),
            settings,
            secrets,
            post: post.clone(),
            counters: Arc::default(),
            signal: watch::Sender::new(signal),
            brake: Mutex::default(),
            hindrance: Mutex::default(),
            gone: Mutex::new(gone),
            notice: Arc::clone(notice),
        });
        inner.ensure_group().await?;
        let mut lanes = JoinSet::new();
        for number in 0..inner.settings.concurrency {
            lanes.spawn(lane::run(Arc::clone(&inner), number));
        }
        Ok(Self { inner, lanes })
    }

    /// Begins nothing more, or goes on.
    pub(super) fn set_paused(&self, paused: bool) {
        self.inner.signal.send_modify(|signal| signal.paused = paused);
    }

    /// Goes on although its receiver said that it was gone.
    pub(super) fn enable(&self) {
        *self.inner.gone.lock() = None;
        *self.inner.brake.lock() = Brake::default();
        self.inner.signal.send_modify(|signal| signal.disabled = false);
    }

    /// Why it is disabled, if it is.
    pub(super) fn gone(&self) -> Option<String> {
        self.inner.gone.lock().clone()
    }

    pub(super) fn counters(&self) -> Arc<WebhookCounters> {
        Arc::clone(&self.inner.counters)
    }

    /// How it is doing.
    pub(super) fn status(&self) -> WebhookStatus {
        let inner = &*self.inner;
        let signal = *inner.signal.borrow();
        let held = || inner.brake.lock().holds(inner.broker.elapsed());
        let state = if signal.stopping {
            WebhookState::Stopped
        } else if signal.disabled {
            WebhookState::Disabled { reason: self.gone().unwrap_or_default() }
        } else if signal.paused {
            WebhookState::Paused
        } else if let Some(reason) = inner.hindrance.lock().clone() {
            WebhookState::Waiting { reason }
        } else if let Some((left, asked)) = held() {
            let seconds = left.as_secs() + 1;
            let why = if asked {
                "the receiver asked to be left alone"
            } else {
                "nothing gets through to the receiver"
            };
            WebhookState::Waiting { reason: format!("{why}; the next attempt is in {seconds} s") }
        } else {
            WebhookState::Running
        };
        inner.counters.status(state)
    }

    /// Stops it: nothing more is begun, and what was begun has some seconds to end.
    pub(super) async fn stop(mut self) {
        self.inner.signal.send_modify(|signal| signal.stopping = true);
        while self.lanes.join_next().await.is_some() {}
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.inner.signal.send_modify(|signal| signal.stopping = true);
    }
}
