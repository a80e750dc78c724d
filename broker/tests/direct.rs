//! Models that are asked directly: loaded when they are wanted, dropped when they are not, never too many.

#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use embermq::models::{
    Direct, DirectError, DirectOptions, Loader, ModelRef, Models, RawTensor, TensorFault,
    TensorModel, TensorPort,
};
use embermq::{Broker, Fault, Identity, Options, Output, Processor, Record};

/// Counts what was loaded, and what of it is still there.
#[derive(Clone, Debug, Default)]
struct Counted {
    loads: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Model(Identity, Counted);

impl Loader for Counted {
    fn load(&self, _folder: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Model(identity, self.clone())))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.1.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Processor for Model {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn tensors(&self) -> Option<&dyn TensorModel> {
        Some(self)
    }

    fn process(&self, _batch: &[Record]) -> Vec<Result<Output, Fault>> {
        Vec::new()
    }
}

impl TensorModel for Model {
    fn platform(&self) -> &'static str {
        "test"
    }

    fn inputs(&self) -> Vec<TensorPort> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<TensorPort> {
        Vec::new()
    }

    fn run(
        &self,
        _inputs: Vec<RawTensor>,
        _wanted: &[bool],
    ) -> Result<Vec<Option<RawTensor>>, TensorFault> {
        Ok(Vec::new())
    }
}

struct World {
    _dir: tempfile::TempDir,
    models: Arc<Models>,
    counted: Counted,
}

impl World {
    /// With the models `a` and `b`.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let counted = Counted::default();
        let loader = Arc::new(counted.clone());
        let models = Arc::new(Models::open(&broker, dir.path(), loader).await.unwrap());
        for name in ["a", "b"] {
            let sent = models.upload().unwrap();
            std::fs::write(sent.path(), name).unwrap();
            let (model, version) = (name.parse().unwrap(), "1".parse().unwrap());
            models.register(&model, &version, sent.path(), None).await.unwrap();
        }
        // Each was tried before it was registered.
        counted.loads.store(0, Ordering::SeqCst);
        Self { _dir: dir, models, counted }
    }

    fn direct(&self, options: DirectOptions) -> Arc<Direct> {
        Direct::new(Arc::clone(&self.models), options)
    }

    async fn gone(&self) {
        while self.counted.alive.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn reference(name: &str) -> ModelRef {
    name.parse().unwrap()
}

#[tokio::test]
async fn a_model_is_loaded_once_for_all_who_ask() {
    let world = World::new().await;
    let direct = world.direct(DirectOptions::default());
    let (model, version) = (reference("a"), reference("a@1"));
    let opened = futures::future::join_all((0..16).map(|at| {
        let reference = if at % 2 == 0 { &model } else { &version };
        direct.open(reference)
    }))
    .await;
    assert!(opened.iter().all(Result::is_ok));
    assert_eq!((world.counted.loads.load(Ordering::SeqCst), direct.loaded()), (1, 1));
}

#[tokio::test]
async fn a_model_that_nobody_asks_is_dropped() {
    let world = World::new().await;
    let idle = Duration::from_millis(20);
    let direct = world.direct(DirectOptions { idle, ..DirectOptions::default() });
    let held = direct.open(&reference("a")).await.unwrap();
    assert_eq!(held.run(|model| model.platform()).await.unwrap(), "test");
    drop(held);
    world.gone().await;
    assert_eq!(direct.loaded(), 0);
    // And it is loaded again when somebody does.
    direct.open(&reference("a")).await.unwrap();
    world.gone().await;
    assert_eq!(world.counted.loads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn no_more_are_loaded_than_may_be() {
    let world = World::new().await;
    let direct = world.direct(DirectOptions { models_max: 1, ..DirectOptions::default() });
    let held = direct.open(&reference("a")).await.unwrap();
    let refused = direct.open(&reference("b")).await.unwrap_err();
    assert!(matches!(refused, DirectError::TooManyModels { limit: 1 }), "{refused}");
    drop(held);
    let other = direct.open(&reference("b")).await.unwrap();
    assert_eq!((other.identity().name.as_str(), direct.loaded()), ("b", 1));
    assert_eq!(world.counted.alive.load(Ordering::SeqCst), 1);
}
