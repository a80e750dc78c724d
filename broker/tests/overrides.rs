//! Two stages with one model: each says for itself how payloads are read and what the answers are, and what does not fit is refused before
//! anything changes, or not followed.
#![cfg(feature = "inference")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod archive;
mod server;

use std::path::Path;

use archive::archive;
use reqwest::StatusCode;
use serde_json::{Value, json};
use server::Server;

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn of(server: &Server) -> Self {
        Self { http: reqwest::Client::new(), base: server.url.clone() }
    }

    async fn try_put(&self, path: &str, body: Vec<u8>) -> (StatusCode, Value) {
        let put = self.http.put(format!("{}/v1/{path}", self.base)).body(body);
        let answer = put.send().await.unwrap();
        (answer.status(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn put(&self, path: &str, body: impl Into<Vec<u8>>) -> Value {
        let (status, answer) = self.try_put(path, body.into()).await;
        assert!(status.is_success(), "{path}: {answer}");
        answer
    }

    async fn get(&self, path: &str) -> String {
        let answer = self.http.get(format!("{}/{path}", self.base)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    async fn stage(&self, name: &str) -> Value {
        serde_json::from_str(&self.get(&format!("v1/stages/{name}")).await).unwrap()
    }

    /// A model whose labels are these, and a stage on the topic `in`.
    async fn set_up(&self, stages: &[(&str, Value)]) {
        for topic in ["in", "short", "long"] {
            self.put(&format!("topics/{topic}"), "").await;
        }
        self.put("models/flowers/versions/1", bundle(["setosa", "versicolor", "virginica"])).await;
        self.put("models/flowers/versions/2", bundle(["red", "green", "blue"])).await;
        self.put("models/flowers/aliases/champion", r#"{"version":"1"}"#).await;
        for (name, config) in stages {
            self.put(&format!("stages/{name}"), config.to_string()).await;
        }
    }

    async fn produce(&self, value: &Value) {
        let post = self.http.post(format!("{}/v1/topics/in/records", self.base)).json(value);
        assert!(post.send().await.unwrap().status().is_success());
    }

    /// The record at an offset, once it is there.
    async fn record(&self, topic: &str, offset: u64) -> Value {
        let path = format!("v1/topics/{topic}/records?offset={offset}&wait=30s");
        let page: Value = serde_json::from_str(&self.get(&path).await).unwrap();
        let mut record = page["records"][0].clone();
        if let Some(text) = record["value"].as_str() {
            record["value"] = serde_json::from_str(text).unwrap();
        }
        record
    }
}

/// The network of irises with these labels, as a tar archive.
fn bundle(labels: [&str; 3]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/models/iris-mlp");
    let manifest = format!(
        "[pre]\nkind = \"json\"\nfeatures = [\"a\", \"b\", \"c\", \"d\"]\n[post]\nkind = \"classes\"\n\
         output = \"probabilities\"\nactivation = \"none\"\nlabels = {labels:?}\n"
    );
    let model = std::fs::read(folder.join("model.onnx")).unwrap();
    archive([("model.toml", manifest.as_bytes()), ("model.onnx", &model)])
}

fn config(output: &str, more: &Value) -> Value {
    let mut config = json!({ "input": "in", "model": "flowers@champion", "output": output });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

#[tokio::test]
async fn two_stages_share_a_model_and_answer_each_in_its_own_way() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let client = Client::of(&server);
    let own = json!({ "pre": { "at": "/flower", "features": null }, "post": { "top_k": 1 } });
    let reads = json!({ "pre": { "at": "/flower" }, "post": { "top_k": 1, "rename": { "setosa": "iris setosa" } } });
    let stages = [("short", config("short", &reads)), ("long", config("long", &json!({})))];
    client.set_up(&stages).await;
    let (status, refused) =
        client.try_put("stages/short", config("short", &own).to_string().into()).await;
    // Without features the payload is by the name of the input: that fits as well.
    assert_eq!(status, StatusCode::OK, "{refused}");
    client.put("stages/short", stages[0].1.to_string()).await;

    let payload = json!({ "a": 5.1, "b": 3.5, "c": 1.4, "d": 0.2, "flower": [5.1, 3.5, 1.4, 0.2] });
    client.produce(&payload).await;
    let (short, long) = (client.record("short", 0).await, client.record("long", 0).await);
    assert_eq!(short["value"]["label"], "iris setosa", "{short}");
    assert_eq!(short["value"]["classes"].as_array().unwrap().len(), 1, "{short}");
    assert_eq!(long["value"]["label"], "setosa", "{long}");
    assert_eq!(long["value"]["classes"].as_array().unwrap().len(), 3, "{long}");
    assert_eq!(short["headers"]["x-model-digest"], long["headers"]["x-model-digest"]);
    assert!(long["headers"]["x-overrides"].is_null(), "{long}");

    // Whoever looks is told, and the outputs name what is told.
    let shown = client.stage("short").await;
    assert_eq!((&shown["pre"], &shown["post"]), (&reads["pre"], &reads["post"]));
    let overrides = &shown["status"]["overrides"];
    assert_eq!(&short["headers"]["x-overrides"], overrides);
    let id = short["headers"]["x-output-id"].as_str().unwrap();
    assert!(id.ends_with(overrides.as_str().unwrap()), "{id}");
    assert_eq!(&shown["status"]["takeovers"][0]["overrides"], overrides);
    assert!(client.stage("long").await["status"].get("overrides").is_none());

    // It is loaded once, and counts for both.
    let metrics = client.get("metrics").await;
    let of = |name: &str| metrics.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
    assert_eq!(of("embermq_model_info{").len(), 1, "{metrics}");
    let counted = of("embermq_inference_batch_size_count{");
    assert!(counted.len() == 1 && counted[0].ends_with(" 2"), "{counted:?}");

    // A server that starts again has them still.
    server.kill();
    let server = Server::start(data.path(), &[]);
    let client = Client::of(&server);
    client.produce(&payload).await;
    assert_eq!(client.record("short", 1).await["value"]["label"], "iris setosa");
    let shown = client.stage("short").await;
    let takeovers = shown["status"]["takeovers"].as_array().unwrap();
    assert_eq!(takeovers.len(), 1, "the same model with the same overrides goes on: {shown}");
    assert_eq!(takeovers[0]["offset"], 0);
}

#[tokio::test]
async fn overrides_that_a_model_does_not_take_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let client = Client::of(&server);
    let good = config("short", &json!({ "post": { "top_k": 2 } }));
    client.set_up(&[("s", good.clone())]).await;
    for (more, expected) in [
        (
            json!({ "post": { "topk": 1 } }),
            "post.topk: there is no such key; did you mean \"top_k\"?",
        ),
        (json!({ "post": { "top_k": "1" } }), "post.top_k: expected a whole number from 1 to"),
        (
            json!({ "post": { "output": "scores" } }),
            "post.output: the model has no output \"scores\", only",
        ),
        (json!({ "pre": { "input": "x" } }), "pre.input: "),
        (json!({ "pre": { "kind": "image", "resize": "stretch" } }), "pre."),
        (json!({ "post": { "labels": "none.txt" } }), "post.labels: cannot read \"none.txt\""),
        (
            json!({ "post": { "top_k": null, "threshold": null, "kind": null } }),
            "[post]: it needs a kind",
        ),
        (
            json!({ "post": { "output": "label" } }),
            "post.labels: the output has 1 scores, there are 3 labels",
        ),
        (json!({ "post": [] }), "expected a map"),
        (json!({ "batch": { "max": 1 } }), "unknown field `batch`"),
    ] {
        let (status, refused) =
            client.try_put("stages/s", config("short", &more).to_string().into()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{more}: {refused}");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{more}: {detail}");
        if detail.starts_with("model ") {
            assert!(
                detail.starts_with("model flowers@1 does not take the overrides: "),
                "{detail}"
            );
            assert!(detail.ends_with("; give the stage others, or another model"), "{detail}");
        }
    }
    let shown = client.stage("s").await;
    assert_eq!(shown["post"], good["post"]);
    client.produce(&json!([5.1, 3.5, 1.4, 0.2])).await;
    let output = client.record("short", 0).await;
    assert_eq!(output["value"]["classes"].as_array().unwrap().len(), 2, "{output}");
}

#[tokio::test]
async fn a_version_that_does_not_take_the_overrides_is_not_followed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let client = Client::of(&server);
    let renamed = json!({ "post": { "rename": { "setosa": "iris setosa" } } });
    client.set_up(&[("s", config("short", &renamed))]).await;
    let flower = json!([5.1, 3.5, 1.4, 0.2]);
    client.produce(&flower).await;
    client.record("short", 0).await;

    client.put("models/flowers/aliases/champion", r#"{"version":"2"}"#).await;
    let shown = client.stage("s").await;
    assert_eq!(shown["status"]["model"], "flowers@1", "{shown}");
    let why = shown["status"]["cannot_follow"].as_str().unwrap();
    let told = "model flowers@2 does not take the overrides: post.rename: \"setosa\" is none of the labels";
    assert!(why.starts_with(told), "{why}");
    client.produce(&flower).await;
    assert_eq!(client.record("short", 1).await["value"]["label"], "iris setosa");

    // Overrides that fit the new version take it along.
    let renamed = json!({ "post": { "rename": { "red": "iris setosa" } } });
    let put = client.put("stages/s", config("short", &renamed).to_string()).await;
    assert_eq!(put["status"]["model"], "flowers@2", "{put}");
    client.produce(&flower).await;
    let output = client.record("short", 2).await;
    assert_eq!(output["value"]["label"], "iris setosa");
    assert_eq!(output["headers"]["x-model"], "flowers@2");
}

#[tokio::test]
async fn overrides_are_not_read_from_files_that_the_disk_changed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let client = Client::of(&server);
    client.set_up(&[("short", config("short", &json!({})))]).await;
    let models = std::fs::read_dir(data.path().join("models")).unwrap();
    for folder in models {
        let manifest = folder.unwrap().path().join("model.toml");
        let rotten =
            std::fs::read_to_string(&manifest).unwrap().replace("probabilities", "probabilitieS");
        std::fs::write(&manifest, rotten).unwrap();
    }
    let more = config("long", &json!({ "post": { "top_k": 1 } }));
    let (status, refused) = client.try_put("stages/long", more.to_string().into()).await;
    assert!(status.is_client_error(), "{status} {refused}");
    assert!(refused.to_string().contains("model.toml is damaged: it has the SHA-256"), "{refused}");
    assert!(client.get("v1/stages/long").await.contains("stage_not_found"));
}
