//! Models that are asked directly, past the log: tensors in, tensors out.
//!
//! A model is loaded when it is first asked, shared with the stages that use the same version, and dropped when nobody has asked for a
//! while or its version is gone. Each has threads and a bounded queue of its own, so that one that hangs harms no other; how many may
//! be there at a time is bounded, and the one that was asked longest ago makes room.

mod workers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use self::workers::Workers;
use super::error::ModelError;
use super::host::Models;
use super::loads::Key;
use super::name::ModelRef;
use super::tensors::TensorModel;
use crate::stage::{Identity, Processor};

/// How models are asked directly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectOptions {
    /// How long a call may wait for a thread, and then how long it may take.
    pub timeout: Duration,
    /// Calls of one model that may wait.
    pub queue_max: usize,
    /// Threads of one model.
    pub threads: usize,
    /// A model that was not asked for this long is dropped.
    pub idle: Duration,
    /// Models that may be loaded at a time.
    pub models_max: usize,
}

impl Default for DirectOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            timeout: Duration::from_secs(30),
            queue_max: 64,
            threads: cores.saturating_sub(1).max(1),
            idle: Duration::from_secs(300),
            models_max: 16,
        }
    }
}

/// Looked for models to drop so often.
const SWEEP: Duration = Duration::from_secs(5);

/// Why a model did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// It is not there, or cannot be loaded.
    #[error(transparent)]
    Registry(#[from] ModelError),
    /// It does not take tensors.
    #[error("model {model} takes no tensors")]
    NoTensors {
        /// The model.
        model: String,
    },
    /// Too many calls wait.
    #[error("{waiting} calls of this model wait already; try again later")]
    Overloaded {
        /// How many.
        waiting: usize,
    },
    /// Too many models are in use.
    #[error("{limit} models are loaded and in use, as many as may be; try again later")]
    TooManyModels {
        /// How many may be.
        limit: usize,
    },
    /// It took too long.
    #[error("the model did not answer within {after:?}")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// It failed.
    #[error("the model failed: {what}")]
    Model {
        /// How.
        what: String,
    },
    /// Calls never returned.
    #[error(
        "{lost} calls of this model never returned, and there is no thread left for it; restart the broker, or use another version"
    )]
    Stuck {
        /// How many.
        lost: usize,
    },
    /// It was dropped meanwhile, or the broker is stopping.
    #[error("the model was dropped while it was asked; try again")]
    Stopped,
}

/// The models that are asked directly.
#[derive(Debug)]
pub struct Direct {
    models: Arc<Models>,
    options: DirectOptions,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    by_key: HashMap<Key, Arc<Slot>>,
    /// Somebody looks for models to drop.
    swept: bool,
}

#[derive(Debug)]
struct Slot {
    loaded: OnceCell<Arc<Serving>>,
    asked: Mutex<Instant>,
}

/// A model that can be asked.
#[derive(Debug)]
pub struct Serving {
    processor: Arc<dyn Processor>,
    workers: Workers,
}

impl Serving {
    /// What it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.processor.identity()
    }

    /// Its tensors.
    ///
    /// # Errors
    /// [`DirectError::NoTensors`].
    pub fn tensors(&self) -> Result<&dyn TensorModel, DirectError> {
        let Identity { name, version, .. } = self.identity();
        let none = || DirectError::NoTensors { model: format!("{name}@{version}") };
        self.processor.tensors().ok_or_else(none)
    }

    /// Does something with the model on a thread of its own.
    ///
    /// # Errors
    /// [`DirectError`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn TensorModel) -> T + Send + 'static,
    ) -> Result<T, DirectError> {
        self.tensors()?;
        let processor = Arc::clone(&self.processor);
        let done = self.workers.run(move || processor.tensors().map(work)).await?;
        done.ok_or(DirectError::Stopped)
    }
}

impl Direct {
    /// Asks models of this registry.
    #[must_use]
    pub fn new(models: Arc<Models>, options: DirectOptions) -> Arc<Self> {
        Arc::new(Self { models, options, slots: Mutex::default() })
    }

