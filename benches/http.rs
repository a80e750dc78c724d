//! EmberMQ over HTTP/1.1, against a bare axum server in the same process.
//!
//! `cargo bench -p embermq-benches --bench http`
//!
//! Produce: one record of 1 KiB a request over 64 connections that stay open, to a topic of each durability, against a
//! handler that only reads the body. Catch-up fetch: 512 MiB (in the page cache) as protobuf in answers of 8 MiB, over 1
//! and 4 connections, against a handler that sends one buffer of that size. The load comes from one thread that shares
//! the cores with both servers; it sends bytes built beforehand and reads of an answer only what it needs.
//! `EMBERMQ_BENCH_ONLY` picks `produce` or `fetch`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use embermq::http::{ServeOptions, Server};
use embermq::{
    Batch, Broker, Commit, Durability, Options, PartitionId, Record, TopicName, TopicSettings,
};
use embermq_benches::{SLICES, describe, folder, median, print_ratio, window};
use embermq_protocol::limits::FETCH_BYTES_MAX;
use embermq_protocol::{media, paths};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const RECORD_BYTES: usize = 1_024;
const PRODUCE_CONNECTIONS: usize = 64;
/// What is fetched: this many batches of 1,024 records of 1 KiB.
const BATCHES: u64 = 512;
const BATCH_RECORDS: u64 = 1_024;
/// Of the client: holds any head, and takes a body apart into reads of this size.
const BUFFER_BYTES: usize = 256 << 10;
/// Paths of the bare server.
const TAKE: &str = "/take";
const GIVE: &str = "/give";

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(folder())?;
    describe(dir.path());
    let serving = Builder::new_multi_thread().enable_all().build()?;
    let driving = Builder::new_current_thread().enable_all().build()?;
    let bare = serving.block_on(bare_server())?;
    let ember = serving.block_on(Ember::start(dir.path()))?;
    let only = std::env::var("EMBERMQ_BENCH_ONLY").ok();
    let chosen = |part: &str| only.as_ref().is_none_or(|only| only == part);
    if chosen("produce") {
        compare_produce(&driving, bare, ember.address)?;
    }
    if chosen("fetch") {
        serving.block_on(ember.fill())?;
        compare_fetch(&driving, bare, ember.address)?;
    }
    serving.block_on(ember.stop())
}

fn compare_produce(driving: &Runtime, bare: SocketAddr, ember: SocketAddr) -> Result<(), Failure> {
    let load = |address, path: &str| Load {
        address,
        connections: PRODUCE_CONNECTIONS,
        requests: Requests::Same(post_request(path)),
    };
    let probe = load(bare, TAKE);
    for (name, topic) in [("fsync", topic("fsync")?), ("os", topic("os")?)] {
        let (rate, probe) = between(driving, &load(ember, &paths::records(&topic)), &probe)?;
        let what = format!("produce 1 KiB a request, {PRODUCE_CONNECTIONS} connections, {name}");
        print_ratio(&what, rate.answers, probe.answers, Some(0.6));
    }
    Ok(())
}

fn compare_fetch(driving: &Runtime, bare: SocketAddr, ember: SocketAddr) -> Result<(), Failure> {
    for connections in [1, 4] {
        let load = Load { address: ember, connections, requests: Requests::CatchUp };
        let requests = Requests::Same(get_request(GIVE));
        let probe = Load { address: bare, connections, requests };
        let (rate, probe) = between(driving, &load, &probe)?;
        let what = format!("fetch MiB in answers of 8, {connections} connections");
        let mib = |rate: Rate| rate.body_bytes / f64::from(1 << 20);
        print_ratio(&what, mib(rate), mib(probe), Some(0.7));
    }
    Ok(())
}

/// Slices of the load in turn with slices of the probe; their medians count.
fn between(driving: &Runtime, load: &Load, probe: &Load) -> Result<(Rate, Rate), Failure> {
    let slice = window() / SLICES;
    let (mut rates, mut probes) = (Vec::new(), Vec::new());
    for _ in 0..SLICES {
        rates.push(driving.block_on(load.run(slice))?);
        probes.push(driving.block_on(probe.run(slice))?);
    }
    Ok((Rate::median(&rates), Rate::median(&probes)))
}

/// A handler that only reads the body, and one that sends a buffer that is there.
async fn bare_server() -> Result<SocketAddr, Failure> {
    let buffer = Bytes::from(vec![0x5a; FETCH_BYTES_MAX as usize]);
    let take =
        async |_body: Bytes| ([(CONTENT_TYPE, media::JSON)], r#"{"partition":0,"offset":0}"#);
    let give = async move || ([(CONTENT_TYPE, media::PROTOBUF)], buffer.clone());
    let router = Router::new().route(TAKE, post(take)).route(GIVE, get(give));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap_or_default());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// The server that is measured, with its broker.
struct Ember {
    broker: Broker,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Ember {
    async fn start(dir: &Path) -> Result<Self, Failure> {
        let broker = Broker::open(dir.join("data"), Options::default())?;
        for (name, durability) in
            [("fsync", Durability::Fsync), ("os", Durability::Os), ("filled", Durability::Os)]
        {
            let settings = TopicSettings { durability, ..TopicSettings::default() };
            broker.create_topic(&topic(name)?, settings).await?;
        }
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServeOptions { listen, ..ServeOptions::default() };
        let server = Server::bind(broker.clone(), options).await?;
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            stopped.await.ok();
        }));
        Ok(Self { broker, address, stop, running })
    }

    /// Appends what is fetched.
    async fn fill(&self) -> Result<(), Failure> {
        let record = Record::new(vec![0x5a; RECORD_BYTES - 8]);
        let batch = Batch::of(&vec![record; usize::try_from(BATCH_RECORDS)?]);
        let topic = topic("filled")?;
        for _ in 0..BATCHES {
            self.broker.commit(Commit::of_batch(&topic, PartitionId(0), batch.clone())).await?;
        }
        Ok(())
    }

    async fn stop(self) -> Result<(), Failure> {
        self.stop.send(()).ok();
        self.running.await?;
        self.broker.shutdown().await;
        Ok(())
    }
}

