//! `/v1/models` and `/v1/stages`, with models that need no inference engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use embermq::models::{Loader, Models};
use embermq::{Broker, Fault, Identity, Output, Processor, Record, Roster};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Running, start_serving};

/// A model's file says what it puts before each value; one that says `broken` cannot be loaded, and one that says `frail` only tried out.
#[derive(Debug)]
struct Prefixes;

#[derive(Debug)]
struct Prefix(Identity, String);

impl Loader for Prefixes {
    fn load(&self, folder: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>> {
        let text = std::fs::read_to_string(folder.join("model.onnx"));
        let text = text.map_err(|error| vec![error.to_string()])?;
        if text == "broken" {
            return Err(vec!["operator Foo is not supported".into(), "operator Bar too".into()]);
        }
        if text == "frail" {
            return Err(vec!["no memory is left".into()]);
        }
        Ok(Arc::new(Prefix(identity, text)))
    }

    fn try_out(&self, folder: &Path, identity: Identity) -> Result<(), Vec<String>> {
        match std::fs::read_to_string(folder.join("model.onnx")) {
            Ok(text) if text == "frail" => Ok(()),
            _ => self.load(folder, identity).map(drop),
        }
    }
}

impl Processor for Prefix {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>> {
        let one = |record: &Record| {
            let value = record.value.clone().unwrap_or_default();
            let value = [self.1.as_bytes(), &value].concat().into();
            let content_type = "text/plain".into();
            let took = Duration::ZERO;
            Ok(Output { value, content_type, nonfinite: false, took, batch_size: None })
        };
        batch.iter().map(one).collect()
    }
}

async fn serving(broker: Broker, data: PathBuf) -> embermq::http::Serving {
    let models = Models::open(&broker, &data, Arc::new(Prefixes)).await.unwrap();
    let models = Arc::new(models);
    let stages = Arc::new(Roster::open(&broker, Arc::clone(&models)).await.unwrap());
    embermq::http::Serving { models, stages }
}

pub(crate) async fn started() -> Running {
    start_serving(serving).await
}

/// A body, whatever the status.
async fn any(answer: reqwest::Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

pub(crate) async fn register(server: &Running, place: &str, body: &str) -> (StatusCode, Value) {
    let request = server.put(&format!("/v1/models/{place}")).body(body.to_owned());
    let answer = request.send().await.unwrap();
    (answer.status(), any(answer).await)
}

async fn put(server: &Running, path: &str, body: Value) -> (StatusCode, Value) {
    let answer = server.put(path).body(body.to_string()).send().await.unwrap();
    (answer.status(), any(answer).await)
}

async fn get(server: &Running, path: &str) -> (StatusCode, Value) {
    let answer = server.get(path).send().await.unwrap();
    (answer.status(), any(answer).await)
}

/// The values of a topic, once there are so many.
async fn values(server: &Running, topic: &str, count: usize) -> Vec<String> {
    let mut from = 0;
    let mut values: Vec<String> = Vec::new();
    while values.len() < count {
        let path = format!("/v1/topics/{topic}/records?offset={from}&wait=20s");
        let (_, page) = get(server, &path).await;
        let records = page["records"].as_array().unwrap();
        assert!(!records.is_empty(), "{topic}: {values:?}");
        values.extend(records.iter().map(|record| record["value"].as_str().unwrap().to_owned()));
        from = page["next_offset"].as_u64().unwrap();
    }
    values
}

#[tokio::test]
async fn files_that_the_disk_changed_are_never_run_and_the_same_files_again_replace_them() {
    let server = started().await;
    let (status, one) = register(&server, "m/versions/1", "a-").await;
    assert_eq!(status, StatusCode::CREATED, "{one}");
    let digest = one["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let folder = server.data().join("models").join(digest);
    std::fs::write(folder.join("model.onnx"), "b-").unwrap();

    for name in ["in", "out"] {
        put(&server, &format!("/v1/topics/{name}"), json!({})).await;
    }
    let stage = json!({"input": "in", "output": "out", "model": "m@1"});
    let (status, refused) = put(&server, "/v1/stages/s", stage.clone()).await;
    assert!(!status.is_success(), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("model.onnx is damaged") && told.contains("same files"), "{told}");

    let (status, again) = register(&server, "m/versions/1", "a-").await;
    assert_eq!(status, StatusCode::OK, "{again}");
    let (status, made) = put(&server, "/v1/stages/s", stage).await;
    assert!(status.is_success(), "{made}");
    let sent = server.post("/v1/topics/in/records").body("x").send().await.unwrap();
    assert!(sent.status().is_success());
    assert_eq!(values(&server, "out", 1).await, ["a-x"]);
    let left = std::fs::read_dir(server.data().join("models")).unwrap().count();
    assert_eq!(left, 1, "what was damaged is gone");
}

#[tokio::test]
async fn versions_are_registered_once_and_found_by_alias() {
    let server = started().await;
    let (status, one) = register(&server, "m/versions/1", "a-").await;
    assert_eq!(status, StatusCode::CREATED, "{one}");
    assert_eq!(one["bytes"], 2);
    let digest = one["digest"].as_str().unwrap().to_owned();
    let (status, again) = register(&server, "m/versions/1", "a-").await;
    assert_eq!((status, &again), (StatusCode::OK, &one));
    let (status, problem) = register(&server, "m/versions/1", "other").await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("model_exists")));

    let hex = digest.strip_prefix("sha256:").unwrap();
    let (status, _) = register(&server, &format!("m/versions/2?sha256={hex}"), "a-").await;
    assert_eq!(status, StatusCode::CREATED);
    let wrong = "0".repeat(64);
    let (status, problem) = register(&server, &format!("m/versions/3?sha256={wrong}"), "a-").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["code"], "digest_mismatch");
    let detail = format!("the files have the digest {hex}, announced was {wrong}; nothing was");
    assert!(problem["detail"].as_str().unwrap().starts_with(&detail), "{problem}");

