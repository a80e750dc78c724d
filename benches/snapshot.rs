//! Latency of durable appends while a large snapshot is written, against the quiet latency of the same run.
//!
//! `cargo bench -p embermq-benches --bench snapshot`
//!
//! The state is filled with idempotency keys until its snapshot has about 500 MB. Appends of 1 KiB to another topic are
//! timed, with 1 and with 16 in flight: for a window in which no snapshot runs, then from the append that makes the next
//! one due until it is there, with the sync of the segments that it waits for. What a sync takes differs by a factor of
//! three from minute to minute on some machines: the two take turns, and the middle one of their ratios counts.
//! `EMBERMQ_BENCH_KEYS` changes the number of keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use embermq::{
    Batch, Broker, Commit, Durability, IdempotencyKey, Options, PartitionId, Record, TopicName,
    TopicSettings,
};
use embermq_benches::{describe, folder, median, window};
use tokio::runtime::Builder;

/// The durable appends that are timed.
const RECORD_BYTES: usize = 1_024;
/// What makes a snapshot due is written in records of this size.
const BULK_BYTES: usize = 1 << 20;
/// Keys as long as they may be make the state large with the fewest commits.
const KEY_BYTES: usize = 255;
const KEYS: u64 = 1_630_000;
/// Commits of the filling that are in flight at once.
const KEYS_IN_FLIGHT: usize = 8_192;
/// Quiet windows, and snapshots, with so many appends in flight.
const TURNS: usize = 5;
/// How often the end of a snapshot is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// The p99 during a snapshot may be so many times the quiet one.
const WANTED: f64 = 3.0;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(folder())?;
    describe(dir.path());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let keys = std::env::var("EMBERMQ_BENCH_KEYS").ok().and_then(|keys| keys.parse().ok());
    runtime.block_on(async {
        let bench = Bench::open(dir.path()).await?;
        bench.fill(keys.unwrap_or(KEYS)).await?;
        for in_flight in [1, 16] {
            let mut ratios = Vec::new();
            for _ in 0..TURNS {
                let quiet = bench.quiet(in_flight).await?;
                let during = bench.during(in_flight).await?;
                quiet.print(&format!("{in_flight} in flight, quiet"));
                during.print(&format!("{in_flight} in flight, during a snapshot"));
                ratios.push(during.p99_seconds() / quiet.p99_seconds());
            }
            print_times(&format!("p99 with {in_flight} in flight"), ratios);
        }
        let bytes = bench.newest_snapshot()?.map_or(0, |snapshot| snapshot.bytes);
        println!("the snapshots had {} MB", bytes / 1_000_000);
        bench.broker.shutdown().await;
        Ok(())
    })
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn print_times(what: &str, ratios: Vec<f64>) {
    let all: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.1}")).collect();
    let times = median(ratios);
    let verdict = if times <= WANTED { "holds" } else { "falls short" };
    let all = all.join(", ");
    println!(
        "{what:<44} {times:>5.2} times the quiet one ({all})  wanted at most {WANTED:.1}  {verdict}"
    );
}

/// A snapshot file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Snapshot {
    /// Where in the commit log it stands.
    position: u64,
    bytes: u64,
}

struct Bench {
    broker: Broker,
    snapshots: PathBuf,
    keyed: TopicName,
    bulk: TopicName,
    timed: TopicName,
}

impl Bench {
    async fn open(dir: &Path) -> Result<Self, Failure> {
        // More keys than a server would take.
        let options = Options { idempotency_bytes_max: 16 << 30, ..Options::default() };
        let broker = Broker::open(dir, options)?;
        let (keyed, bulk, timed) = ("keyed".parse()?, "bulk".parse()?, "timed".parse()?);
        for (topic, durability) in
            [(&keyed, Durability::Os), (&bulk, Durability::Fsync), (&timed, Durability::Fsync)]
        {
            let settings = TopicSettings { durability, ..TopicSettings::default() };
            broker.create_topic(topic, settings).await?;
        }
        Ok(Self { broker, snapshots: dir.join("snapshots"), keyed, bulk, timed })
    }

    /// Commits a small record under each of so many keys.
    async fn fill(&self, keys: u64) -> Result<(), Failure> {
        let batch = Batch::of(&[Record::new("x")]);
        let mut in_flight = std::collections::VecDeque::with_capacity(KEYS_IN_FLIGHT);
        for number in 0..keys {
            let key = format!("{number:0KEY_BYTES$}");
            let commit = Commit {
                idempotency_key: Some(IdempotencyKey { key, fingerprint: number }),
                ..Commit::of_batch(&self.keyed, PartitionId(0), batch.clone())
            };
            in_flight.push_back(self.broker.submit(commit)?);
            if in_flight.len() == KEYS_IN_FLIGHT
                && let Some(oldest) = in_flight.pop_front()
            {
                oldest.await??;
            }
        }
        for commit in in_flight {
            commit.await??;
        }
        Ok(())
    }

