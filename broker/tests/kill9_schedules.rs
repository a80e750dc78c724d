//! `kill -9` of the broker while records are scheduled, cancelled and delivered: each that was acknowledged appears once, at or after
//! its time, or was cancelled and never does.
//!
//! Each cycle schedules records a moment ahead, over HTTP, and cancels some of them again; the server is killed at a random
//! moment and started again. At the end what is left is waited for.
//!
//! `EMBERMQ_CYCLES` says how many cycles (default 8), `EMBERMQ_SEED` repeats the choices of one run.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it ran, and fails by panicking"
)]

mod server;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use server::{Server, splitmix};

const PARTITIONS: u64 = 2;
/// Topics, one for each durability: the process is killed, not the machine, so both promise the same here.
const TOPICS: [(&str, &str); 2] = [("strict", "fsync"), ("loose", "os")];

/// What is known of a number that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// The answer was lost: it may be there or not.
    Unknown,
    Scheduled,
    /// The answer to the cancel was lost.
    PerhapsCancelled,
    Cancelled,
}

#[test]
fn every_schedule_happens_exactly_once_when_brokers_are_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(cycles());
}

async fn cycles() {
    let setting =
        |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().expect("a number"));
    let cycles = setting("EMBERMQ_CYCLES").unwrap_or(8);
    let seed = setting("EMBERMQ_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{cycles} cycles, EMBERMQ_SEED={seed}");
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path(), &[]);
    for (topic, durability) in TOPICS {
        let settings = json!({"partitions": PARTITIONS, "durability": durability});
        let (status, answer) = Client::of(&server).put(topic, &settings).await.unwrap();
        assert_eq!(status, 201, "{answer}");
    }
    let mut work = Work { random: splitmix(seed), sent: 0, fates: BTreeMap::new() };
    for _ in 0..cycles {
        let client = Client::of(&server);
        let most = 50 + work.below(1_500);
        let kill = tokio::spawn({
            let client = client.clone();
            // Killed somewhere in the middle: when so many records are there.
            async move {
                let mut looks = 0;
                while looks < most {
                    if client.get("strict/schedules?limit=1").await.is_none() {
                        return;
                    }
                    looks += 1;
                }
            }
        });
        let working = work.go_on(&client, 300);
        tokio::pin!(working);
        tokio::select! {
            () = &mut working => {}
            _ = kill => {
                server.kill();
                working.await;
                server = Server::start(data.path(), &[]);
                continue;
            }
        }
        server.kill();
        server = Server::start(data.path(), &[]);
    }
    let client = Client::of(&server);
    for (topic, _) in TOPICS {
        while client.get(&format!("{topic}/schedules")).await.unwrap()["schedules"] != json!([]) {
            tokio::task::yield_now().await;
        }
        let delivered = work.check(&client, topic).await;
        println!("{topic}: {delivered} records, each once and in time");
    }
}

struct Work {
    random: u64,
    sent: u64,
    fates: BTreeMap<(String, u64), Fate>,
}

impl Work {
    fn below(&mut self, bound: u64) -> u64 {
        self.random = splitmix(self.random);
        self.random % bound
    }

    /// Schedules and cancels until the server is gone or there were enough.
    async fn go_on(&mut self, client: &Client, count: u64) {
        for _ in 0..count {
            let (topic, _) = TOPICS[usize::try_from(self.below(2)).unwrap()];
            let number = self.sent;
            self.sent += 1;
            let key = (topic.to_owned(), number);
            self.fates.insert(key.clone(), Fate::Unknown);
            let delay_ms = self.below(400);
            let path =
                format!("{topic}/records?partition={}&delay={delay_ms}ms", number % PARTITIONS);
            let Some((status, answer)) = client.post(&path, number.to_string()).await else {
                return;
            };
            if status == 503 {
                return;
            }
            assert!(status == 200 || status == 202, "{status} {answer}");
            self.fates.insert(key.clone(), Fate::Scheduled);
            if status == 202 && self.below(4) == 0 {
                self.fates.insert(key.clone(), Fate::PerhapsCancelled);
                let id = answer["schedule"].as_str().unwrap();
                match client.delete(&format!("{topic}/schedules/{id}")).await {
                    Some(204) => self.fates.insert(key, Fate::Cancelled),
                    // It was delivered meanwhile.
                    Some(404) => self.fates.insert(key, Fate::Scheduled),
                    _ => return,
                };
            }
        }
    }

    /// Compares a topic with what is known; gives how many records it has.
    async fn check(&self, client: &Client, topic: &str) -> usize {
        let mut found = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for number in client.read(topic, partition).await {
                assert_eq!(found.insert(number, partition), None, "{number} is there twice");
                assert_eq!(number % PARTITIONS, partition);
                let fate = self.fates.get(&(topic.to_owned(), number));
                let fate = fate.expect("only what was sent is there");
                assert_ne!(*fate, Fate::Cancelled, "{number} was cancelled");
            }
        }
        for ((_, number), fate) in self.fates.iter().filter(|((of, _), _)| of == topic) {
            let must = *fate == Fate::Scheduled;
            assert!(!must || found.contains_key(number), "{topic}: {number} never appeared");
        }
        found.len()
    }
}

/// A server, and how to ask it. None: it is gone.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    fn of(server: &Server) -> Self {
        Self { http: reqwest::Client::new(), url: format!("{}/v1/topics", server.url) }
    }

    async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn put(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        Self::answer(self.http.put(format!("{}/{path}", self.url)).body(body.to_string())).await
    }

    async fn post(&self, path: &str, body: String) -> Option<(u16, Value)> {
        Self::answer(self.http.post(format!("{}/{path}", self.url)).body(body)).await
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let (status, answer) = Self::answer(self.http.get(format!("{}/{path}", self.url))).await?;
        assert!(status == 200 || status == 503, "{path}: {status} {answer}");
        Some(answer)
    }

    async fn delete(&self, path: &str) -> Option<u16> {
        let request = self.http.delete(format!("{}/{path}", self.url));
        Some(Self::answer(request).await?.0)
    }

    /// The numbers in a partition.
    async fn read(&self, topic: &str, partition: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        loop {
            let at = numbers.len();
            let path = format!("{topic}/records?partition={partition}&offset={at}");
            let page = self.get(&path).await.unwrap();
            for record in page["records"].as_array().unwrap() {
                numbers.push(record["value"].as_str().unwrap().parse().unwrap());
            }
            if page["next_offset"] == page["end_offset"] {
                return numbers;
            }
        }
    }
}