    let champion = json!({ "version": "1" });
    let (status, _) = put(&server, "/v1/models/m/aliases/champion", champion).await;
    assert_eq!(status, StatusCode::OK);
    let (status, problem) = get(&server, "/v1/models/m/versions/9").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
    assert_eq!(problem["detail"], "model m has no version \"9\"; it has 1, 2");
    assert_eq!(problem["details"]["versions"], json!(["1", "2"]));
    let (status, problem) = get_deleted(&server, "/v1/models/m/aliases/prod").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
    assert!(problem["detail"].as_str().unwrap().contains("PUT /v1/models/m/aliases/prod"));
    // A name means one thing.
    let (status, problem) = put(&server, "/v1/models/m/aliases/1", json!({ "version": "2" })).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("model_name_taken")), "{problem}");
    let (status, problem) = register(&server, "m/versions/champion", "c-").await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("model_name_taken")), "{problem}");
    let (_, model) = get(&server, "/v1/models/m").await;
    assert_eq!(model["aliases"], json!({ "champion": "1" }));
    assert_eq!(model["versions"].as_array().unwrap().len(), 2);
    let (_, before) = get(&server, "/v1/models?as_of=0").await;
    assert_eq!(before["models"][0]["versions"].as_array().unwrap().len(), 1);
    assert_eq!(before["models"][0]["aliases"], json!({}));
    let time = model["versions"][1]["registered"].as_str().unwrap();
    let (_, then) = get(&server, &format!("/v1/models?as_of={time}")).await;
    assert_eq!(then["models"][0]["versions"].as_array().unwrap().len(), 2);
    assert_eq!(then["models"][0]["aliases"], json!({}));
    let (_, never) = get(&server, "/v1/models?as_of=2020-01-01T00:00:00Z").await;
    assert_eq!(never, json!({ "models": [] }));
    let (status, problem) = get(&server, "/v1/models?as_of=99").await;
    assert_eq!((status.as_u16(), &problem["code"]), (416, &json!("offset_out_of_range")));
    let (status, _) = get(&server, "/v1/models?as_of=yesterday").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_no_model_is_refused_with_all_its_problems() {
    let server = started().await;
    let (status, problem) = register(&server, "m/versions/1", "broken").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["code"], "model_unusable");
    let problems = json!(["operator Foo is not supported", "operator Bar too"]);
    assert_eq!(problem["details"]["problems"], problems);
    let (status, problem) = register(&server, "m/versions/1", "").await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("malformed_body")));
    let (status, problem) = register(&server, "m%20m/versions/1", "x").await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_argument")));
    let (status, problem) = get(&server, "/v1/models/m").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
    let (_, all) = get(&server, "/v1/models").await;
    assert_eq!(all, json!({ "models": [] }));
}

