//! What can be seen and done while a stage changes: a model that still loads and a batch that does not end keep nobody waiting who
//! only looks, and no other stage.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use embermq::models::{self, Alias, Loader, Models};
use embermq::{Broker, Fault, Identity, Options, Output, Processor, Record, Roster};
use futures::poll;
use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Running, json, problem, start_serving};

/// Where something waits until the test drops the other end.
type Gate = Arc<Mutex<Option<mpsc::Receiver<()>>>>;

/// The model `slow` waits while it is loaded, and every model at a record that says `hold`.
#[derive(Clone, Debug, Default)]
struct Hanging {
    gate: Gate,
    waiting: Arc<AtomicUsize>,
}

impl Hanging {
    /// From now on they wait, until what this gives is dropped.
    fn shut(&self) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel();
        *self.gate.lock() = Some(held);
        release
    }

    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &*self.gate.lock() {
            gate.recv().ok();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    async fn reached(&self) {
        while self.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[derive(Debug)]
struct Echo(Identity, Hanging);

impl Loader for Hanging {
    fn load(&self, _folder: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>> {
        if identity.name == "slow" {
            self.pass();
        }
        Ok(Arc::new(Echo(identity, self.clone())))
    }
}

impl Processor for Echo {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let one = |record: &Record| {
            let value = record.value.clone().unwrap_or_default();
            if &value[..] == b"hold" {
                self.1.pass();
            }
            let (content_type, took) = ("text/plain".into(), Duration::ZERO);
            Ok(Output { value, content_type, nonfinite: false, took, batch_size: None })
        };
        batch.iter().map(one).collect()
    }
}

async fn serving(hanging: &Hanging, broker: Broker, data: PathBuf) -> embermq::http::Serving {
    let models = Models::open(&broker, &data, Arc::new(hanging.clone())).await.unwrap();
    let models = Arc::new(models);
    let stages = Arc::new(Roster::open(&broker, Arc::clone(&models)).await.unwrap());
    let tended = Arc::clone(&stages);
    tokio::spawn(async move { tended.tend().await });
    embermq::http::Serving { models, stages }
}

/// A server with two models, and the stage `quick` from `in` to `out`.
async fn started(hanging: &Hanging) -> Running {
    furnished(start_serving(async |broker, data| serving(hanging, broker, data).await).await).await
}

async fn furnished(server: Running) -> Running {
    for topic in ["in", "other", "out"] {
        server.topic(topic, 1).await;
    }
    for model in ["quick", "slow"] {
        let path = format!("/v1/models/{model}/versions/1");
        json(server.put(&path).body("x").send().await.unwrap()).await;
    }
    json(put(&server, "quick", json!({ "input": "in", "model": "quick" })).await.unwrap()).await;
    server
}

/// As a task of its own: the answer may take its time.
fn put(server: &Running, stage: &str, more: Value) -> tokio::task::JoinHandle<reqwest::Response> {
    let mut config = json!({ "output": "out", "instances": 1 });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = server.put(&format!("/v1/stages/{stage}")).json(&config);
    tokio::spawn(async move { request.send().await.unwrap() })
}

async fn get(server: &Running, path: &str) -> Value {
    json(server.get(path).send().await.unwrap()).await
}

/// The stages with their states.
async fn states(server: &Running) -> Vec<(String, String)> {
    let page = get(server, "/v1/stages").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let stages = page["stages"].as_array().unwrap().iter();
    stages.map(|stage| (text(&stage["stage"]), text(&stage["status"]["state"]))).collect()
}

fn all(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

/// Everything that only looks is answered, and the stage `quick` works.
async fn others_go_on(server: &Running) {
    assert_eq!(get(server, "/v1/stages/quick").await["status"]["state"], "running");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("embermq_stage_info{stage=\"quick\""), "{metrics}");
    let call = server.post("/v1/topics/in/records:call").header("Prefer", "wait=30");
    assert_eq!(call.body("x").send().await.unwrap().text().await.unwrap(), "x");
}

#[tokio::test]
async fn a_model_that_still_loads_keeps_nobody_waiting_who_looks() {
    let hanging = Hanging::default();
    let server = started(&hanging).await;
    let release = hanging.shut();
    let putting = put(&server, "slow", json!({ "input": "other", "model": "slow" }));
    hanging.reached().await;
    assert_eq!(states(&server).await, all(&[("quick", "running")]));
    problem(server.get("/v1/stages/slow").send().await.unwrap(), 404, "stage_not_found").await;
    others_go_on(&server).await;
    assert!(!putting.is_finished());
    drop(release);
    assert_eq!(putting.await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(states(&server).await, all(&[("quick", "running"), ("slow", "running")]));
    server.end().await;
}

#[tokio::test]
async fn a_stage_whose_model_still_loads_at_the_start_is_listed_as_starting_and_holds_up_no_other()
{
    let hanging = Hanging::default();
    let server = started(&hanging).await;
    // Its name comes first.
    json(put(&server, "late", json!({ "input": "other", "model": "slow" })).await.unwrap()).await;
    let release = hanging.shut();
    let server = server.restarted(async |broker, data| serving(&hanging, broker, data).await).await;
    hanging.reached().await;
    while states(&server).await != all(&[("late", "starting"), ("quick", "running")]) {
        tokio::task::yield_now().await;
    }
    others_go_on(&server).await;
    drop(release);
    while states(&server).await != all(&[("late", "running"), ("quick", "running")]) {
        tokio::task::yield_now().await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_batch_that_does_not_end_keeps_nobody_waiting_who_looks() {
    let hanging = Hanging::default();
    let server = started(&hanging).await;
    json(put(&server, "busy", json!({ "input": "other", "model": "quick" })).await.unwrap()).await;
    let release = hanging.shut();
    server.say("other", "hold").await;
    hanging.reached().await;
    let changed = json!({ "input": "other", "model": "quick", "max_batch_size": 3 });
    let putting = put(&server, "busy", changed);
    while states(&server).await != all(&[("busy", "starting"), ("quick", "running")]) {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&server, "/v1/stages/busy").await["max_batch_size"], 3);
    others_go_on(&server).await;
    // Whoever changes waits for the change before: this one removes what that one makes.
    let removal = server.client.delete(server.url("/v1/stages/busy"));
    let removing = tokio::spawn(async move { removal.send().await.unwrap() });
    others_go_on(&server).await;
    assert!(!putting.is_finished() && !removing.is_finished());
    drop(release);
    assert_eq!(putting.await.unwrap().status(), StatusCode::OK);
    assert_eq!(removing.await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(states(&server).await, all(&[("quick", "running")]));
    assert_eq!(server.records("out", 0).await.iter().filter(|r| r["value"] == "hold").count(), 1);
    server.end().await;
}

#[tokio::test]
async fn other_stages_are_changed_while_one_waits_for_its_model_or_its_batch() {
    let hanging = Hanging::default();
    let server = started(&hanging).await;
    for stage in ["busy", "third"] {
        let config = json!({ "input": "other", "model": "quick" });
        json(put(&server, stage, config).await.unwrap()).await;
    }
    let release = hanging.shut();
    // One waits for a model that loads, one for a batch that does not end.
    let loading = put(&server, "slow", json!({ "input": "other", "model": "slow" }));
    hanging.reached().await;
    server.say("other", "hold").await;
    while hanging.waiting.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    let changed = json!({ "input": "other", "model": "quick", "max_batch_size": 3 });
    let ending = put(&server, "busy", changed);
    while get(&server, "/v1/stages/busy").await["status"]["state"] != "starting" {
        tokio::task::yield_now().await;
    }

    for verb in ["pause", "resume"] {
        let path = format!("/v1/stages/quick:{verb}");
        json(server.post(&path).send().await.unwrap()).await;
    }
    let changed = json!({ "input": "in", "model": "quick", "max_batch_size": 2 });
    json(put(&server, "quick", changed).await.unwrap()).await;
    // An alias and a version of a model that none of those uses which wait.
    for version in ["1", "2"] {
        let path = format!("/v1/models/unused/versions/{version}");
        json(server.put(&path).body("x").send().await.unwrap()).await;
    }
    let alias = server.put("/v1/models/unused/aliases/champion").body(r#"{"version":"2"}"#);
    json(alias.send().await.unwrap()).await;
    let gone = server.client.delete(server.url("/v1/models/unused/versions/1"));
    assert_eq!(gone.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    others_go_on(&server).await;
    let removal = server.client.delete(server.url("/v1/stages/quick"));
    assert_eq!(removal.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert!(!loading.is_finished() && !ending.is_finished());

    // A version whose model a change is about to use has to wait for it, and is in use then.
    let taking = server.client.delete(server.url("/v1/models/slow/versions/1"));
    let taking = tokio::spawn(async move { taking.send().await.unwrap() });
    others_look(&server).await;
    assert!(!taking.is_finished());
    drop(release);
    assert_eq!(loading.await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(ending.await.unwrap().status(), StatusCode::OK);
    problem(taking.await.unwrap(), 409, "model_in_use").await;
    server.end().await;
}

async fn others_look(server: &Running) {
    for _ in 0..10 {
        get(server, "/v1/stages").await;
    }
}

#[tokio::test]
async fn two_stages_that_are_put_at_once_do_not_make_a_circle() {
    let hanging = Hanging::default();
    let server = started(&hanging).await;
    let release = hanging.shut();
    let there = put(&server, "there", json!({ "input": "other", "output": "in", "model": "slow" }));
    let back = put(&server, "back", json!({ "input": "in", "output": "other", "model": "slow" }));
    hanging.reached().await;
    assert!(!there.is_finished() && !back.is_finished());
    drop(release);
    let mut statuses = [there.await.unwrap().status(), back.await.unwrap().status()];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::CREATED, StatusCode::BAD_REQUEST]);
    server.end().await;
}

#[tokio::test]
async fn stages_stop_although_a_model_still_loads() {
    let hanging = Hanging::default();
    let kept = Mutex::new(None);
    let server = start_serving(async |broker, data| {
        let serving = serving(&hanging, broker, data).await;
        *kept.lock() = Some(serving.clone());
        serving
    });
    let server = furnished(server.await).await;
    let serving = kept.lock().take().unwrap();
    let release = hanging.shut();
    let putting = put(&server, "slow", json!({ "input": "other", "model": "slow" }));
    hanging.reached().await;
    let pushing = server.put("/v1/models/slow/versions/2").body("x");
    let pushing = tokio::spawn(async move { pushing.send().await.unwrap() });
    while hanging.waiting.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    serving.models.stop();
    serving.stages.stop().await;
    problem(putting.await.unwrap(), 503, "shutting_down").await;
    problem(pushing.await.unwrap(), 503, "shutting_down").await;
    // The test's runtime would wait for them.
    drop(release);
    server.end().await;
}

#[tokio::test]
async fn a_registration_whose_caller_goes_away_is_done_to_its_end() {
    let hanging = Hanging::default();
    let server = started(&hanging).await;
    let release = hanging.shut();
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let version = "/v1/models/slow/versions/2";
    let register = client.put(server.url(version)).body("y").send();
    let caller = tokio::spawn(register);
    hanging.reached().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    // Behind the reset on the same connection.
    assert_eq!(client.get(server.url("/livez")).send().await.unwrap().status(), StatusCode::OK);
    drop(release);
    while server.get(version).send().await.unwrap().status() != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_change_of_models_that_nobody_waited_for_becomes_known() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path(), Options::default()).unwrap();
    let loader = Arc::new(Hanging::default());
    let models = Arc::new(Models::open(&broker, dir.path(), loader).await.unwrap());
    let (model, version) = ("quick".parse().unwrap(), "1".parse().unwrap());
    let sent = models.upload().unwrap();
    std::fs::write(sent.path(), "x").unwrap();
    models.register(&model, &version, sent.path(), None).await.unwrap();

    let journal = broker.topic(&models::TOPIC.parse().unwrap()).unwrap();
    let knows =
        |alias: &Alias| models.registry().model(&model).unwrap().aliases.contains_key(alias);
    let mut number = 0;
    let alias: Alias = loop {
        number += 1;
        let alias: Alias = format!("alias-{number}").parse().unwrap();
        let end = journal.partitions[0].end();
        let mut change = Box::pin(models.set_alias(&model, &alias, &version));
        // Dropped behind its commit; when it is done by then, once more with another one.
        while journal.partitions[0].end() == end && poll!(&mut change).is_pending() {
            tokio::task::yield_now().await;
        }
        drop(change);
        if !knows(&alias) {
            break alias;
        }
    };
    let stages = Roster::open(&broker, Arc::clone(&models)).await.unwrap();
    let tended = stages.tend();
    let known = async {
        while !knows(&alias) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = tended => {}
        () = known => {}
    }
    assert!(knows(&alias));
}