    /// How many models are loaded, or being loaded.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.slots.lock().by_key.len()
    }

    /// The model that a reference means now, loaded.
    ///
    /// # Errors
    /// [`DirectError`].
    pub async fn open(self: &Arc<Self>, reference: &ModelRef) -> Result<Arc<Serving>, DirectError> {
        let registry = self.models.registry();
        let unmeant = || registry.unmeant(reference);
        let (version, state) = registry.resolve(reference).ok_or_else(unmeant)?;
        let key = (reference.name.clone(), version.clone(), state.digest.clone());
        let slot = self.slot(&key)?;
        *slot.asked.lock() = Instant::now();
        if let Some(serving) = slot.loaded.get() {
            return Ok(Arc::clone(serving));
        }
        // To its end, even if whoever asks goes away: what is loaded is there for whoever asks next.
        let (direct, reference) = (Arc::clone(self), reference.clone());
        let filled = tokio::spawn(async move { direct.fill(slot, &reference, key).await });
        filled.await.unwrap_or(Err(DirectError::Stopped))
    }

    /// Loads a model into its place, or waits for the load that is under way.
    async fn fill(
        self: &Arc<Self>,
        slot: Arc<Slot>,
        reference: &ModelRef,
        key: Key,
    ) -> Result<Arc<Serving>, DirectError> {
        let opened = match self.load(reference, &key).await {
            Ok(processor) => {
                let serving = || async move { self.serving(reference, processor) };
                slot.loaded.get_or_try_init(serving).await.map(Arc::clone)
            }
            Err(error) => Err(error),
        };
        self.sweep_from_now_on();
        if opened.is_err() {
            let mut slots = self.slots.lock();
            // Whoever is the last to fail clears away: others may still be about to fill it.
            drop(slot);
            let is_left = |slot: &Arc<Slot>| !slot.is_used() && !slot.loaded.initialized();
            if slots.by_key.get(&key).is_some_and(is_left) {
                slots.by_key.remove(&key);
            }
        }
        opened
    }

    /// Those who ask at once share one load, and what comes of it.
    async fn load(
        &self,
        reference: &ModelRef,
        key: &Key,
    ) -> Result<Arc<dyn Processor>, DirectError> {
        let processor = self.models.processor(reference).await?;
        // An alias may have been set to another version since.
        let identity = processor.identity();
        if identity.version != key.1.as_str() || identity.digest != key.2.as_str() {
            return Err(DirectError::Stopped);
        }
        Ok(processor)
    }

    fn serving(
        &self,
        reference: &ModelRef,
        processor: Arc<dyn Processor>,
    ) -> Result<Arc<Serving>, DirectError> {
        let DirectOptions { timeout, queue_max, threads, .. } = self.options;
        let workers = Workers::start(reference.name.as_str(), threads.max(1), queue_max, timeout)?;
        Ok(Arc::new(Serving { processor, workers }))
    }

    /// The place of a model; where there are too many, the one that was asked longest ago and is not in use makes room.
    fn slot(&self, key: &Key) -> Result<Arc<Slot>, DirectError> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.by_key.get(key) {
            return Ok(Arc::clone(slot));
        }
        let limit = self.options.models_max.max(1);
        if slots.by_key.len() >= limit {
            let unused = slots.by_key.iter().filter(|(_, slot)| !slot.is_used());
            let oldest = unused.min_by_key(|(_, slot)| *slot.asked.lock());
            let oldest = oldest.map(|(key, _)| key.clone());
            let oldest = oldest.ok_or(DirectError::TooManyModels { limit })?;
            slots.by_key.remove(&oldest);
        }
        let slot = Slot { loaded: OnceCell::new(), asked: Mutex::new(Instant::now()) };
        let slot = Arc::new(slot);
        slots.by_key.insert(key.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    /// Drops models in time, as long as there are any.
    fn sweep_from_now_on(self: &Arc<Self>) {
        if std::mem::replace(&mut self.slots.lock().swept, true) {
            return;
        }
        let (direct, every) = (Arc::downgrade(self), SWEEP.min(self.options.idle));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(direct) = direct.upgrade() else { return };
                if direct.sweep() {
                    return;
                }
            }
        });
    }

    /// True when none is left.
    fn sweep(&self) -> bool {
        let registry = self.models.registry();
        let mut dropped = Vec::new();
        let mut slots = self.slots.lock();
        slots.by_key.retain(|(name, version, digest), slot| {
            let known = registry.model(name).and_then(|model| model.versions.get(version));
            let wanted = known.is_some_and(|state| state.digest == *digest)
                && slot.asked.lock().elapsed() < self.options.idle;
            let kept = wanted || slot.is_used();
            if !kept {
                dropped.push(Arc::clone(slot));
            }
            kept
        });
        let empty = slots.by_key.is_empty();
        slots.swept = !empty;
        drop(slots);
        // Behind the lock: giving memory back takes its time.
        drop(dropped);
        empty
    }
}

impl Slot {
    /// Whether somebody loads or asks it now.
    fn is_used(self: &Arc<Self>) -> bool {
        let asked = |loaded: &Arc<Serving>| Arc::strong_count(loaded) > 1;
        Arc::strong_count(self) > 1 || self.loaded.get().is_some_and(asked)
    }
}