#[tokio::test]
async fn a_stage_answers_what_is_produced_and_follows_its_alias() {
    let server = started().await;
    server.topic("in", 1).await;
    server.topic("out", 1).await;
    register(&server, "m/versions/1", "a-").await;
    register(&server, "m/versions/2", "b-").await;
    put(&server, "/v1/models/m/aliases/champion", json!({ "version": "1" })).await;
    let config = json!({ "input": "in", "output": "out", "model": "m@champion" });
    let (status, stage) = put(&server, "/v1/stages/s", config.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{stage}");
    assert_eq!(stage["status"]["model"], "m@1");
    server.say("in", "x").await;
    assert_eq!(values(&server, "out", 1).await, ["a-x"]);

    let (status, problem) = get_deleted(&server, "/v1/models/m/versions/1").await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("model_in_use")));
    put(&server, "/v1/models/m/aliases/champion", json!({ "version": "2" })).await;
    server.say("in", "y").await;
    assert_eq!(values(&server, "out", 2).await, ["a-x", "b-y"]);
    let (_, stage) = get(&server, "/v1/stages/s").await;
    assert_eq!(stage["status"]["model"], "m@2");
    let (status, _) = get_deleted(&server, "/v1/models/m/versions/1").await;
    assert_eq!(status, StatusCode::NO_CONTENT);

    let paused = server.post("/v1/stages/s:pause").send().await.unwrap();
    assert_eq!(any(paused).await["status"]["state"], "paused");
    while get(&server, "/v1/stages/s").await.1["status"]["at_rest"] != json!(true) {}
    server.say("in", "z").await;
    let resumed = server.post("/v1/stages/s:resume").send().await.unwrap();
    assert_eq!(any(resumed).await["status"]["state"], "running");
    assert_eq!(values(&server, "out", 3).await, ["a-x", "b-y", "b-z"]);

    let (status, _) = put(&server, "/v1/stages/s", config).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = get_deleted(&server, "/v1/stages/s").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, problem) = get(&server, "/v1/stages/s").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("stage_not_found")));
}

