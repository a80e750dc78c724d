//! `records:call` and `/v1/requests`: one request that is produced and answered, and what can be asked of it later.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use embermq::models::{Loader, Models};
use embermq::{Broker, Fault, Identity, Output, Processor, Record, Roster};
use parking_lot::Mutex;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Running, json, problem, start_serving};

/// A model's file says what it puts before each value. `bad` is refused for good, `weak` fails, `hold` waits to be let go.
#[derive(Clone, Debug, Default)]
struct Prefixes(Gate);

/// Where `hold` waits.
type Gate = Arc<Mutex<Option<mpsc::Receiver<()>>>>;

#[derive(Debug)]
struct Prefix {
    identity: Identity,
    text: String,
    gate: Gate,
}

impl Loader for Prefixes {
    fn load(&self, folder: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>> {
        let text = std::fs::read_to_string(folder.join("model.onnx"));
        let text = text.map_err(|error| vec![error.to_string()])?;
        Ok(Arc::new(Prefix { identity, text, gate: Arc::clone(&self.0) }))
    }
}

impl Processor for Prefix {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let one = |record: &Record| {
            let value = record.value.clone().unwrap_or_default();
            let fault = |retryable, code: &str| {
                Err(Fault { retryable, code: code.to_owned(), message: "as asked".to_owned() })
            };
            match &value[..] {
                b"bad" => return fault(false, "decode"),
                b"weak" => return fault(true, "device"),
                b"hold" => {
                    if let Some(gate) = &*self.gate.lock() {
                        gate.recv().ok();
                    }
                }
                _ => {}
            }
            let value = [self.text.as_bytes(), &value].concat().into();
            let content_type = "text/plain".into();
            let took = Duration::ZERO;
            Ok(Output { value, content_type, nonfinite: false, took, batch_size: None })
        };
        batch.iter().map(one).collect()
    }
}

async fn serving(loader: &Prefixes, broker: Broker, data: PathBuf) -> embermq::http::Serving {
    let models = Models::open(&broker, &data, Arc::new(loader.clone())).await.unwrap();
    let models = Arc::new(models);
    let stages = Arc::new(Roster::open(&broker, Arc::clone(&models)).await.unwrap());
    let tended = Arc::clone(&stages);
    tokio::spawn(async move { tended.tend().await });
    embermq::http::Serving { models, stages }
}

/// A server with the topics `in` and `out`, and the stage `s` between them.
async fn started(partitions: u32) -> Running {
    started_with(&Prefixes::default(), partitions).await
}

async fn started_with(loader: &Prefixes, partitions: u32) -> Running {
    let server = start_serving(async |broker, data| serving(loader, broker, data).await).await;
    server.topic("in", partitions).await;
    server.topic("out", partitions).await;
    register(&server, "m", "a-").await;
    attach(&server, "s", json!({})).await;
    server
}

