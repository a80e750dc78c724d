//! `kill -9` of the broker and of consumers: each record is acknowledged or a dead letter, exactly once, in its order.
//!
//! Three topics with a group each, one for each ordering. Producers fill them; 8 consumers lease, and commit an output
//! and the acknowledgement of its input together, or fail some records on purpose (1 % always, 10 % by chance), or die
//! holding leases. The server is killed at a random moment of each cycle and started again. At the end all is worked off,
//! and then outputs and dead letters together are the inputs, each once.
//!
//! `EMBERMQ_CYCLES` says how many cycles (default 10), `EMBERMQ_SEED` repeats the choices of one run.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it ran, and fails by panicking"
)]

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use server::{Server, splitmix};
use tokio::task::JoinHandle;

const ORDERINGS: [&str; 3] = ["none", "key", "partition"];
const PARTITIONS: u64 = 2;
const KEYS: u64 = 7;
const CONSUMERS: usize = 8;
const ATTEMPTS_MAX: u64 = 4;

#[test]
fn every_record_ends_exactly_once_when_brokers_and_consumers_are_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(cycles());
}

async fn cycles() {
    let setting =
        |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().expect("a number"));
    let cycles = setting("EMBERMQ_CYCLES").unwrap_or(10);
    let seed = setting("EMBERMQ_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{cycles} cycles, EMBERMQ_SEED={seed}");
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    set_up(&Client::of(&server)).await;
    let mut produced = 0;
    for cycle in 0..cycles {
        let client = Client::of(&server);
        let work = Work::start(&client, seed ^ splitmix(cycle), true);
        let producer = tokio::spawn(produce(client, produced, 400));
        work.settled(50 + splitmix(seed.wrapping_add(cycle)) % 600).await;
        server.kill();
        work.stop().await;
        produced = producer.await.unwrap();
        server = Server::start(data.path(), &[]);
    }
    let client = Client::of(&server);
    let work = Work::start(&client, seed, false);
    for ordering in ORDERINGS {
        while client.group(ordering).await["lag"]["records"] != 0 {
            tokio::task::yield_now().await;
        }
    }
    work.stop().await;
    let mut ended = 0;
    for ordering in ORDERINGS {
        ended += check(&client, ordering).await;
    }
    println!("{cycles} kills, {ended} records: each acknowledged or dead, once, in order");
}

async fn set_up(client: &Client) {
    for ordering in ORDERINGS {
        client.put(&format!("topics/in-{ordering}"), json!({"partitions": PARTITIONS})).await;
        client.put(&format!("topics/out-{ordering}"), json!({})).await;
        let settings = json!({
            "ordering": ordering,
            "lease": "1s",
            "max_attempts": ATTEMPTS_MAX,
            "backoff": {"initial": "0.01s", "max": "0.05s"},
        });
        client.put(&format!("topics/in-{ordering}/groups/g"), settings).await;
    }
}

/// Produces records until the server is gone or there are enough; gives the next number.
async fn produce(client: Client, first: u64, count: u64) -> u64 {
    for number in first..first + count {
        for ordering in ORDERINGS {
            let record = json!({"key": format!("k{}", number % KEYS), "value": number.to_string()});
            let body = json!({"records": [record], "partition": number % KEYS % PARTITIONS});
            if client.post(&format!("topics/in-{ordering}/records"), &body).await.is_none() {
                // It may have been taken all the same, so its number is not used again.
                return number + 1;
            }
        }
    }
    first + count
}

