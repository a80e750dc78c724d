//! Durable appends inside one process, against raw group commits of the same bytes.
//!
//! `cargo bench -p embermq-benches --bench append`
//!
//! One record of 1 KiB per commit: from one thread that commits one after the other, and with 1, 256 and 4,096 commits in
//! flight, each awaited by a task of its own (the difference between the first two is what it takes to go from a task to
//! another thread and back); commits of 100 records with 16 in flight; and the same load over 64 partitions.
//! `EMBERMQ_BENCH_ONLY` picks one by its number in flight (64: the partitions).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use embermq::{
    Append, Batch, Broker, Commit, Options, PartitionId, Record, TopicName, TopicSettings,
};
use embermq_benches::probe::Probe;
use embermq_benches::{SLICES, describe, folder, median, print_ratio, window};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const RECORD_BYTES: usize = 1_024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(folder())?;
    describe(dir.path());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let only = std::env::var("EMBERMQ_BENCH_ONLY").ok();
    let chosen = |in_flight: usize| only.as_ref().is_none_or(|only| *only == in_flight.to_string());
    let load = |caller, in_flight, records| Load { caller, in_flight, records, partitions: 1 };
    for (load, wanted) in [
        (load(Caller::Thread, 1, 1), Some(0.85)),
        (load(Caller::Task, 1, 1), None),
        (load(Caller::Task, 256, 1), Some(0.5)),
        (load(Caller::Task, 4_096, 1), Some(0.8)),
        (load(Caller::Task, 16, 100), Some(0.8)),
    ] {
        if chosen(load.in_flight) {
            compare(&runtime, dir.path(), load, wanted)?;
        }
    }
    if !chosen(64) {
        return Ok(());
    }
    let one = load(Caller::Task, 256, 1);
    let many = Load { partitions: 64, ..one };
    let (mut one, mut many) = (Run::open(one, dir.path())?, Run::open(many, dir.path())?);
    let slice = window() / SLICES;
    let (mut of_one, mut of_many) = (Vec::new(), Vec::new());
    for _ in 0..SLICES {
        of_one.push(one.commits_per_second(&runtime, slice)?);
        of_many.push(many.commits_per_second(&runtime, slice)?);
    }
    print_ratio(
        "64 partitions against one, 256 in flight",
        median(of_many),
        median(of_one),
        Some(1.0 / 1.3),
    );
    one.close(&runtime);
    many.close(&runtime);
    Ok(())
}

/// Slices of the load in turn with slices of the probe; their medians count.
fn compare(runtime: &Runtime, dir: &Path, load: Load, wanted: Option<f64>) -> Result<(), Failure> {
    let Load { caller, in_flight, records, .. } = load;
    let mut probe = Probe::new(dir, in_flight * records * RECORD_BYTES)?;
    let mut run = Run::open(load, dir)?;
    let slice = window() / SLICES;
    // Once round the first files, so that the log's files are the prepared ones.
    run.commits_per_second(runtime, slice * 2)?;
    let (mut rates, mut zeroed, mut allocated) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SLICES {
        rates.push(run.commits_per_second(runtime, slice)?);
        let [z, a] = probe.groups_per_second(slice)?;
        zeroed.push(z);
        allocated.push(a);
    }
    run.close(runtime);
    #[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
    let best = median(zeroed).max(median(allocated)) * in_flight as f64;
    print_ratio(
        &format!("{records} x 1 KiB, {in_flight} in flight, {}", caller.word()),
        median(rates),
        best,
        wanted,
    );
    Ok(())
}

/// Who commits, and waits for the answer.
#[derive(Clone, Copy)]
enum Caller {
    Thread,
    Task,
}

impl Caller {
    const fn word(self) -> &'static str {
        match self {
            Self::Thread => "one thread",
            Self::Task => "awaited",
        }
    }
}

#[derive(Clone, Copy)]
struct Load {
    caller: Caller,
    in_flight: usize,
    records: usize,
    partitions: u32,
}

/// A broker with a load on it.
struct Run {
    load: Load,
    broker: Broker,
    batch: Batch,
    topic: TopicName,
    topic_there: bool,
    _dir: TempDir,
}

impl Run {
    fn open(load: Load, dir: &Path) -> Result<Self, Failure> {
        let dir = tempfile::tempdir_in(dir)?;
        let broker = Broker::open(dir.path(), Options::default())?;
        let record = Record::new(vec![0x5a; RECORD_BYTES - 64]);
        let batch = Batch::of(&vec![record; load.records]);
        Ok(Self { load, broker, batch, topic: "load".parse()?, topic_there: false, _dir: dir })
    }

    fn commits_per_second(&mut self, runtime: &Runtime, window: Duration) -> Result<f64, Failure> {
        runtime.block_on(async {
            if !std::mem::replace(&mut self.topic_there, true) {
                let partitions = self.load.partitions;
                let settings = TopicSettings { partitions, ..TopicSettings::default() };
                self.broker.create_topic(&self.topic, settings).await?;
            }
            Ok::<(), Failure>(())
        })?;
        match self.load.caller {
            Caller::Thread => self.commit_in_turn(window),
            Caller::Task => runtime.block_on(self.drive(window)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn commit_in_turn(&self, window: Duration) -> Result<f64, Failure> {
        let start = Instant::now();
        let mut commits = 0_u32;
        while start.elapsed() < window {
            let commit = Commit::of_batch(&self.topic, PartitionId(0), self.batch.clone());
            self.broker.commit_blocking(commit)?;
            commits += 1;
        }
        Ok(f64::from(commits) / start.elapsed().as_secs_f64())
    }

    fn close(self, runtime: &Runtime) {
        runtime.block_on(self.broker.shutdown());
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    async fn drive(&self, window: Duration) -> Result<f64, Failure> {
        let done = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let tasks: Vec<_> = (0..self.load.in_flight)
            .map(|number| {
                let broker = self.broker.clone();
                let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
                let number = u32::try_from(number).unwrap_or(0);
                let partition = PartitionId(number % self.load.partitions);
                let (topic, batch) = (self.topic.clone(), self.batch.clone());
                let append = Append { topic, partition, batch };
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let commit = Commit { appends: vec![append.clone()], ..Commit::default() };
                        broker.commit(commit).await?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), Failure>(())
                })
            })
            .collect();
        tokio::time::sleep(window).await;
        let commits = done.load(Ordering::Relaxed);
        let seconds = start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await??;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
        Ok(commits as f64 / seconds)
    }
}