#[tokio::test]
async fn a_stage_that_cannot_follow_keeps_its_model_and_is_nobody_elses_failure() {
    let server = started().await;
    server.topic("in", 1).await;
    server.topic("out", 1).await;
    register(&server, "m/versions/1", "a-").await;
    register(&server, "m/versions/2", "frail").await;
    register(&server, "m/versions/3", "c-").await;
    let mean = async |version: &str| {
        let meaning = json!({ "version": version });
        put(&server, "/v1/models/m/aliases/prod", meaning).await.0.as_u16()
    };
    assert_eq!(mean("1").await, 200);
    let config = json!({ "input": "in", "output": "out", "model": "m@prod" });
    let (status, stage) = put(&server, "/v1/stages/s", config).await;
    assert_eq!(status, StatusCode::CREATED, "{stage}");
    assert!(stage["status"]["cannot_follow"].is_null(), "{stage}");

    assert_eq!(mean("2").await, 200, "the alias was set");
    let (status, _) = register(&server, "unrelated/versions/1", "u-").await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, _) = register(&server, "m/versions/4", "d-").await;
    assert_eq!(status, StatusCode::CREATED);
    let (_, stage) = get(&server, "/v1/stages/s").await;
    let status = &stage["status"];
    assert_eq!((&status["state"], &status["model"]), (&json!("running"), &json!("m@1")));
    let why = status["cannot_follow"].as_str().unwrap();
    assert!(why.contains("no memory is left"), "{why}");
    server.say("in", "x").await;
    assert_eq!(values(&server, "out", 1).await, ["a-x"]);

    // Both are in use: what its alias means, and what runs.
    for version in ["1", "2"] {
        let path = format!("/v1/models/m/versions/{version}");
        let (status, problem) = get_deleted(&server, &path).await;
        assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("model_in_use")), "{problem}");
        assert_eq!(problem["details"]["by"], "stage s");
    }
    assert_eq!(mean("3").await, 200);
    let (_, stage) = get(&server, "/v1/stages/s").await;
    assert_eq!(stage["status"]["model"], "m@3");
    assert!(stage["status"]["cannot_follow"].is_null(), "{stage}");
    for version in ["1", "2"] {
        let path = format!("/v1/models/m/versions/{version}");
        assert_eq!(get_deleted(&server, &path).await.0, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn an_alias_that_stages_name_stays() {
    let server = started().await;
    server.topic("in", 1).await;
    server.topic("out", 1).await;
    register(&server, "m/versions/1", "a-").await;
    register(&server, "m/versions/2", "b-").await;
    for alias in ["prod", "champion"] {
        let path = format!("/v1/models/m/aliases/{alias}");
        put(&server, &path, json!({ "version": "1" })).await;
    }
    for (stage, model) in [("a", "m@prod"), ("b", "m@prod"), ("c", "m")] {
        let config = json!({ "input": "in", "output": "out", "model": model });
        let (status, problem) = put(&server, &format!("/v1/stages/{stage}"), config).await;
        assert_eq!(status, StatusCode::CREATED, "{problem}");
    }
    let (status, problem) = get_deleted(&server, "/v1/models/m/aliases/prod").await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("model_in_use")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("named by stages a, b"), "{problem}");
    // Nobody names this one: who names none has the latest version then, at once.
    let (status, _) = get_deleted(&server, "/v1/models/m/aliases/champion").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (_, stage) = get(&server, "/v1/stages/c").await;
    assert_eq!(stage["status"]["model"], "m@2");
    for stage in ["a", "b"] {
        get_deleted(&server, &format!("/v1/stages/{stage}")).await;
    }
    let (status, _) = get_deleted(&server, "/v1/models/m/aliases/prod").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_version_that_an_alias_means_stays() {
    let server = started().await;
    register(&server, "m/versions/1", "a-").await;
    register(&server, "m/versions/2", "b-").await;
    let mean = async |version: &str| {
        put(&server, "/v1/models/m/aliases/champion", json!({ "version": version })).await.0
    };
    assert_eq!(mean("2").await, StatusCode::OK);
    let (status, problem) = get_deleted(&server, "/v1/models/m/versions/2").await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("model_in_use")), "{problem}");
    assert_eq!(problem["details"]["by"], "alias champion");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("/v1/models/m/aliases/"), "{detail}");
    let (_, model) = get(&server, "/v1/models/m").await;
    assert_eq!(model["aliases"], json!({ "champion": "2" }));
    assert_eq!(model["versions"].as_array().unwrap().len(), 2);
    assert_eq!(mean("1").await, StatusCode::OK);
    let (status, _) = get_deleted(&server, "/v1/models/m/versions/2").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = get_deleted(&server, "/v1/models/m/versions/1").await;
    assert_eq!(status, StatusCode::CONFLICT);
    get_deleted(&server, "/v1/models/m/aliases/champion").await;
    let (status, _) = get_deleted(&server, "/v1/models/m/versions/1").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn settings_that_a_group_refuses_leave_the_stage_at_work() {
    let server = started().await;
    server.topic("in", 1).await;
    server.topic("out", 1).await;
    register(&server, "m/versions/1", "a-").await;
    let good = json!({ "input": "in", "output": "out", "model": "m" });
    let (status, stage) = put(&server, "/v1/stages/s", good.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{stage}");
    server.say("in", "x").await;
    assert_eq!(values(&server, "out", 1).await, ["a-x"]);
    let cases = [
        (json!({ "filter": "bogus ~ 3" }), "filter \"bogus ~ 3\": "),
        (
            json!({ "filter": format!("has {}", "x".repeat(100_000)) }),
            "the filter has 100004 bytes",
        ),
        (json!({ "backoff": { "multiplier": -3 } }), "backoff.multiplier is -3"),
        (json!({ "backoff": { "initial": "0s", "multiplier": 0.5 } }), "backoff.initial is 0ns"),
        (json!({ "dead_letter_topic": "in" }), "dead_letter_topic: the dead letters of group s"),
        (json!({ "dead_letter_topic": "out" }), "dead_letter_topic: out is the output too"),
    ];
    for (change, detail) in cases {
        let mut config = good.clone();
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, problem) = put(&server, "/v1/stages/s", config).await;
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (400, &json!("invalid_argument")),
            "{problem}"
        );
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    }
    let (_, after) = get(&server, "/v1/stages/s").await;
    assert_eq!(after["status"]["state"], "running", "{after}");
    assert!(after["filter"].is_null() && after["backoff"].is_null(), "{after}");
    // The same one, not another that was started after it.
    assert_eq!(after["status"]["succeeded"], 1, "{after}");
    server.say("in", "y").await;
    assert_eq!(values(&server, "out", 2).await, ["a-x", "a-y"]);
}

