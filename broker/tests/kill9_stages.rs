//! `kill -9` of the broker while records flow through a chain of two stages: each input ends exactly once in each, in its order.
//!
//! The chain is content type -> classifier: the first stage says in headers what each input is and lets it go on as it came, the filter of the
//! second lets only those pass that its model is made for. One input in ten is something else, and passed over; one in a hundred is
//! corrupt, one is larger than the model takes, and both are dead letters of the second stage. The server is killed at a random moment of
//! each cycle and started again. At the end what is left is worked off, and then, for both stages, outputs, dead letters and what was passed over
//! together are the inputs, each once, and the outputs of a partition are in the order of its inputs.
//!
//! `EMBERMQ_CYCLES` says how many cycles (default 5), `EMBERMQ_RECORDS` how many inputs in all (default 100), `EMBERMQ_SEED` repeats the
//! choices of one run. `EMBERMQ_PHOTOS=1`: photos through EfficientNet-Lite0 instead of flowers through a small network, which an
//! unoptimised build takes long for.
#![cfg(feature = "inference")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it ran, and fails by panicking"
)]

mod archive;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use archive::archive;
use serde_json::{Value, json};
use server::{Server, splitmix};

const PARTITIONS: u64 = 3;
/// A dead letter is in the partition of its topic that its key says.
const STAGES: [(&str, &str, &str); 2] =
    [("identify", "in", "known"), ("classify", "known", "labels")];
/// What the first stage says of each input.
const LABEL: &str = "x-label-identify";
/// More than the classifier of this test takes.
const BYTES_MAX: usize = 100_000;

#[test]
fn every_record_ends_exactly_once_in_a_chain_of_stages_when_the_broker_is_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(cycles());
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

async fn cycles() {
    let cycles = setting("EMBERMQ_CYCLES").unwrap_or(5);
    let records = setting("EMBERMQ_RECORDS").unwrap_or(100);
    let seed = setting("EMBERMQ_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{cycles} cycles, {records} records, EMBERMQ_SEED={seed}");
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    let inputs = Inputs::new(setting("EMBERMQ_PHOTOS") == Some(1));
    Client::of(&server).set_up(&inputs).await;
    let mut produced = Vec::new();
    for cycle in 0..cycles {
        let client = Client::of(&server);
        let share = records / cycles;
        let first = cycle * share;
        let producer = tokio::spawn(produce(client.clone(), inputs.clone(), first..first + share));
        let ended = client.ended().await.unwrap();
        let more = splitmix(seed.wrapping_add(cycle)) % (share * 3 / 2);
        // Killed when so many more have ended, or all have: while records are produced, processed and committed.
        while let Some(now) = client.ended().await
            && now < ended + more
            && !(producer.is_finished() && client.lag().await == Some(0))
        {
            tokio::task::yield_now().await;
        }
        server.kill();
        produced.extend(producer.await.unwrap());
        server = Server::start(data.path(), &[]);
    }
    let client = Client::of(&server);
    // Kills have cut producers short.
    let missing = records.saturating_sub(produced.len() as u64);
    let rest = produce(client.clone(), inputs.clone(), records..records + missing).await;
    assert_eq!(rest.len() as u64, missing, "the server is there");
    produced.extend(rest);
    while client.lag().await.unwrap() != 0 {
        tokio::task::yield_now().await;
    }
    client.check(&produced, &inputs).await;
    let kept = produced.len();
    println!(
        "{cycles} kills, {kept} records acknowledged: each ended once in both stages, in order"
    );
}

/// Produces records until there are enough or the server is gone; gives the numbers that were acknowledged.
async fn produce(client: Client, inputs: Inputs, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for number in numbers {
        let path = format!("topics/in/records?partition={}", number % PARTITIONS);
        let post = client.http.post(client.url(&path)).header("key", number.to_string());
        let kind = "application/octet-stream";
        let sent = post.header("content-type", kind).body(inputs.body(number)).send().await;
        match sent {
            Ok(answer) => {
                assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
                acknowledged.push(number);
            }
            Err(_) => return acknowledged,
        }
    }
    acknowledged
}

const fn is_corrupt(number: u64) -> bool {
    number % 100 == 37
}

const fn is_oversized(number: u64) -> bool {
    number % 100 == 73
}

/// Nothing for the classifier.
const fn is_other(number: u64) -> bool {
    number % 10 == 4
}

const SCRIPT: &[u8] = b"#!/bin/sh\nset -e\nfor file in *.jpg; do echo \"$file\"; done\n";

/// What is sent.
#[derive(Clone)]
struct Inputs {
    photos: bool,
}

impl Inputs {
    const fn new(photos: bool) -> Self {
        Self { photos }
    }