struct Work {
    consumers: Vec<JoinHandle<()>>,
    settled: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn start(client: &Client, seed: u64, reckless: bool) -> Self {
        let (settled, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let consumers = (0..CONSUMERS).map(|number| {
            let consumer = Consumer {
                client: client.clone(),
                ordering: ORDERINGS[number % ORDERINGS.len()],
                member: format!("member-{number}"),
                random: splitmix(seed.wrapping_add(number as u64)),
                reckless,
                settled: Arc::clone(&settled),
                stop: Arc::clone(&stop),
            };
            tokio::spawn(consumer.work())
        });
        Self { consumers: consumers.collect(), settled, stop }
    }

    /// Waits until so many records were settled, or nobody settles any more.
    async fn settled(&self, at_least: u64) {
        while self.settled.load(Ordering::Relaxed) < at_least
            && !self.consumers.iter().all(JoinHandle::is_finished)
        {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for consumer in self.consumers {
            consumer.await.unwrap();
        }
    }
}

struct Consumer {
    client: Client,
    ordering: &'static str,
    member: String,
    random: u64,
    /// Fails and dies by chance.
    reckless: bool,
    settled: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Consumer {
    fn one_in(&mut self, chance: u64) -> bool {
        self.random = splitmix(self.random);
        self.reckless && self.random.is_multiple_of(chance)
    }

    /// Works until the server is gone, or it is told to stop.
    async fn work(mut self) {
        let path = format!("topics/in-{}/groups/g", self.ordering);
        while !self.stop.load(Ordering::Relaxed) {
            let wish = json!({"max_records": 5, "wait": "0.2s", "member": self.member});
            let Some(answer) = self.client.post(&format!("{path}:lease"), &wish).await else {
                return;
            };
            let leases = answer["leases"].as_array().unwrap().clone();
            if !leases.is_empty() && self.one_in(40) {
                // This consumer dies; another takes its place, and its leases lapse.
                self.member = format!("{}'", self.member);
                continue;
            }
            let mut failed = false;
            for lease in leases {
                let number: u64 = lease["value"].as_str().unwrap().parse().unwrap();
                assert!(lease["attempt"].as_u64().unwrap() <= ATTEMPTS_MAX, "{lease}");
                let token = &lease["token"];
                let settled = if failed {
                    // Order by partition: what follows a failure is not tried.
                    self.client.post(&format!("{path}:release"), &json!({"token": token})).await
                } else if is_poison(number) || self.one_in(10) {
                    failed = self.ordering == "partition";
                    let nack = json!({"token": token, "error": "on purpose"});
                    self.client.post(&format!("{path}:nack"), &nack).await
                } else {
                    self.finish(&lease, number).await
                };
                if settled.is_none() {
                    return;
                }
                self.settled.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The output and the acknowledgement, in one commit. A lease that was lost meanwhile has no effect.
    async fn finish(&self, lease: &Value, number: u64) -> Option<Value> {
        let record = json!({"key": lease["key"], "value": number.to_string()});
        let commit = json!({
            "appends": [{"topic": format!("out-{}", self.ordering), "records": [record]}],
            "settlements": [{"token": lease["token"], "ack": true}],
        });
        self.client.post("commits", &commit).await
    }
}

const fn is_poison(number: u64) -> bool {
    number % 100 == 37
}

/// Compares outputs and dead letters with the inputs; gives how many there were.
async fn check(client: &Client, ordering: &str) -> usize {
    let mut inputs: BTreeMap<u64, u64> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for number in client.read(&format!("in-{ordering}"), partition).await {
            assert_eq!(inputs.insert(number, partition), None, "{number} was produced twice");
        }
    }
    let outputs = client.read(&format!("out-{ordering}"), 0).await;
    let dead = client.read(&format!("in-{ordering}.g.dlq"), 0).await;
    let mut ended = BTreeSet::new();
    for number in outputs.iter().chain(&dead) {
        assert!(inputs.contains_key(number), "{number} was never produced");
        assert!(ended.insert(*number), "{ordering}: {number} ended twice");
    }
    let never: Vec<&u64> = inputs.keys().filter(|number| !ended.contains(number)).collect();
    assert!(never.is_empty(), "{ordering}: these never ended: {never:?}");
    for number in inputs.keys().filter(|number| is_poison(**number)) {
        assert!(dead.contains(number), "{ordering}: {number} is poison and not dead");
    }
    // Records of one key (all of one partition) were made in order, so that is the order of their outputs.
    let lane = |number: &u64| match ordering {
        "key" => Some(number % KEYS),
        "partition" => Some(inputs[number]),
        _ => None,
    };
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for number in &outputs {
        if let Some(lane) = lane(number) {
            let before = last.insert(lane, *number);
            assert!(before < Some(*number), "{ordering}: {number} comes after {before:?}");
        }
    }
    let group = client.group(ordering).await;
    assert_eq!(group["dead"], dead.len(), "{group}");
    assert_eq!(group["in_flight"], 0, "{group}");
    inputs.len()
}

/// A server, and how to ask it.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn of(server: &Server) -> Self {
        Self { http: reqwest::Client::new(), url: server.url.clone() }
    }

    /// The answer; none when the server is gone.
    async fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let post = self.http.post(format!("{}/v1/{path}", self.url));
        let answer = post.header("content-type", "application/json").body(body.to_string());
        let answer = answer.send().await.ok()?;
        let status = answer.status();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        // A conflict is a lease that somebody else has now.
        assert!(status == 200 || status == 409 || status == 429, "{path}: {status} {answer}");
        Some(answer)
    }

    async fn put(&self, path: &str, body: Value) {
        let put = self.http.put(format!("{}/v1/{path}", self.url)).body(body.to_string());
        let answer = put.header("content-type", "application/json").send().await.unwrap();
        assert_eq!(answer.status(), 201, "{path}: {}", answer.text().await.unwrap());
    }

    async fn get(&self, path: &str) -> (reqwest::StatusCode, Value) {
        let answer = self.http.get(format!("{}/v1/{path}", self.url)).send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    async fn group(&self, ordering: &str) -> Value {
        let (status, group) = self.get(&format!("topics/in-{ordering}/groups/g")).await;
        assert_eq!(status, 200, "{group}");
        group
    }

    /// The numbers in a partition, in order.
    async fn read(&self, topic: &str, partition: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        loop {
            let at = numbers.len();
            let path = format!("topics/{topic}/records?partition={partition}&offset={at}");
            let (status, page) = self.get(&path).await;
            if status == 404 {
                return numbers;
            }
            for record in page["records"].as_array().unwrap() {
                numbers.push(record["value"].as_str().unwrap().parse().unwrap());
            }
            if page["next_offset"] == page["end_offset"] {
                return numbers;
            }
        }
    }
}