async fn register(server: &Running, model: &str, text: &str) {
    let path = format!("/v1/models/{model}/versions/1");
    let answer = server.put(&path).body(text.to_owned()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
}

async fn attach(server: &Running, stage: &str, more: Value) {
    let mut config = json!({
        "input": "in", "output": "out", "model": "m", "instances": 2, "max_attempts": 2,
        "backoff": { "initial": "1ms", "max": "1ms" },
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json(server.put(&format!("/v1/stages/{stage}")).json(&config).send().await.unwrap()).await;
}

fn call(server: &Running, query: &str, text: &str) -> RequestBuilder {
    call_waiting(server, query, text, 30)
}

fn call_waiting(server: &Running, query: &str, text: &str, seconds: u32) -> RequestBuilder {
    let request = server.post(&format!("/v1/topics/in/records:call{query}"));
    request.body(text.to_owned()).header("Prefer", format!("wait={seconds}"))
}

fn head<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// What is known of a request, waiting for its end.
async fn end_of(server: &Running, location: &str) -> Value {
    json(server.get(location).header("Prefer", "wait=30").send().await.unwrap()).await
}

#[tokio::test]
async fn a_call_is_answered_with_what_the_stage_makes_of_it() {
    let server = started(1).await;
    let request = call(&server, "", "x").header("Key", "k").header("X-Call", "forged");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let expected = [
        ("content-type", "text/plain"),
        ("partition", "0"),
        ("offset", "0"),
        ("x-model", "m@1"),
        ("x-stage", "s"),
        ("x-input", "in/0/0"),
        ("x-output", "out/0/0"),
        ("x-attempt", "1"),
        ("x-content-type-options", "nosniff"),
        ("preference-applied", "wait=30"),
    ];
    for (name, value) in expected {
        assert_eq!(head(&answer, name), value, "{name}");
    }
    let location = head(&answer, "location").to_owned();
    assert_eq!(answer.text().await.unwrap(), "a-x");
    let input = server.records("in", 0).await.remove(0);
    assert_eq!((&input["key"], &input["headers"]["x-call"]), (&json!("k"), &json!("s")));

    let shown = end_of(&server, &location).await;
    assert_eq!(shown["state"], "succeeded");
    assert_eq!((&shown["topic"], &shown["offset"]), (&json!("in"), &json!(0)));
    assert_eq!(shown["result"]["value"], "a-x");
    assert_eq!(shown["result"]["topic"], "out");
    assert_eq!(location, format!("/v1/requests/{}", shown["id"].as_str().unwrap()));
    server.end().await;
}

#[tokio::test]
async fn a_call_whose_record_fails_for_good_says_where_it_ended() {
    let server = started(1).await;
    for (offset, (value, reason, error, attempts)) in
        [("bad", "rejected", "decode: as asked", 1), ("weak", "failed", "device: as asked", 2)]
            .into_iter()
            .enumerate()
    {
        let answer = call(&server, "", value).send().await.unwrap();
        let location = head(&answer, "location").to_owned();
        let problem = problem(answer, 422, "dead_lettered").await;
        let details = &problem["details"];
        assert_eq!((&details["reason"], &details["error"]), (&json!(reason), &json!(error)));
        let letter = json!({
            "topic": "in.s.dlq", "partition": 0, "offset": offset,
            "reason": reason, "error": error, "attempts": attempts,
        });
        assert_eq!(details["dead_letter"], letter);
        assert_eq!((&details["topic"], &details["offset"]), (&json!("in"), &json!(offset)));
        let shown = end_of(&server, &location).await;
        assert_eq!((&shown["state"], &shown["dead_letter"]), (&json!("dead_lettered"), &letter));
    }
    server.end().await;
}

async fn pause(server: &Running, verb: &str) {
    json(server.post(&format!("/v1/stages/s:{verb}")).send().await.unwrap()).await;
}

/// Produces without waiting: where to ask.
async fn put_off(server: &Running, text: &str) -> String {
    let answer = call_waiting(server, "", text, 0).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(
        (head(&answer, "retry-after"), head(&answer, "preference-applied")),
        ("1", "wait=0")
    );
    let location = head(&answer, "location").to_owned();
    let body: Value = json(answer).await;
    assert_eq!(body["state"], "queued", "{body}");
    location
}

#[tokio::test]
async fn what_is_not_answered_in_time_can_be_asked_for() {
    let server = started(1).await;
    pause(&server, "pause").await;
    let location = put_off(&server, "x").await;
    let queued = json(server.get(&location).send().await.unwrap()).await;
    assert_eq!(queued["state"], "queued");
    let waiting = tokio::spawn({
        let request = server.get(&location).header("Prefer", "wait=30");
        async move { json(request.send().await.unwrap()).await }
    });
    pause(&server, "resume").await;
    let shown = waiting.await.unwrap();
    assert_eq!((&shown["state"], &shown["result"]["value"]), (&json!("succeeded"), &json!("a-x")));
    server.end().await;
}

#[tokio::test]
async fn a_request_is_known_after_a_restart() {
    let loader = Prefixes::default();
    let server = started_with(&loader, 1).await;
    let answered = call(&server, "", "one").send().await.unwrap();
    let one = head(&answered, "location").to_owned();
    pause(&server, "pause").await;
    let two = put_off(&server, "two").await;
    let server = server.restarted(async |broker, data| serving(&loader, broker, data).await).await;
    assert_eq!(end_of(&server, &one).await["result"]["value"], "a-one");
    assert_eq!(json(server.get(&two).send().await.unwrap()).await["state"], "queued");
    pause(&server, "resume").await;
    assert_eq!(end_of(&server, &two).await["result"]["value"], "a-two");
    let server = server.restarted(async |broker, data| serving(&loader, broker, data).await).await;
    assert_eq!(end_of(&server, &two).await["result"]["value"], "a-two");
    server.end().await;
}

#[tokio::test]
async fn a_record_that_is_worked_on_is_running_and_a_closing_server_waits_for_nobody() {
    let loader = Prefixes::default();
    let (release, held) = mpsc::channel();
    *loader.0.lock() = Some(held);
    let mut server = started_with(&loader, 1).await;
    let waiting = tokio::spawn({
        let request = call(&server, "", "hold");
        async move { request.send().await.unwrap() }
    });
    while server.group("in", "s").await["in_flight"] != 1 {
        tokio::task::yield_now().await;
    }
    // With order by partition nothing behind it is begun.
    let location = put_off(&server, "behind it").await;
    let shown = json(server.get(&location).send().await.unwrap()).await;
    assert_eq!((&shown["state"], &shown["offset"]), (&json!("queued"), &json!(1)));
    server.stop();
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let shown: Value = json(answer).await;
    assert_eq!((&shown["state"], &shown["attempt"]), (&json!("running"), &json!(1)));
    release.send(()).unwrap();
    drop(release);
    server.end().await;
}

#[tokio::test]
async fn ids_that_name_nothing_are_told_apart_from_results_that_are_gone() {
    let server = started(1).await;
    let answered = call(&server, "", "x").send().await.unwrap();
    let location = head(&answered, "location").to_owned();
    let mut changed = location.clone();
    let last = changed.pop().unwrap();
    changed.push(if last == 'A' { 'B' } else { 'A' });
    for wrong in ["/v1/requests/x", "/v1/requests/", &changed] {
        let answer = server.get(wrong).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{wrong}");
    }
    problem(server.get(&changed).send().await.unwrap(), 404, "request_not_found").await;
    let wait = server.get(&location).header("Prefer", "wait=soon").send().await.unwrap();
    problem(wait, 400, "invalid_argument").await;

    server.client.delete(server.url("/v1/topics/out")).send().await.unwrap();
    problem(server.get(&location).send().await.unwrap(), 410, "request_expired").await;
    server.client.delete(server.url("/v1/topics/in")).send().await.unwrap();
    problem(server.get(&location).send().await.unwrap(), 404, "request_not_found").await;
    server.end().await;
}

#[tokio::test]
async fn what_others_do_with_a_record_is_seen() {
    let server = started(1).await;
    pause(&server, "pause").await;
    let (refused, skipped) = (put_off(&server, "one").await, put_off(&server, "two").await);
    let lease = server.lease("in", "s", 1).await.remove(0);
    let verdict = json!({ "token": lease["token"], "reason": "by hand" });
    server.settle("in", "s:reject", verdict).await;
    let shown = end_of(&server, &refused).await;
    assert_eq!(shown["state"], "dead_lettered");
    assert_eq!(shown["dead_letter"]["error"], "by hand");
    json(server.verb("in", "s:seek", json!({ "to": "latest" })).await).await;
    assert_eq!(end_of(&server, &skipped).await["state"], "passed_over");
    // A redrive begins anew.
    json(server.verb("in", "s:redrive", json!({})).await).await;
    pause(&server, "resume").await;
    assert_eq!(end_of(&server, &refused).await["result"]["value"], "a-one");
    server.end().await;
}

#[tokio::test]
async fn a_stage_that_has_not_begun_to_read_is_to_be_called_again() {
    let server = started(1).await;
    // It makes its group again when it goes on.
    pause(&server, "pause").await;
    while json(server.get("/v1/stages/s").send().await.unwrap()).await["status"]["at_rest"] != true
    {
    }
    let gone = server.client.delete(server.url("/v1/topics/in")).send().await.unwrap();
    assert!(gone.status().is_success());
    server.topic("in", 1).await;
    let early = call(&server, "", "x").send().await.unwrap();
    assert_eq!(head(&early, "retry-after"), "1");
    let early = problem(early, 503, "starting").await;
    assert_eq!(early["retryable"], true, "{early}");
    assert_eq!(server.records("in", 0).await.len(), 0);
    pause(&server, "resume").await;
    let answer = loop {
        let answer = call(&server, "", "y").send().await.unwrap();
        if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
            break answer;
        }
    };
    assert_eq!(answer.text().await.unwrap(), "a-y");
    server.end().await;
}

#[tokio::test]
async fn the_stage_that_answers_is_the_one_that_was_asked() {
    let server = started(1).await;
    server.topic("end", 1).await;
    server.topic("alone", 1).await;
    register(&server, "n", "b-").await;
    attach(&server, "second", json!({ "input": "out", "output": "end", "model": "n" })).await;
    // In a chain the first stage reads the topic alone.
    let answer = call(&server, "", "x").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "a-x");
    attach(&server, "t", json!({ "output": "end", "model": "n" })).await;
    let several = problem(call(&server, "", "y").send().await.unwrap(), 400, "invalid_argument");
    assert_eq!(several.await["details"]["stages"], json!(["s", "t"]));
    for (stage, expected) in [("s", "a-z"), ("t", "b-z")] {
        let answer = call(&server, &format!("?stage={stage}"), "z").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), expected);
    }
    let unknown = call(&server, "?stage=second", "x").send().await.unwrap();
    problem(unknown, 404, "stage_not_found").await;
    let nobody = server.post("/v1/topics/alone/records:call").body("x").send().await.unwrap();
    problem(nobody, 404, "stage_not_found").await;
    let nowhere = server.post("/v1/topics/none/records:call").body("x").send().await.unwrap();
    problem(nowhere, 404, "topic_not_found").await;
    assert_eq!(server.records("in", 0).await.len(), 3);
    assert_eq!(server.records("alone", 0).await.len(), 0);
    server.end().await;
}

