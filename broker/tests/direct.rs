//! Models that are asked directly: loaded when they are wanted, dropped when they are not, never too many.

#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use embermq::models::{
    Direct, DirectError, DirectOptions, Loader, ModelError, ModelRef, Models, RawTensor,
    TensorFault, TensorModel, TensorPort,
};
use embermq::{Broker, Fault, Identity, Options, Output, Processor, Record};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// Counts what was loaded, and what of it is still there.
#[derive(Clone, Debug, Default)]
struct Counted {
    loads: Arc<AtomicUsize>,
    /// Loads under way, and how many there were at a time.
    running: Arc<AtomicUsize>,
    running_max: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
    /// Where a load waits, until the other end is dropped.
    gate: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
    fails: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Model(Identity, Counted);

impl Loader for Counted {
    fn load(&self, _folder: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_max.fetch_max(running, Ordering::SeqCst);
        self.loads.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &*self.gate.lock() {
            gate.recv().ok();
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(vec!["as asked".to_owned()]);
        }
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
        _bytes_max: usize,
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
        counted.running_max.store(0, Ordering::SeqCst);
        Self { _dir: dir, models, counted }
    }

    fn direct(&self, options: DirectOptions) -> Arc<Direct> {
        Direct::new(Arc::clone(&self.models), options)
    }

    /// From now on loads wait, until what this gives is dropped.
    fn shut(&self) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel();
        *self.counted.gate.lock() = Some(held);
        release
    }

    /// Until as many loads are under way.
    async fn loading(&self, count: usize) {
        while self.counted.running.load(Ordering::SeqCst) != count {
            tokio::task::yield_now().await;
        }
    }

    /// Loads so far, and how many there were at a time.
    fn loads(&self) -> (usize, usize) {
        let Counted { loads, running_max, .. } = &self.counted;
        (loads.load(Ordering::SeqCst), running_max.load(Ordering::SeqCst))
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

/// Those who ask for model `a`, some directly and some as stages do; each has asked already.
fn askers(
    world: &World,
    direct: &Arc<Direct>,
    count: usize,
) -> Vec<BoxFuture<'static, Result<Identity, DirectError>>> {
    let one = |at: usize| {
        let (direct, models) = (Arc::clone(direct), Arc::clone(&world.models));
        let mut asker: BoxFuture<'static, Result<Identity, DirectError>> = Box::pin(async move {
            let reference = reference(if at.is_multiple_of(3) { "a" } else { "a@1" });
            if at.is_multiple_of(2) {
                return Ok(direct.open(&reference).await?.identity().clone());
            }
            Ok(models.processor(&reference).await?.identity().clone())
        });
        assert!((&mut asker).now_or_never().is_none());
        asker
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn a_load_goes_on_when_whoever_asked_first_goes_away_and_is_shared_by_all() {
    let world = World::new().await;
    let direct = world.direct(DirectOptions::default());
    let release = world.shut();
    let mut all = askers(&world, &direct, 64);
    world.loading(1).await;
    // The first of either kind, and many others.
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        at > 2 && at % 5 != 0
    });
    all.extend(askers(&world, &direct, 16));
    world.loading(1).await;
    drop(release);
    let answers = futures::future::join_all(all).await;
    assert_eq!(answers.len(), 66);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().name == "a"));
    assert_eq!((world.loads(), direct.loaded()), ((1, 1), 1));
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_loaded_for_whoever_asks_next() {
    let world = World::new().await;
    let direct = world.direct(DirectOptions::default());
    let release = world.shut();
    drop(askers(&world, &direct, 8));
    world.loading(1).await;
    drop(release);
    world.loading(0).await;
    direct.open(&reference("a")).await.unwrap();
    assert_eq!(world.loads(), (1, 1));
}

#[tokio::test]
async fn a_load_that_failed_is_shared_too_and_not_remembered() {
    let world = World::new().await;
    let direct = world.direct(DirectOptions::default());
    world.counted.fails.store(true, Ordering::SeqCst);
    let release = world.shut();
    let all = askers(&world, &direct, 32);
    world.loading(1).await;
    drop(release);
    for answer in futures::future::join_all(all).await {
        match answer.unwrap_err() {
            DirectError::Registry(ModelError::Unusable { problems }) => {
                assert_eq!(problems, ["as asked"]);
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((world.loads(), direct.loaded()), ((1, 1), 0));
    world.counted.fails.store(false, Ordering::SeqCst);
    direct.open(&reference("a")).await.unwrap();
    assert_eq!((world.loads(), direct.loaded()), ((2, 1), 1));
}
