//! The models that are loaded, and those that are being loaded.
//!
//! One load of the same files runs at a time, and all who ask meanwhile get what comes of it. It is a task of its own: it goes on
//! when those who asked go away, so that whoever asks next finds it further on. What was loaded is known as long as somebody uses it; what
//! could not be is forgotten at once, and whoever asks next has it tried again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::meter::LoadedModel;
use super::name::{Digest, ModelName, Version};
use crate::broker::Broker;
use crate::stage::Processor;

/// Which files a model is loaded from. A version that was deleted and registered again is another model.
pub(super) type Key = (ModelName, Version, Digest);

/// A model, or everything that is wrong with it.
pub(super) type Answer = Result<Arc<dyn Processor>, Vec<String>>;

/// Models by what they are loaded from.
#[derive(Debug)]
pub(super) struct Loads<K> {
    by_key: Arc<Mutex<HashMap<K, Load>>>,
}

impl<K> Default for Loads<K> {
    fn default() -> Self {
        Self { by_key: Arc::default() }
    }
}

#[derive(Debug)]
enum Load {
    /// For all who wait for it.
    Running(Shared<BoxFuture<'static, Answer>>),
    /// As long as somebody uses it.
    Done { processor: Weak<dyn Processor>, took: Duration },
}

impl Load {
    fn processor(&self) -> Option<Arc<dyn Processor>> {
        match self {
            Self::Running(_) => None,
            Self::Done { processor, .. } => processor.upgrade(),
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self, Self::Done { processor, .. } if processor.strong_count() == 0)
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Loads<K> {
    /// The model of these files: as it is there, as the load under way makes it, or as `load` does, which blocks. To be called within a tokio
    /// runtime.
    pub(super) async fn get(
        &self,
        broker: &Broker,
        key: K,
        load: impl FnOnce() -> Answer + Send + 'static,
    ) -> Answer {
        let running = {
            let mut by_key = self.by_key.lock();
            let known = by_key.get(&key);
            if let Some(processor) = known.and_then(Load::processor) {
                return Ok(processor);
            }
            if let Some(Load::Running(running)) = known {
                running.clone()
            } else {
                let running = self.begin(broker.clone(), key.clone(), load);
                by_key.insert(key, Load::Running(running.clone()));
                running
            }
        };
        running.await
    }

    fn begin(
        &self,
        broker: Broker,
        key: K,
        load: impl FnOnce() -> Answer + Send + 'static,
    ) -> Shared<BoxFuture<'static, Answer>> {
        let by_key = Arc::clone(&self.by_key);
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            let began = broker.elapsed();
            let loaded = tokio::task::spawn_blocking(load).await;
            let panicked = |error| Err(vec![format!("loading it panicked: {error}")]);
            let loaded = loaded.unwrap_or_else(panicked);
            let took = broker.elapsed().saturating_sub(began);
            let done = loaded.as_ref().ok().map(Arc::downgrade);
            {
                let mut by_key = by_key.lock();
                by_key.remove(&key);
                by_key.retain(|_, known| !known.is_gone());
                by_key.extend(done.map(|processor| (key, Load::Done { processor, took })));
            }
            // Nobody may be left to hear it; then it is gone.
            answer.send(loaded).ok();
        });
        let ended =
            |_| Err(vec!["it was not loaded to its end: the broker is stopping".to_owned()]);
        answered.map(move |answer| answer.unwrap_or_else(ended)).boxed().shared()
    }

    /// Those that are there.
    pub(super) fn loaded(&self) -> Vec<LoadedModel> {
        let loaded = |known: &Load| {
            let Load::Done { processor, took } = known else { return None };
            let processor = processor.upgrade()?;
            let identity = processor.identity().clone();
            Some(LoadedModel { identity, took: *took, meter: processor.meter() })
        };
        self.by_key.lock().values().filter_map(loaded).collect()
    }
}