#[tokio::test]
async fn what_is_no_call_is_refused_and_produces_nothing() {
    let server = started(1).await;
    attach(&server, "s", json!({ "filter": "x-kind == \"photo\"" })).await;
    let post = || server.post("/v1/topics/in/records:call").header("X-Kind", "photo");
    let json_type = ("Content-Type", "application/json");
    let cases = [
        post().header(json_type.0, json_type.1).body(r#"{"records":[{"value":"x"}]}"#),
        post().header(json_type.0, "application/x-ndjson").body(r#"{"value":"x"}"#),
        post().header(json_type.0, "application/x-protobuf").body(""),
        post().header("Delay", "1h").body("x"),
        post().header("Prefer", "wait=ten").body("x"),
        server.post("/v1/topics/in/records:call?partitoin=0").body("x"),
        // The filter does not let it pass.
        server.post("/v1/topics/in/records:call").body("x"),
    ];
    for request in cases {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{}", answer.text().await.unwrap());
    }
    assert_eq!(server.records("in", 0).await.len(), 0);
    let method = server.get("/v1/topics/in/records:call").send().await.unwrap();
    problem(method, 405, "method_not_allowed").await;
    let event = server.post("/v1/topics/in/records:call").header("Prefer", "wait=30");
    attach(&server, "s", json!({})).await;
    let event = event.header(json_type.0, "application/cloudevents+json");
    let event = event
        .body(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"eA=="}"#);
    assert_eq!(event.send().await.unwrap().text().await.unwrap(), "a-x");
    server.end().await;
}

#[tokio::test]
async fn a_repeat_produces_nothing_and_gets_the_answer() {
    let server = started(1).await;
    let request = || call(&server, "", "x").header("Idempotency-Key", "7").send();
    let (one, two) = (request().await.unwrap(), request().await.unwrap());
    assert_eq!(head(&two, "idempotent-replayed"), "true");
    assert_eq!(head(&one, "location"), head(&two, "location"));
    assert_eq!(
        (one.text().await.unwrap(), two.text().await.unwrap()),
        ("a-x".into(), "a-x".into())
    );
    assert_eq!(server.records("in", 0).await.len(), 1);
    server.end().await;
}

#[tokio::test]
async fn of_64_callers_each_gets_its_own_answer() {
    let server = started(4).await;
    let one = async |number: usize| {
        let value = if number % 8 == 3 { "bad".to_owned() } else { format!("v{number}") };
        let answer = call(&server, "", &value).header("Key", format!("k{number}")).send().await;
        let answer = answer.unwrap();
        let location = head(&answer, "location").to_owned();
        if value == "bad" {
            problem(answer, 422, "dead_lettered").await;
        } else {
            assert_eq!(answer.text().await.unwrap(), format!("a-{value}"));
        }
        location
    };
    let mut locations = futures::future::join_all((0..64).map(one)).await;
    locations.sort_unstable();
    locations.dedup();
    assert_eq!(locations.len(), 64);
    server.end().await;
}