    fn body(&self, number: u64) -> Vec<u8> {
        if is_other(number) {
            return SCRIPT.to_vec();
        }
        if self.photos { photo(number) } else { flower(number) }
    }

    /// What the first stage calls what the second one is made for.
    const fn label(&self) -> &'static str {
        if self.photos { "bmp" } else { "json" }
    }

    /// The classifier as a tar archive.
    fn classifier(&self) -> Vec<u8> {
        let (folder, limit) = if self.photos {
            ("efficientnet-lite0", "kind = \"image\"")
        } else {
            ("iris-mlp", "kind = \"json\"")
        };
        bundle(folder, |manifest| {
            manifest.replace(limit, &format!("{limit}\nbytes_max = {BYTES_MAX}"))
        })
    }
}

/// A BMP of a few pixels: any size will do, the model's input is stretched.
fn photo(number: u64) -> Vec<u8> {
    let (side, header) = (16_u32, 54_u32);
    let size = header + side * side * 4;
    let mut file = b"BM".to_vec();
    for field in [size, 0, header, 40, side, side, 1 | 32 << 16, 0, 0, 0, 0, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    let mut random = number;
    for _ in 0..side * side {
        random = splitmix(random);
        file.extend(random.to_le_bytes().into_iter().take(4));
    }
    if is_corrupt(number) {
        file.truncate(file.len() / 2);
    }
    if is_oversized(number) {
        file.resize(BYTES_MAX + 1, b' ');
    }
    file
}

fn flower(number: u64) -> Vec<u8> {
    let random = splitmix(number).to_le_bytes();
    let centimetres = |byte: u8| f64::from(byte) / 32.0;
    let names = ["sepal_length", "sepal_width", "petal_length", "petal_width"];
    let mut flower = json!({});
    for (name, byte) in names.into_iter().zip(random) {
        flower[name] = centimetres(byte).into();
    }
    if is_corrupt(number) {
        flower["petal_length"] = "long".into();
    }
    if is_oversized(number) {
        flower["measured"] = (0..20_000_u16).map(|n| f64::from(n) / 8.0).collect();
    }
    flower.to_string().into_bytes()
}

/// A shipped bundle as a tar archive, its manifest changed.
fn bundle(folder: &str, change: impl Fn(&str) -> String) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/models").join(folder);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut content = std::fs::read(&path).unwrap();
        if name == "model.toml" {
            content = change(std::str::from_utf8(&content).unwrap()).into_bytes();
        }
        files.push((name, content));
    }
    archive(files)
}

/// In an unoptimised build warming up takes longer than all that is asked between two kills.
fn unwarmed(manifest: &str) -> String {
    format!("{manifest}\n[warm_up]\nenabled = false\n")
}