fn topic(name: &str) -> Result<TopicName, Failure> {
    Ok(name.parse()?)
}

fn post_request(path: &str) -> Bytes {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {RECORD_BYTES}\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.resize(request.len() + RECORD_BYTES, 0x5a);
    request.into()
}

fn get_request(path: &str) -> Bytes {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: {}\r\n\r\n", media::PROTOBUF).into()
}

#[derive(Clone)]
enum Requests {
    /// The same again and again.
    Same(Bytes),
    /// From where the last answer ended; at the partition's end from its start again.
    CatchUp,
}

impl Requests {
    fn at(&self, offset: u64) -> Bytes {
        match self {
            Self::Same(request) => request.clone(),
            Self::CatchUp => get_request(&format!(
                "{}/filled/records?{}={offset}&{}={FETCH_BYTES_MAX}&{}=true",
                paths::TOPICS,
                paths::query::OFFSET,
                paths::query::MAX_BYTES,
                paths::query::COMPRESSED,
            )),
        }
    }
}

/// Per second.
#[derive(Clone, Copy)]
struct Rate {
    answers: f64,
    body_bytes: f64,
}

impl Rate {
    fn median(rates: &[Self]) -> Self {
        Self {
            answers: median(rates.iter().map(|rate| rate.answers).collect()),
            body_bytes: median(rates.iter().map(|rate| rate.body_bytes).collect()),
        }
    }
}

#[derive(Default)]
struct Counted {
    answers: AtomicU64,
    body_bytes: AtomicU64,
}

impl Counted {
    #[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
    fn now(&self) -> (f64, f64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        (load(&self.answers), load(&self.body_bytes))
    }
}

struct Load {
    address: SocketAddr,
    connections: usize,
    requests: Requests,
}

impl Load {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    async fn run(&self, window: Duration) -> Result<Rate, Failure> {
        let counted = Arc::new(Counted::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..self.connections {
            let mut client = Client::connect(self.address).await?;
            let (counted, stop) = (Arc::clone(&counted), Arc::clone(&stop));
            let requests = self.requests.clone();
            // Each connection reads another part of the partition.
            let share = BATCHES * BATCH_RECORDS / self.connections as u64;
            let mut offset = share * number as u64;
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.exchange(&requests.at(offset)).await?;
                    counted.answers.fetch_add(1, Ordering::Relaxed);
                    counted.body_bytes.fetch_add(answer.body_bytes as u64, Ordering::Relaxed);
                    offset = answer.next_offset % (BATCHES * BATCH_RECORDS);
                }
                Ok::<(), Failure>(())
            }));
        }
        tokio::time::sleep(window / 3).await;
        let (answers, body_bytes) = counted.now();
        let start = Instant::now();
        tokio::time::sleep(window).await;
        let after = counted.now();
        let seconds = start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await??;
        }
        Ok(Rate {
            answers: (after.0 - answers) / seconds,
            body_bytes: (after.1 - body_bytes) / seconds,
        })
    }
}

/// What the load needs to know of an answer.
struct Answer {
    body_bytes: usize,
    /// 0 when the answer says none.
    next_offset: u64,
}

impl Answer {
    fn parse(head: &[u8]) -> Result<Self, Failure> {
        let head = std::str::from_utf8(head)?;
        if !head.starts_with("HTTP/1.1 2") {
            return Err(format!("refused: {head}").into());
        }
        let field = |wanted: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(": "));
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        let body_bytes = field("content-length").ok_or("an answer without a length")?.parse()?;
        let next_offset = field("next-offset").map_or(Ok(0), str::parse)?;
        Ok(Self { body_bytes, next_offset })
    }
}

/// One connection, and as little of HTTP/1.1 as both servers need.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER_BYTES] })
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.stream.write_all(request).await?;
        let mut held = 0;
        let (answer, body_at) = loop {
            held += self.read(held).await?;
            let mut ends = self.buffer[..held].windows(4);
            if let Some(end) = ends.position(|bytes| bytes == b"\r\n\r\n") {
                break (Answer::parse(&self.buffer[..end])?, end + 4);
            }
        };
        let mut body_bytes = held - body_at;
        while body_bytes < answer.body_bytes {
            body_bytes += self.read(0).await?;
        }
        Ok(answer)
    }

    /// Reads into the buffer from `at` on.
    async fn read(&mut self, at: usize) -> Result<usize, Failure> {
        match self.stream.read(&mut self.buffer[at..]).await? {
            0 => Err("the server closed the connection, or sent an endless head".into()),
            bytes => Ok(bytes),
        }
    }
}
