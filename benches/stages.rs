//! Stages, against the engine that they run.
//!
//! `cargo bench -p embermq-benches --bench stages`
//!
//! Throughput: payloads are posted over HTTP, one a request, faster than the stage takes them, and its outputs are counted; the probe is
//! the engine alone, with as many instances, on the same payloads in batches of the same size. Isolation: one connection produces a
//! record of 1 KiB each millisecond to a topic that waits for its syncs, once while the machine is quiet and once while the stage uses all
//! cores; the 99th percentiles are compared. Both with what comes with the program; MiniLM too if `EMBERMQ_MODELS` names a
//! folder with its bundle in `minilm`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use embermq::http::{ServeOptions, Server, Serving};
use embermq::models::{Models, OnnxLoader};
use embermq::{Broker, Options, Roster, StageConfig, TopicName, TopicSettings};
use embermq_benches::{describe, folder, median, print_ratio, window};
use embermq_inference::shipped::{self, Shipped};
use embermq_inference::{InstanceOptions, Instances, Model, ModelOptions, Payload};
use embermq_protocol::paths;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Connections that post payloads.
const CONNECTIONS: usize = 4;
/// No more is posted while so many wait.
const BACKLOG_MAX: u64 = 400;
/// As a stage has it.
const BATCH: usize = 8;
/// Of the engine's throughput.
const WANTED: f64 = 0.85;
/// Turns of stage and engine; their medians count.
const TURNS: usize = 3;

fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(folder())?;
    describe(dir.path());
    let serving = Builder::new_multi_thread().enable_all().build()?;
    let ember = serving.block_on(Ember::start(dir.path()))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for job in jobs(dir.path())? {
        compare(&serving, &ember, &job, cores)?;
        if job.name == "efficientnet-lite0" {
            isolate(&serving, &ember, &job)?;
        }
    }
    serving.block_on(ember.stop())
}

/// A model and what it is asked.
struct Job {
    name: &'static str,
    bundle: PathBuf,
    content_type: &'static str,
    payloads: Vec<Bytes>,
    /// The part of the engine's throughput that is asked for; a model that takes microseconds has its time in the log.
    wanted: Option<f64>,
}

fn jobs(dir: &Path) -> Result<Vec<Job>, Failure> {
    let mut jobs = Vec::new();
    for model in shipped::MODELS {
        let bundle = dir.join(model.name);
        unpack(model, &bundle)?;
        let (content_type, payloads): (_, Vec<Bytes>) = match model.name {
            "efficientnet-lite0" => {
                let photos = shipped::PHOTOS.iter();
                ("image/jpeg", photos.map(|(_, _, bytes)| Bytes::from_static(bytes)).collect())
            }
            "iris-mlp" => ("application/json", vec!["[5.1, 3.5, 1.4, 0.2]".into()]),
            _ => continue,
        };
        let wanted = (model.name == "efficientnet-lite0").then_some(WANTED);
        jobs.push(Job { name: model.name, bundle, content_type, payloads, wanted });
    }
    if let Some(models) = std::env::var_os("EMBERMQ_MODELS") {
        let bundle = Path::new(&models).join("minilm");
        let text = "A valve on the second line is leaking oil, and the pump behind it runs hot.";
        let payloads = vec![text.into()];
        let (content_type, wanted) = ("text/plain", Some(WANTED));
        jobs.push(Job { name: "minilm", bundle, content_type, payloads, wanted });
    }
    Ok(jobs)
}

fn unpack(model: &Shipped, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir(folder)?;
    for (name, content) in model.files {
        std::fs::write(folder.join(name), content)?;
    }
    Ok(())
}

fn compare(serving: &Runtime, ember: &Ember, job: &Job, cores: usize) -> Result<(), Failure> {
    serving.block_on(ember.attach(job, cores))?;
    let model = Model::open(&job.bundle, &ModelOptions::default())?;
    let (mut rates, mut probes) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        rates.push(serving.block_on(ember.outputs_per_second(job))?);
        probes.push(engine(&model, job, cores)?);
    }
    let what = format!("{}, stage by engine, {cores} instances", job.name);
    print_ratio(&what, median(rates), median(probes), job.wanted);
    Ok(())
}

