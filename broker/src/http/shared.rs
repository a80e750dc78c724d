//! What every request of a server shares.

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::http::HeaderValue;

use super::caller::Caller;
use super::closing::Closing;
use super::held::Answers;
use super::options::ServeOptions;
use crate::models::{Direct, Models};
use crate::webhook::Webhooks;
use crate::{Broker, Roster};

/// What every request of a server shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) broker: Broker,
    pub(super) options: ServeOptions,
    pub(super) closing: Closing,
    pub(super) request_ids: RequestIds,
    /// What answers hold in memory.
    pub(super) answers: Answers,
    /// Connections that are served now.
    pub(super) connections: AtomicUsize,
    /// Models and stages, if it has them.
    pub(super) serving: Option<Serving>,
    /// Webhooks, if it has them.
    pub(super) webhooks: Option<Arc<Webhooks>>,
    /// Its models, as they are asked directly.
    pub(super) direct: Option<Arc<Direct>>,
}

/// The models and stages of a server.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Its models.
    pub models: Arc<Models>,
    /// Its stages.
    pub stages: Arc<Roster>,
}

impl Shared {
    pub(super) fn new(
        broker: Broker,
        options: ServeOptions,
        closing: Closing,
        (serving, webhooks): (Option<Serving>, Option<Arc<Webhooks>>),
    ) -> Self {
        let direct = serving
            .as_ref()
            .map(|serving| Direct::new(Arc::clone(&serving.models), options.direct.clone()));
        let request_ids = RequestIds::new();
        let answers = Answers::new(options.answer_bytes_max);
        let connections = AtomicUsize::new(0);
        Self {
            broker,
            options,
            closing,
            request_ids,
            answers,
            connections,
            serving,
            webhooks,
            direct,
        }
    }

    /// Returns when nothing is waited for any longer: the server closes, or the caller leaves.
    pub(super) async fn waits_no_more(&self, caller: &Caller) {
        let mut closing = self.closing.clone();
        tokio::select! {
            () = closing.wait() => {}
            () = caller.leaves() => {}
        }
    }
}

/// Names for requests that come without one: a random part for the process, then a count.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        let random = RandomState::new().hash_one("request ids");
        Self { process: (random >> 32) as u32, next: AtomicU64::new(1) }
    }

    /// A fresh name.
    pub(super) fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut name = String::with_capacity(20);
        // Writing to a string cannot fail.
        let _ok = write!(name, "{:08x}-{number:x}", self.process);
        HeaderValue::try_from(name).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }
}