async fn get_deleted(server: &Running, path: &str) -> (StatusCode, Value) {
    let answer = server.client.delete(server.url(path)).send().await.unwrap();
    let status = answer.status();
    if status == StatusCode::NO_CONTENT {
        return (status, Value::Null);
    }
    (status, any(answer).await)
}

#[tokio::test]
async fn a_stage_takes_no_group_from_anybody_and_finds_its_own_again() {
    let server = started().await;
    for topic in ["in", "other", "out"] {
        server.topic(topic, 1).await;
    }
    register(&server, "m/versions/1", "a-").await;
    let group = "/v1/topics/in/groups/team";
    let of_workers = json!({ "ordering": "partition", "max_attempts": 50, "filter": "has x" });
    let (_, before) = put(&server, group, of_workers).await;
    let from = |topic: &str| json!({ "input": topic, "output": "out", "model": "m" });
    let refused = async || {
        let (status, problem) = put(&server, "/v1/stages/team", from("in")).await;
        assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("group_exists")), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("somebody else made"), "{detail}");
        assert!(detail.contains("DELETE /v1/topics/in/groups/team"), "{detail}");
    };
    refused().await;
    assert_eq!(get(&server, "/v1/stages/team").await.0, StatusCode::NOT_FOUND);
    let (_, after) = get(&server, group).await;
    assert_eq!(
        (&after["settings"], &after["settings"]["max_attempts"]),
        (&before["settings"], &json!(50))
    );

    // Nobody has it on another topic; and a stage that goes over to this one does not take it either.
    let (status, stage) = put(&server, "/v1/stages/team", from("other")).await;
    assert_eq!(status, StatusCode::CREATED, "{stage}");
    server.say("other", "1").await;
    assert_eq!(values(&server, "out", 1).await, ["a-1"]);
    refused().await;
    assert_eq!(get_deleted(&server, group).await.0, StatusCode::NO_CONTENT);
    assert_eq!(put(&server, "/v1/stages/team", from("in")).await.0, StatusCode::OK);

    // Where it was before, it goes on, removed or not, after a restart as well.
    assert_eq!(get_deleted(&server, "/v1/stages/team").await.0, StatusCode::NO_CONTENT);
    server.say("other", "2").await;
    server.say("in", "3").await;
    assert_eq!(put(&server, "/v1/stages/team", from("other")).await.0, StatusCode::CREATED);
    assert_eq!(values(&server, "out", 2).await, ["a-1", "a-2"]);
    assert_eq!(get_deleted(&server, "/v1/stages/team").await.0, StatusCode::NO_CONTENT);
    let server = server.restarted(serving).await;
    assert_eq!(put(&server, "/v1/stages/team", from("in")).await.0, StatusCode::CREATED);
    assert_eq!(values(&server, "out", 3).await, ["a-1", "a-2", "a-3"]);

    // A group that workers made since is not the one that it left.
    assert_eq!(get_deleted(&server, "/v1/stages/team").await.0, StatusCode::NO_CONTENT);
    assert_eq!(get_deleted(&server, group).await.0, StatusCode::NO_CONTENT);
    put(&server, group, json!({ "ordering": "partition" })).await;
    let (status, problem) = put(&server, "/v1/stages/team", from("in")).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("group_exists")), "{problem}");
}