/// Answers per second of the engine alone.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
#[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
fn engine(model: &Model, job: &Job, cores: usize) -> Result<f64, Failure> {
    let mut options = InstanceOptions::default();
    options.count = cores;
    let instances = Instances::start(model, &options)?;
    let cycle = job.payloads.iter().cycle().cloned().map(Payload::from);
    let payloads: Vec<Payload> = cycle.take(BATCH * cores * 4).collect();
    for result in instances.infer(&payloads[..BATCH]) {
        result?;
    }
    let (begin, mut answers) = (Instant::now(), 0);
    while begin.elapsed() < window() {
        answers += instances.infer(&payloads).into_iter().filter(Result::is_ok).count();
    }
    Ok(answers as f64 / begin.elapsed().as_secs_f64())
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn isolate(serving: &Runtime, ember: &Ember, job: &Job) -> Result<(), Failure> {
    let quiet = serving.block_on(ember.produce_latencies())?;
    let saturated = serving.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let load = ember.post(job, Arc::clone(&stop));
        tokio::time::sleep(window() / 4).await;
        let latencies = ember.produce_latencies().await;
        stop.store(true, Ordering::Relaxed);
        for task in load {
            task.await??;
        }
        ember.drained(job).await;
        latencies
    })?;
    let p99 = |latencies: &[Duration]| latencies[latencies.len() * 99 / 100];
    let (quiet, saturated) = (p99(&quiet), p99(&saturated));
    let times = saturated.as_secs_f64() / quiet.as_secs_f64();
    let verdict = if times < 3.0 { "holds" } else { "falls short" };
    println!(
        "durable produce p99: quiet {quiet:.2?}, all cores in a stage {saturated:.2?}, {times:.1} times  wanted below 3  {verdict}"
    );
    Ok(())
}

