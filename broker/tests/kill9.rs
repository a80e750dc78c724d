//! `kill -9` under load: nothing acknowledged is lost, doubled, reordered or invented.
//!
//! Each cycle: 64 clients produce over HTTP, one record per request, to 20 topics as fast as they can; the server is
//! killed at a random moment and started again on the same folder; then everything ever produced is read and compared
//! with the ledger of acknowledgements. `EMBERMQ_CYCLES` says how many cycles (default 10), `EMBERMQ_SEED` repeats the
//! moments of the kills, counted in acknowledgements.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it ran, and fails by panicking"
)]

mod server;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use embermq_protocol::batch::decode_batches;
use embermq_protocol::v1::FetchResponse;
use prost::Message;
use server::{Server, splitmix};

const CLIENTS: usize = 64;
const TOPICS: usize = 20;
/// Every fourth topic has several partitions.
const PARTITIONS: usize = 3;

/// What a client was told.
struct Acked {
    topic: usize,
    partition: u32,
    offset: u64,
    record: Id,
}

/// A record's name: its client and its number within the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id {
    client: u64,
    number: u64,
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
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
    create_topics(&server.url).await;
    let mut ledger: Vec<Acked> = Vec::new();
    // The last number that each client tried to send: one may have been taken without an answer.
    let mut tried: HashMap<u64, u64> = HashMap::new();
    for cycle in 0..cycles {
        let load = Load::start(&server.url, cycle);
        load.acknowledged(50 + splitmix(seed ^ cycle) % 4_000).await;
        server.kill();
        for (acked, client, last) in load.finish().await {
            ledger.extend(acked);
            tried.insert(client, last);
        }
        server = Server::start(data.path(), &[]);
        check(&server.url, &ledger, &tried).await;
    }
    println!("{cycles} kills, {} acknowledged records: all there, once, in order", ledger.len());
}

fn name(topic: usize) -> String {
    format!("topic-{topic}")
}

fn partitions(topic: usize) -> usize {
    if topic.is_multiple_of(4) { PARTITIONS } else { 1 }
}

async fn create_topics(url: &str) {
    let http = reqwest::Client::new();
    for topic in 0..TOPICS {
        let body = format!("{{\"partitions\":{}}}", partitions(topic));
        let put = http.put(format!("{url}/v1/topics/{}", name(topic)));
        let answer =
            put.header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }
}

struct Load {
    clients: Vec<tokio::task::JoinHandle<(Vec<Acked>, u64, u64)>>,
    acknowledged: Arc<AtomicU64>,
}

impl Load {
    fn start(url: &str, cycle: u64) -> Self {
        let acknowledged = Arc::<AtomicU64>::default();
        let clients = (0..CLIENTS).map(|number| {
            let client = cycle * CLIENTS as u64 + number as u64;
            let (url, count) = (url.to_owned(), Arc::clone(&acknowledged));
            tokio::spawn(produce(url, client, number % TOPICS, count))
        });
        Self { clients: clients.collect(), acknowledged }
    }

    /// Waits until so many records were acknowledged in this cycle.
    async fn acknowledged(&self, at_least: u64) {
        while self.acknowledged.load(Ordering::Relaxed) < at_least {
            tokio::task::yield_now().await;
        }
    }

    async fn finish(self) -> Vec<(Vec<Acked>, u64, u64)> {
        let mut told = Vec::new();
        for client in self.clients {
            told.push(client.await.unwrap());
        }
        told
    }
}

/// Produces until the server is gone.
async fn produce(
    url: String,
    client: u64,
    topic: usize,
    count: Arc<AtomicU64>,
) -> (Vec<Acked>, u64, u64) {
    let http = reqwest::Client::new();
    let url = format!("{url}/v1/topics/{}/records", name(topic));
    let mut acked = Vec::new();
    for number in 0.. {
        let sent = http.post(&url).body(format!("{client} {number}")).send().await;
        let Ok(answer) = sent else { return (acked, client, number) };
        if answer.status() == 429 {
            continue;
        }
        assert_eq!(answer.status(), 200);
        let Ok(text) = answer.bytes().await else { return (acked, client, number) };
        let Ok(told) = serde_json::from_slice::<serde_json::Value>(&text) else {
            return (acked, client, number);
        };
        let partition = u32::try_from(told["partition"].as_u64().unwrap()).unwrap();
        let offset = told["offset"].as_u64().unwrap();
        acked.push(Acked { topic, partition, offset, record: Id { client, number } });
        count.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("the server is killed before numbers run out")
}

async fn check(url: &str, ledger: &[Acked], tried: &HashMap<u64, u64>) {
    let mut stored: HashMap<(usize, u32), Vec<Id>> = HashMap::new();
    for topic in 0..TOPICS {
        for partition in 0..u32::try_from(partitions(topic)).unwrap() {
            stored.insert((topic, partition), read_all(url, topic, partition).await);
        }
    }
    let mut seen = HashMap::new();
    for (place, records) in &stored {
        let mut last: HashMap<u64, u64> = HashMap::new();
        for (offset, record) in records.iter().enumerate() {
            let Id { client, number } = *record;
            assert!(number <= tried[&client], "{record:?} was never sent");
            let before = seen.insert(*record, (*place, offset));
            assert_eq!(before, None, "{record:?} is there twice");
            let earlier = last.insert(client, number);
            assert!(earlier < Some(number), "{record:?} is out of order");
        }
    }
    for Acked { topic, partition, offset, record } in ledger {
        let found = stored[&(*topic, *partition)].get(usize::try_from(*offset).unwrap());
        assert_eq!(found, Some(record), "what was acknowledged at {topic}/{partition}/{offset}");
    }
}

async fn read_all(url: &str, topic: usize, partition: u32) -> Vec<Id> {
    let http = reqwest::Client::new();
    let mut records = Vec::new();
    loop {
        let at = records.len();
        let url =
            format!("{url}/v1/topics/{}/records?partition={partition}&offset={at}", name(topic));
        let get = http.get(url).header("accept", "application/x-protobuf");
        let answer = get.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.bytes().await.unwrap();
        let fetched = FetchResponse::decode(body.clone()).unwrap();
        for record in decode_batches([body], at as u64) {
            let record = record.unwrap();
            assert_eq!(record.offset, records.len() as u64, "offsets are dense");
            records.push(parse(&record.record.value.unwrap()));
        }
        if fetched.next_offset == fetched.end_offset {
            return records;
        }
    }
}

fn parse(value: &[u8]) -> Id {
    let text = std::str::from_utf8(value).unwrap();
    let (client, number) = text.split_once(' ').unwrap();
    Id { client: client.parse().unwrap(), number: number.parse().unwrap() }
}
