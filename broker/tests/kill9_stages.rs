//! `kill -9` of the broker while records flow through a chain of two stages: each input ends exactly once in each, in its order.
//!
//! The chain is classifier -> content type: the answers of the first are the inputs of the second. One input in a hundred is corrupt, one is
//! larger than the model takes; both are dead letters of the first stage. The server is killed at a random moment of each cycle and
//! started again. At the end what is left is worked off, and then, for both stages, outputs and dead letters together are the
//! inputs, each once, and the outputs of a partition are in the order of its inputs.
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

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use server::{Server, splitmix};

const PARTITIONS: u64 = 3;
/// A dead letter is in the partition of its topic that its key says.
const STAGES: [(&str, &str, &str); 2] =
    [("classify", "in", "labels"), ("identify", "labels", "kinds")];
/// More than the classifier of this test takes.
const BYTES_MAX: usize = 40_000;

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
    let rest = produce(client.clone(), inputs, records..records + missing).await;
    assert_eq!(rest.len() as u64, missing, "the server is there");
    produced.extend(rest);
    while client.lag().await.unwrap() != 0 {
        tokio::task::yield_now().await;
    }
    client.check(&produced).await;
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
        if is_corrupt(number) {
            return b"\xff\xd8\xff\xe0 neither a photo nor numbers".to_vec();
        }
        let mut body = if self.photos { photo(number) } else { flower(number) };
        if is_oversized(number) {
            body.resize(BYTES_MAX + 1, b' ');
        }
        body
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
    file
}

fn flower(number: u64) -> Vec<u8> {
    let random = splitmix(number).to_le_bytes();
    let centimetres = |byte: u8| f64::from(byte) / 32.0;
    json!(random[..4].iter().map(|byte| centimetres(*byte)).collect::<Vec<_>>())
        .to_string()
        .into_bytes()
}

/// A shipped bundle as a tar archive, its manifest changed.
fn bundle(folder: &str, change: impl Fn(&str) -> String) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inference/models").join(folder);
    let mut archive = tar::Builder::new(Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut content = std::fs::read(&path).unwrap();
        if name == "model.toml" {
            content = change(std::str::from_utf8(&content).unwrap()).into_bytes();
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &*content).unwrap();
    }
    archive.into_inner().unwrap()
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
        for topic in ["in", "labels", "kinds"] {
            let settings = json!({ "partitions": PARTITIONS }).to_string();
            self.put(&format!("topics/{topic}"), settings.into_bytes()).await;
        }
        self.put("models/classifier/versions/1", inputs.classifier()).await;
        self.put("models/magika/versions/1", bundle("magika", str::to_owned)).await;
        for ((stage, input, output), model) in STAGES.into_iter().zip(["classifier", "magika"]) {
            let config = json!({
                "input": input, "output": output, "model": model,
                // A kill counts as an attempt of what is in flight, and nothing here is to die of that.
                "max_attempts": 100, "max_batch_size": 4, "instances": 2,
                // An unoptimised build on a busy machine takes its time.
                "timeout": "10m",
            });
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
        let topic = self.get("topics/labels").await?;
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

    async fn check(&self, acknowledged: &[u64]) {
        let mut known = BTreeSet::new();
        for partition in 0..PARTITIONS {
            known.extend(self.read("in", partition).await.iter().map(number));
        }
        assert!(acknowledged.iter().all(|number| known.contains(number)), "an input was lost");
        for (stage, input, output) in STAGES {
            let mut dead = BTreeMap::new();
            for letter in self.read(&format!("{input}.{stage}.dlq"), 0).await {
                assert!(dead.insert(number(&letter), letter.clone()).is_none(), "twice: {letter}");
            }
            for partition in 0..PARTITIONS {
                let inputs = self.read(input, partition).await;
                let outputs = self.read(output, partition).await;
                let expected: Vec<u64> =
                    inputs.iter().map(number).filter(|number| !dead.contains_key(number)).collect();
                let found: Vec<u64> = outputs.iter().map(number).collect();
                assert_eq!(found, expected, "{stage}, partition {partition}");
                for (at, made) in outputs.iter().enumerate() {
                    assert_eq!(made["headers"]["x-stage"], stage, "{output}/{partition}/{at}");
                }
            }
            let bad = known.iter().filter(|number| is_corrupt(**number) || is_oversized(**number));
            let bad: BTreeSet<u64> =
                if stage == "classify" { bad.copied().collect() } else { BTreeSet::new() };
            assert_eq!(dead.keys().copied().collect::<BTreeSet<_>>(), bad, "{stage}: {dead:?}");
        }
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
        // Longer than this test may take.
        let config = json!({
            "input": "in", "output": "labels", "model": "classifier", "timeout": "1h",
            "max_attempts": 100,
        });
        let client = Client::of(&server);
        let put = client.http.put(client.url("stages/classify")).body(config.to_string());
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