    /// Returns when no snapshot is running, and none becomes due soon.
    async fn settle(&self) -> Result<(), Failure> {
        loop {
            while self.is_running()? {
                tokio::time::sleep(LOOK).await;
            }
            let before = self.taken();
            // One that has just become due may not have its file yet.
            if self.until_due()? < self.broker.options().snapshot_log_bytes / 2 {
                self.make_due().await?;
                self.wait_for_more_than(before).await;
                continue;
            }
            tokio::time::sleep(LOOK).await;
            if self.taken() == before && !self.is_running()? {
                return Ok(());
            }
        }
    }

    /// Latencies of a window without a snapshot.
    async fn quiet(&self, in_flight: usize) -> Result<Latencies, Failure> {
        loop {
            self.settle().await?;
            let before = self.taken();
            let timing = Timing::start(self, in_flight);
            tokio::time::sleep(window()).await;
            let latencies = timing.stop().await?;
            if self.taken() == before && !self.is_running()? {
                return Ok(latencies);
            }
        }
    }

    /// Latencies from the moment at which a snapshot is due to the one at which it is there.
    async fn during(&self, in_flight: usize) -> Result<Latencies, Failure> {
        let before = self.taken();
        self.make_due().await?;
        let timing = Timing::start(self, in_flight);
        self.wait_for_more_than(before).await;
        timing.stop().await
    }

    async fn wait_for_more_than(&self, before: u64) {
        while self.taken() == before {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Appends until the next snapshot is due, each append durable, so that the log itself owes the device nothing.
    async fn make_due(&self) -> Result<(), Failure> {
        let batch = Batch::of(&[Record::new(vec![0x5a; BULK_BYTES])]);
        while self.until_due()? > 0 {
            let commit = Commit::of_batch(&self.bulk, PartitionId(0), batch.clone());
            self.broker.commit(commit).await?;
        }
        Ok(())
    }

    /// Bytes of commit log until the next snapshot is due.
    fn until_due(&self) -> Result<u64, Failure> {
        let last = self.newest_snapshot()?.map_or(0, |snapshot| snapshot.position);
        let grown = self.broker.status().log_end.0.saturating_sub(last);
        Ok(self.broker.options().snapshot_log_bytes.saturating_sub(grown))
    }

    fn taken(&self) -> u64 {
        self.broker.metrics().snapshots.load(Ordering::Relaxed)
    }

    fn newest_snapshot(&self) -> Result<Option<Snapshot>, Failure> {
        let mut newest = None;
        for (name, bytes) in self.files()? {
            if let Some(position) = name.strip_suffix(".snap") {
                newest = newest.max(Some(Snapshot { position: position.parse()?, bytes }));
            }
        }
        Ok(newest)
    }

    fn is_running(&self) -> Result<bool, Failure> {
        Ok(self.files()?.iter().any(|(name, _)| name.ends_with(".tmp")))
    }

    fn files(&self) -> Result<Vec<(String, u64)>, Failure> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.snapshots)? {
            let entry = entry?;
            // A file that was renamed or removed meanwhile is no longer of interest.
            if let Ok(facts) = entry.metadata() {
                files.push((entry.file_name().to_string_lossy().into_owned(), facts.len()));
            }
        }
        Ok(files)
    }
}

/// Durable appends that go on, so many at a time, until they are stopped.
struct Timing {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Result<Vec<Duration>, Failure>>>,
}

impl Timing {
    fn start(bench: &Bench, in_flight: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let batch = Batch::of(&[Record::new(vec![0x5a; RECORD_BYTES])]);
        let commit = Commit::of_batch(&bench.timed, PartitionId(0), batch);
        let append = || {
            let (broker, commit, stop) = (bench.broker.clone(), commit.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
                    let start = Instant::now();
                    broker.commit(commit.clone()).await?;
                    latencies.push(start.elapsed());
                }
                Ok(latencies)
            })
        };
        let tasks = (0..in_flight).map(|_| append()).collect();
        Self { stop, tasks }
    }

    async fn stop(self) -> Result<Latencies, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sorted = Vec::new();
        for task in self.tasks {
            sorted.append(&mut task.await??);
        }
        sorted.sort_unstable();
        Ok(Latencies { sorted })
    }
}

struct Latencies {
    sorted: Vec<Duration>,
}

impl Latencies {
    fn p99_seconds(&self) -> f64 {
        self.quantile(0.99).as_secs_f64()
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list for a print"
    )]
    fn quantile(&self, part: f64) -> Duration {
        let at = (self.sorted.len() as f64 * part) as usize;
        self.sorted.get(at.min(self.sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    #[expect(clippy::print_stdout, reason = "a benchmark prints")]
    fn print(&self, what: &str) {
        let (p50, p99) = (self.quantile(0.5), self.quantile(0.99));
        let most = self.quantile(1.0);
        let count = self.sorted.len();
        println!("{what:<44} p50 {p50:>9.1?}  p99 {p99:>9.1?}  most {most:>9.1?}  {count} appends");
    }
}
