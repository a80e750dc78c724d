//! The models that are loaded, and those that are being loaded.
//!
//! One load of the same files runs at a time, and all who ask meanwhile get what comes of it. It is a task of its own: it goes on
//! when those who asked go away, so that whoever asks next finds it further on, and is given up when nobody has asked for long. What was
//! loaded is known as long as somebody uses it; what could not be is forgotten at once, and whoever asks next has it tried again.

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
use crate::given_up::Cancel;
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
    Running(Running),
    /// As long as somebody uses it.
    Done { processor: Weak<dyn Processor>, took: Duration },
}

#[derive(Debug)]
struct Running {
    answer: Shared<BoxFuture<'static, Answer>>,
    /// Whether somebody has asked since somebody looked.
    asked: bool,
    cancel: Cancel,
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
    /// runtime. Nobody waits longer than `patience`.
    pub(super) async fn get(
        &self,
        broker: &Broker,
        patience: Duration,
        key: K,
        load: impl FnOnce() -> Answer + Send + 'static,
    ) -> Answer {
        // One that was given up before may end well all the same; if it does not, that says nothing.
        if let Some(given_up) = self.given_up(&key)
            && let Ok(processor) = given_up.await
        {
            return Ok(processor);
        }
        let answer = {
            let mut by_key = self.by_key.lock();
            match by_key.get_mut(&key) {
                Some(Load::Running(running)) => {
                    running.asked = true;
                    running.answer.clone()
                }
                known => {
                    if let Some(processor) = known.and_then(|known| known.processor()) {
                        return Ok(processor);
                    }
                    let running = self.begin(broker.clone(), patience, key.clone(), load);
                    let answer = running.answer.clone();
                    by_key.insert(key, Load::Running(running));
                    answer
                }
            }
        };
        answer.await
    }

    /// What a load gives that nobody asked for any longer. None: whoever asks now has it go on.
    fn given_up(&self, key: &K) -> Option<Shared<BoxFuture<'static, Answer>>> {
        match self.by_key.lock().get_mut(key) {
            Some(Load::Running(running)) if running.cancel.is_cancelled() => {
                Some(running.answer.clone())
            }
            Some(Load::Running(running)) => {
                running.asked = true;
                None
            }
            _ => None,
        }
    }

    /// Ends what is under way, as far as it can be ended.
    pub(super) fn give_up(&self) {
        for load in self.by_key.lock().values() {
            if let Load::Running(running) = load {
                running.cancel.cancel();
            }
        }
    }

    fn begin(
        &self,
        broker: Broker,
        patience: Duration,
        key: K,
        load: impl FnOnce() -> Answer + Send + 'static,
    ) -> Running {
        let by_key = Arc::clone(&self.by_key);
        let (answer, answered) = oneshot::channel();
        let ended =
            |_| Err(vec!["it was not loaded to its end: the broker is stopping".to_owned()]);
        let answered = answered.map(move |answer| answer.unwrap_or_else(ended)).boxed().shared();
        let cancel = Cancel::default();
        let running = Running { answer: answered, asked: true, cancel: cancel.clone() };
        tokio::spawn(async move {
            let began = broker.elapsed();
            let watched = cancel.clone();
            let mut loading = tokio::task::spawn_blocking(move || watched.watch(load));
            let loaded = loop {
                match tokio::time::timeout(patience, &mut loading).await {
                    Ok(loaded) => break loaded,
                    Err(_) if goes_on(&by_key, &key) => {}
                    // What hangs all the same keeps its place: no second one shall hang beside it.
                    Err(_) => break loading.await,
                }
            };
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
        running
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

/// Whether somebody has asked since this was looked at last; otherwise the load is given up, which whoever asks next can see.
fn goes_on<K: Eq + Hash>(by_key: &Mutex<HashMap<K, Load>>, key: &K) -> bool {
    let mut by_key = by_key.lock();
    let Some(Load::Running(running)) = by_key.get_mut(key) else { return false };
    let asked = std::mem::take(&mut running.asked);
    if !asked {
        running.cancel.cancel();
    }
    asked
}

#[cfg(all(test, feature = "inference"))]
mod tests {
    use super::*;
    use crate::Options;

    /// A load that computes until it is given up, and what says that it has ended.
    fn endless() -> (impl FnOnce() -> Answer + Send + 'static, oneshot::Receiver<()>) {
        let (ended, ends) = oneshot::channel();
        let load = move || {
            while Cancel::watched().is_some_and(|watched| !watched.is_cancelled()) {
                std::thread::yield_now();
            }
            ended.send(()).ok();
            Err(vec!["given up".to_owned()])
        };
        (load, ends)
    }

    #[tokio::test]
    async fn a_load_that_nobody_asks_for_any_more_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let (loads, patience) = (Loads::default(), Duration::from_millis(5));
        let (load, ends) = endless();
        let asked = loads.get(&broker, patience, 1, load);
        assert!(tokio::time::timeout(patience, asked).await.is_err());
        ends.await.unwrap();
    }

    #[tokio::test]
    async fn who_asks_for_what_was_given_up_has_it_loaded_anew() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let (loads, patience) = (Loads::default(), Duration::from_millis(5));
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        // It looks at its mark once it may go on, as one that reads a large file.
        let slow = move || {
            goes_on.recv().ok();
            let given_up = Cancel::watched().is_some_and(|watched| watched.is_cancelled());
            Err(vec![format!("given up: {given_up}")])
        };
        let asked = loads.get(&broker, patience, 1, slow);
        assert!(tokio::time::timeout(patience, asked).await.is_err());
        // Looked at without asking, which would have it go on.
        let is_given_up = || match loads.by_key.lock().get(&1) {
            Some(Load::Running(running)) => running.cancel.is_cancelled(),
            _ => false,
        };
        while !is_given_up() {
            tokio::task::yield_now().await;
        }
        let mut asked = Box::pin(loads.get(&broker, patience, 1, || Err(vec!["anew".to_owned()])));
        assert!(futures::poll!(asked.as_mut()).is_pending());
        go_on.send(()).unwrap();
        assert_eq!(asked.await.unwrap_err(), ["anew"]);
    }

    #[tokio::test]
    async fn loads_under_way_end_with_all_waiting_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let (loads, patience) = (Loads::default(), Duration::from_secs(600));
        let (load, ends) = endless();
        let mut asked = Box::pin(loads.get(&broker, patience, 1, load));
        assert!(futures::poll!(asked.as_mut()).is_pending());
        loads.give_up();
        assert_eq!(asked.await.unwrap_err(), ["given up"]);
        ends.await.unwrap();
    }
}
