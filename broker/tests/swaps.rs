//! A hundred swaps of a stage's model, by its alias, while records flow: nothing is lost, doubled or reordered, each output is what the
//! model that it names answers, the place from which each model answers is on record, and memory stays flat.
//!
//! The models are two bundles of the same small network whose labels differ, so an answer shows which of them gave it.
#![cfg(feature = "inference")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod archive;
mod server;

use std::collections::BTreeMap;
use std::path::Path;

use archive::archive;
use serde_json::{Value, json};
use server::Server;

const SWAPS: usize = 100;
const PARTITIONS: u64 = 2;
/// Records between two swaps, for each partition.
const BETWEEN: u64 = 5;
const LABELS: [[&str; 3]; 2] = [["setosa", "versicolor", "virginica"], ["red", "green", "blue"]];

#[tokio::test]
async fn a_hundred_swaps_under_load_lose_double_and_reorder_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let client = Client { http: reqwest::Client::new(), base: server.url.clone() };
    client.set_up().await;
    let mut produced = 0;
    let mut after_some = None;
    for swap in 0..SWAPS {
        let alias = json!({ "version": (swap % 2 + 1).to_string() });
        client.produce(&mut produced).await;
        client.put("models/flowers/aliases/champion", alias.to_string().into_bytes()).await;
        client.produce(&mut produced).await;
        if swap == SWAPS / 4 {
            // By then everything is there that is set up once: threads, segments, caches.
            after_some = Some(server.resident_bytes());
        }
    }
    let (before, after) = (after_some.unwrap(), server.resident_bytes());
    // Each version that is loaded anew costs more than this in all if it is kept.
    assert!(
        after < before + before / 8,
        "{before} bytes resident after 25 swaps, {after} after all"
    );

    let mut events = client.takeovers().await;
    let mut models = 0;
    for partition in 0..PARTITIONS {
        let inputs = client.read("in", partition, produced).await;
        let outputs = client.read("out", partition, produced).await;
        let keys = |records: &[Value]| records.iter().map(|r| r["key"].clone()).collect::<Vec<_>>();
        assert_eq!(keys(&outputs), keys(&inputs), "partition {partition}");
        let events = events.remove(&partition).unwrap();
        models += events.len();
        for (offset, output) in (0_u64..).zip(&outputs) {
            let headers = &output["headers"];
            assert_eq!(headers["x-input"], format!("in/{partition}/{offset}"));
            assert_eq!(headers["x-attempt"], "1", "nothing failed");
            // What the record says, what the answer shows, and what is on record: one and the same.
            let model = headers["x-model"].as_str().unwrap();
            let version: usize = model.strip_prefix("flowers@").unwrap().parse().unwrap();
            let answer = value_of(output);
            let label = answer["label"].as_str().unwrap();
            assert!(LABELS[version - 1].contains(&label), "{model} answered {label}");
            let (_, noted) = events.range(..=offset).next_back().unwrap();
            assert_eq!(noted, model, "partition {partition}, offset {offset}");
        }
        let status = client.get("stages/classify").await;
        let takeovers = status["status"]["takeovers"].as_array().unwrap();
        let latest = takeovers.iter().find(|shown| shown["partition"] == partition).unwrap();
        let (offset, model) = events.iter().next_back().unwrap();
        assert_eq!((&latest["offset"], &latest["model"]), (&json!(offset), &json!(model)));
    }
    assert!(models > SWAPS / 2, "only {models} swaps took effect: too few to show anything");
}