/// The server that is measured.
struct Ember {
    broker: Broker,
    serving: Serving,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Ember {
    async fn start(dir: &Path) -> Result<Self, Failure> {
        let data = dir.join("data");
        let broker = Broker::open(data.clone(), Options::default())?;
        broker.create_topic(&topic("unrelated")?, TopicSettings::default()).await?;
        let models = Models::open(&broker, &data, Arc::new(OnnxLoader::default())).await?;
        let models = Arc::new(models);
        let stages = Arc::new(Roster::open(&broker, Arc::clone(&models)).await?);
        let serving = Serving { models, stages };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServeOptions { listen, ..ServeOptions::default() };
        let server = Server::bind(broker.clone(), options).await?.with_stages(serving.clone());
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            stopped.await.ok();
        }));
        Ok(Self { broker, serving, address, stop, running })
    }

    /// Registers the job's model and attaches it to a topic of its name.
    async fn attach(&self, job: &Job, instances: usize) -> Result<(), Failure> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", &job.bundle)?;
        let sent = self.serving.models.upload()?;
        std::fs::write(sent.path(), archive.into_inner()?)?;
        let (name, version) = (job.name.parse()?, "1".parse()?);
        self.serving.models.register(&name, &version, sent.path(), None).await?;
        let output = format!("{}.out", job.name);
        for name in [job.name, &output] {
            self.broker.create_topic(&topic(name)?, TopicSettings::default()).await?;
        }
        let config = serde_json::json!({
            "input": job.name, "output": output, "model": job.name, "instances": instances,
            "max_batch_size": BATCH, "ordering": "none",
        });
        let config: StageConfig = serde_json::from_value(config)?;
        self.serving.stages.put(&job.name.parse()?, config).await?;
        Ok(())
    }

    fn ends(&self, job: &Job) -> (u64, u64) {
        let end = |name: &str| {
            let known = topic(name).ok().and_then(|name| self.broker.topic(&name));
            let parts = known.map(|topic| topic.partitions.iter().map(|p| p.reader.end().0).sum());
            parts.unwrap_or(0_u64)
        };
        (end(job.name), end(&format!("{}.out", job.name)))
    }

    /// Posts payloads until it is told to stop.
    fn post(&self, job: &Job, stop: Arc<AtomicBool>) -> Vec<JoinHandle<Result<(), Failure>>> {
        let requests: Vec<Bytes> = job
            .payloads
            .iter()
            .map(|payload| request(job.name, job.content_type, payload))
            .collect();
        let requests = Arc::new(requests);
        let (broker, address) = (self.broker.clone(), self.address);
        let (input, output) = (job.name, format!("{}.out", job.name));
        let post = move |number: usize| {
            let (requests, stop) = (Arc::clone(&requests), Arc::clone(&stop));
            let (broker, output) = (broker.clone(), output.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await?;
                let mut at = number;
                while !stop.load(Ordering::Relaxed) {
                    let end = |name: &str| end_of(&broker, name);
                    if end(input).saturating_sub(end(&output)) > BACKLOG_MAX {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    client.exchange(&requests[at % requests.len()]).await?;
                    at += 1;
                }
                Ok(())
            })
        };
        (0..CONNECTIONS).map(post).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    #[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
    async fn outputs_per_second(&self, job: &Job) -> Result<f64, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let load = self.post(job, Arc::clone(&stop));
        tokio::time::sleep(window() / 4).await;
        let (before, begin) = (self.ends(job).1, Instant::now());
        tokio::time::sleep(window()).await;
        let rate = (self.ends(job).1 - before) as f64 / begin.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for task in load {
            task.await??;
        }
        self.drained(job).await;
        Ok(rate)
    }

    /// Waits until each payload has its output.
    async fn drained(&self, job: &Job) {
        loop {
            let (posted, made) = self.ends(job);
            if made >= posted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What durable appends of 1 KiB to another topic take, over HTTP; sorted.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    async fn produce_latencies(&self) -> Result<Vec<Duration>, Failure> {
        let request = request("unrelated", "application/octet-stream", &vec![0x5a; 1_024]);
        let mut client = Client::connect(self.address).await?;
        let (mut latencies, begin) = (Vec::new(), Instant::now());
        while begin.elapsed() < window() {
            let before = Instant::now();
            client.exchange(&request).await?;
            latencies.push(before.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies.sort_unstable();
        Ok(latencies)
    }

    async fn stop(self) -> Result<(), Failure> {
        self.stop.send(()).ok();
        self.running.await?;
        self.serving.stages.stop().await;
        self.broker.shutdown().await;
        Ok(())
    }
}

fn end_of(broker: &Broker, name: &str) -> u64 {
    let known = topic(name).ok().and_then(|name| broker.topic(&name));
    known.map_or(0, |topic| topic.partitions.iter().map(|p| p.reader.end().0).sum())
}

fn topic(name: &str) -> Result<TopicName, Failure> {
    Ok(name.parse()?)
}

fn request(topic: &str, content_type: &str, body: &[u8]) -> Bytes {
    let head = format!(
        "POST {}/{topic}/records HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        paths::TOPICS,
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

/// One connection, and as little of HTTP/1.1 as the server needs.
struct Client {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, held: Vec::new() })
    }

    /// Sends a request and reads its answer, which is a short one.
    async fn exchange(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(request).await?;
        self.held.clear();
        loop {
            if self.stream.read_buf(&mut self.held).await? == 0 {
                return Err("the server has closed the connection".into());
            }
            let Some(end) = self.held.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.held[..end])?.to_ascii_lowercase();
            if !head.starts_with("http/1.1 2") {
                return Err(format!("refused: {head}").into());
            }
            let mut lengths = head.lines().filter_map(|line| line.strip_prefix("content-length: "));
            let length: usize = lengths.next().ok_or("an answer without a length")?.parse()?;
            if self.held.len() >= end + 4 + length {
                return Ok(());
            }
        }
    }
}