#[tokio::test]
async fn what_is_no_stage_is_refused() {
    let server = started().await;
    server.topic("in", 1).await;
    server.topic("out", 1).await;
    register(&server, "m/versions/1", "a-").await;
    let good = json!({ "input": "in", "output": "out", "model": "m" });
    let (status, _) = put(&server, "/v1/stages/one", good.clone()).await;
    assert_eq!(status, StatusCode::CREATED);
    // The one that is there has a group with order by partition.
    let other = json!({ "input": "in", "output": "out", "model": "m", "ordering": "key" });
    let (status, problem) = put(&server, "/v1/stages/one", other).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("group_exists")), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("ordering is partition and cannot change, the stage wants key"));
    let cases = [
        (json!({ "model": "m@9" }), 404, "model_not_found", "neither a version nor an alias \"9\""),
        (json!({ "model": "x@9" }), 404, "model_not_found", "there is no model \"x\""),
        (json!({ "model": "" }), 400, "invalid_argument", "model: model name \"\" is empty"),
        (json!({ "input": "nowhere" }), 404, "topic_not_found", "there is no topic \"nowhere\""),
        (json!({ "output": "nowhere" }), 404, "topic_not_found", "there is no topic \"nowhere\""),
        (json!({ "output": "in" }), 400, "invalid_argument", "would read what it writes"),
        (json!({ "output": "_x" }), 400, "invalid_argument", "the broker's own"),
        (
            json!({ "input": "out", "output": "in" }),
            400,
            "invalid_argument",
            "would come back to it, over out -> in -> out",
        ),
        (
            json!({ "input": "out", "output": "other", "dead_letter_topic": "in" }),
            400,
            "invalid_argument",
            "would come back to it, over out -> in -> out",
        ),
        (
            json!({ "max_batch_size": 0 }),
            400,
            "invalid_argument",
            "max_batch_size is 0; it can be 1 to 1024",
        ),
        (
            json!({ "max_queue_delay": "2m" }),
            400,
            "invalid_argument",
            "max_queue_delay is 120s; it can be 0 to 1 min",
        ),
        (json!({ "timeout": "never" }), 400, "malformed_body", "write a number and a unit"),
        (json!({ "outptu": "x" }), 400, "malformed_body", "unknown field `outptu`"),
    ];
    for (change, status, code, detail) in cases {
        let mut config = good.clone();
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (found, problem) = put(&server, "/v1/stages/two", config).await;
        assert_eq!(
            (found.as_u16(), &problem["code"]),
            (status, &json!(code)),
            "{change} {problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{change} {problem}");
    }
    let (_, all) = get(&server, "/v1/stages").await;
    assert_eq!(all["stages"].as_array().unwrap().len(), 1);
    let answer = server.post("/v1/stages/one:dance").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