fn value_of(record: &Value) -> Value {
    match &record["value"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        value => value.clone(),
    }
}

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    async fn put(&self, path: &str, body: Vec<u8>) {
        let put = self.http.put(format!("{}/v1/{path}", self.base)).body(body);
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}/v1/{path}", self.base)).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    async fn set_up(&self) {
        for topic in ["in", "out"] {
            let settings = json!({ "partitions": PARTITIONS }).to_string();
            self.put(&format!("topics/{topic}"), settings.into_bytes()).await;
        }
        for (at, labels) in LABELS.into_iter().enumerate() {
            self.put(&format!("models/flowers/versions/{}", at + 1), bundle(labels)).await;
        }
        self.put("models/flowers/aliases/champion", br#"{"version":"1"}"#.to_vec()).await;
        let config = json!({
            "input": "in", "output": "out", "model": "flowers@champion", "instances": 2, "max_batch_size": 2,
        });
        self.put("stages/classify", config.to_string().into_bytes()).await;
    }

    /// Some records for each partition.
    async fn produce(&self, produced: &mut u64) {
        for partition in 0..PARTITIONS {
            let record = |number: u64| json!({ "key": format!("{partition}-{number}"), "value": [5.1, 3.5, 1.4, 0.2] });
            let records: Vec<Value> = (*produced..*produced + BETWEEN).map(record).collect();
            let body = json!({ "records": records, "partition": partition });
            let post = self.http.post(format!("{}/v1/topics/in/records", self.base)).json(&body);
            let answer = post.send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        }
        *produced += BETWEEN;
    }

    /// The first `count` records of a partition, waiting for them; and there are no more.
    async fn read(&self, topic: &str, partition: u64, count: u64) -> Vec<Value> {
        let mut records = Vec::new();
        while (records.len() as u64) < count {
            let at = records.len();
            let path = format!("topics/{topic}/records?partition={partition}&offset={at}&wait=30s");
            let page = self.get(&path).await;
            let more = page["records"].as_array().unwrap();
            assert!(!more.is_empty(), "{topic}/{partition} has {at} of {count}");
            records.extend(more.iter().cloned());
        }
        assert_eq!(records.len() as u64, count);
        records
    }

    /// From which offset on which model answers, by partition, as the stage's topic says.
    async fn takeovers(&self) -> BTreeMap<u64, BTreeMap<u64, String>> {
        // They are in the commits of the outputs, so once those are there these are.
        let mut produced = 0;
        for partition in 0..PARTITIONS {
            let topic = self.get("topics/in").await;
            let end = &topic["partitions"][usize::try_from(partition).unwrap()]["end_offset"];
            self.read("out", partition, end.as_u64().unwrap()).await;
            produced += end.as_u64().unwrap();
        }
        assert!(produced > 0);
        let mut events: BTreeMap<u64, BTreeMap<u64, String>> = BTreeMap::new();
        let mut at = 0;
        loop {
            let page = self.get(&format!("topics/_stages/records?offset={at}")).await;
            for record in page["records"].as_array().unwrap() {
                let Some((_, place)) = record["key"].as_str().unwrap().split_once('/') else {
                    continue;
                };
                let event = value_of(record);
                let number = |name: &str| event[name].as_u64().unwrap();
                let (partition, offset) = (number("partition"), number("offset"));
                assert_eq!(place, format!("{partition}/{offset}"));
                let text = |name: &str| event[name].as_str().unwrap().to_owned();
                let model = format!("{}@{}", text("model"), text("version"));
                let twice = events.entry(partition).or_default().insert(offset, model);
                assert_eq!(twice, None, "{event}");
            }
            at = page["next_offset"].as_u64().unwrap();
            if page["next_offset"] == page["end_offset"] {
                return events;
            }
        }
    }
}

/// The network of irises with these labels, as a tar archive.
fn bundle(labels: [&str; 3]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/models/iris-mlp");
    let manifest = std::fs::read_to_string(folder.join("model.toml")).unwrap();
    // The answer that is known has another label.
    let (manifest, _golden) = manifest.split_once("\n[golden]").unwrap();
    let manifest = manifest
        .lines()
        .map(|line| match line.strip_prefix("labels = ") {
            Some(_) => format!("labels = {labels:?}\n"),
            None => format!("{line}\n"),
        })
        .collect::<String>();
    let model = std::fs::read(folder.join("model.onnx")).unwrap();
    archive([("model.toml", manifest.as_bytes()), ("model.onnx", &model)])
}