/// A server, and how to ask it.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn of(server: &Server) -> Self {
        Self { http: reqwest::Client::new(), base: server.url.clone() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.base)
    }

    async fn put(&self, path: &str, body: Vec<u8>) {
        let answer = self.http.put(self.url(path)).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{path}: {}", answer.text().await.unwrap());
    }

    async fn set_up(&self, inputs: &Inputs) {
        for topic in ["in", "known", "labels"] {
            let settings = json!({ "partitions": PARTITIONS }).to_string();
            self.put(&format!("topics/{topic}"), settings.into_bytes()).await;
        }
        self.put("models/classifier/versions/1", inputs.classifier()).await;
        self.put("models/magika/versions/1", bundle("magika", unwarmed)).await;
        let filter = format!("{LABEL} == \"{}\"", inputs.label());
        let own = [
            json!({ "model": "magika", "answer": "headers", "post": { "threshold": null, "unsure": null } }),
            json!({ "model": "classifier", "filter": filter }),
        ];
        for ((stage, input, output), own) in STAGES.into_iter().zip(own) {
            let mut config = json!({
                "input": input, "output": output,
                // A kill counts as an attempt of what is in flight, and nothing here is to die of that.
                "max_attempts": 100, "max_batch_size": 4, "instances": 2,
                // An unoptimised build on a busy machine takes its time.
                "timeout": "10m",
            });
            config.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            self.put(&format!("stages/{stage}"), config.to_string().into_bytes()).await;
        }
    }

    /// The answer; none when the server is gone.
    async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(self.url(path)).send().await.ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    /// Records that the first stage has ended.
    async fn ended(&self) -> Option<u64> {
        let topic = self.get("topics/known").await?;
        let ends = topic["partitions"].as_array()?.iter();
        Some(ends.map(|partition| partition["end_offset"].as_u64().unwrap()).sum())
    }

    /// Records that a stage has still to do; those that the first one gives to the second come first.
    async fn lag(&self) -> Option<u64> {
        let mut lag = 0;
        for (stage, input, _) in STAGES {
            let group = self.get(&format!("topics/{input}/groups/{stage}")).await?;
            lag += group["lag"]["records"].as_u64()?;
        }
        Some(lag)
    }

    /// The keys of a partition with what they came from, in order.
    async fn read(&self, topic: &str, partition: u64) -> Vec<Value> {
        let mut records = Vec::new();
        loop {
            let at = records.len();
            let path = format!("topics/{topic}/records?partition={partition}&offset={at}");
            let page = self.get(&path).await.unwrap();
            if page["code"] == "topic_not_found" {
                return records;
            }
            records.extend(page["records"].as_array().unwrap().iter().cloned());
            if page["next_offset"] == page["end_offset"] {
                return records;
            }
        }
    }

    async fn check(&self, acknowledged: &[u64], inputs: &Inputs) {
        let mut known = BTreeSet::new();
        for partition in 0..PARTITIONS {
            known.extend(self.read("in", partition).await.iter().map(number));
        }
        assert!(acknowledged.iter().all(|number| known.contains(number)), "an input was lost");
        for (stage, input, output) in STAGES {
            let (mut dead, mut passed) = (BTreeMap::new(), BTreeSet::new());
            for letter in self.read(&format!("{input}.{stage}.dlq"), 0).await {
                assert!(dead.insert(number(&letter), letter.clone()).is_none(), "twice: {letter}");
            }
            for partition in 0..PARTITIONS {
                let read = self.read(input, partition).await;
                let outputs = self.read(output, partition).await;
                let taken =
                    |record: &&Value| input == "in" || record["headers"][LABEL] == inputs.label();
                let taken: Vec<u64> = read.iter().filter(taken).map(number).collect();
                passed.extend(&taken);
                let expected: Vec<u64> =
                    taken.into_iter().filter(|number| !dead.contains_key(number)).collect();
                let found: Vec<u64> = outputs.iter().map(number).collect();
                assert_eq!(found, expected, "{stage}, partition {partition}");
                for (at, made) in outputs.iter().enumerate() {
                    assert_eq!(made["headers"]["x-stage"], stage, "{output}/{partition}/{at}");
                }
                if output == "known" {
                    goes_on_as_it_came(&read, &outputs);
                }
            }
            let bad = passed.iter().filter(|number| is_corrupt(**number) || is_oversized(**number));
            let bad: BTreeSet<u64> =
                if stage == "classify" { bad.copied().collect() } else { BTreeSet::new() };
            let meant = known.iter().filter(|number| stage == "identify" || !is_other(**number));
            let all = passed.iter().all(|number| stage == "identify" || !is_other(*number));
            // What is drawn at random does not always look like what it is.
            assert!(all && passed.len() * 2 > meant.count(), "{stage} took {passed:?}");
            assert_eq!(dead.keys().copied().collect::<BTreeSet<_>>(), bad, "{stage}: {dead:?}");
        }
    }
}

fn goes_on_as_it_came(inputs: &[Value], outputs: &[Value]) {
    for (before, after) in inputs.iter().zip(outputs) {
        let content =
            |record: &Value| (record["value"].clone(), record["headers"]["content-type"].clone());
        assert_eq!(content(after), content(before), "it goes on as it came");
    }
}

fn number(record: &Value) -> u64 {
    record["key"].as_str().unwrap().parse().unwrap()
}

/// A stage that starts again goes on at once: nobody has to wait until leases of the process that was killed lapse.
#[test]
fn a_stage_whose_process_was_killed_goes_on_without_waiting_for_its_leases() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let data = tempfile::tempdir().unwrap();
        let mut server = Server::start(data.path(), &[]);
        let inputs = Inputs::new(false);
        Client::of(&server).set_up(&inputs).await;
        // Longer than this test may take; with a model that is quick in an unoptimised build, too.
        let config = json!({
            "input": "in", "output": "known", "model": "classifier", "answer": "headers",
            "timeout": "1h", "max_attempts": 100,
        });
        let client = Client::of(&server);
        let put = client.http.put(client.url("stages/identify")).body(config.to_string());
        assert!(put.send().await.unwrap().status().is_success());
        let mut sent = 0;
        for _ in 0..3 {
            let client = Client::of(&server);
            let enough = client.ended().await.unwrap() + 10;
            let producer = tokio::spawn(produce(client.clone(), inputs.clone(), sent..sent + 60));
            while client.ended().await.unwrap() < enough {
                tokio::task::yield_now().await;
            }
            server.kill();
            producer.await.unwrap();
            sent += 60;
            server = Server::start(data.path(), &[]);
        }
        let client = Client::of(&server);
        let done = async {
            while client.lag().await.unwrap() != 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), done).await.expect("it goes on at once");
    });
}
