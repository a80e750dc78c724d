//! Durable appends inside one process, against raw group commits of the same bytes.
//!
//! `cargo bench -p embermq-benches --bench append`
//!
//! One record of 1 KiB per commit with 1, 256 and 4,096 commits in flight, each awaited by a task of its own; commits of
//! 100 records with 16 in flight; and the same load over 64 partitions. `EMBERMQ_BENCH_ONLY` picks one by its number in
//! flight (64: the partitions).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use embermq::{
    Append, Batch, Broker, Commit, Options, PartitionId, Record, TopicName, TopicSettings,
};
use embermq_benches::{describe, folder, print_ratio, probe, window};

const RECORD_BYTES: usize = 1_024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(folder())?;
    describe(dir.path());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let only = std::env::var("EMBERMQ_BENCH_ONLY").ok();
    let chosen = |in_flight: usize| only.as_ref().is_none_or(|only| *only == in_flight.to_string());
    for (in_flight, records, wanted) in
        [(1, 1, 0.85), (256, 1, 0.5), (4_096, 1, 0.8), (16, 100, 0.8)]
    {
        if chosen(in_flight) {
            compare(&runtime, dir.path(), Load { in_flight, records, partitions: 1 }, wanted)?;
        }
    }
    if !chosen(64) {
        return Ok(());
    }
    let one = Load { in_flight: 256, records: 1, partitions: 1 };
    let many = Load { partitions: 64, ..one };
    let (one, many) = (one.run(&runtime, dir.path())?, many.run(&runtime, dir.path())?);
    print_ratio("64 partitions against one, 256 in flight", many, one, 1.0 / 1.3);
    Ok(())
}

/// Runs probe, load, probe: the probe's mean stands for the machine.
fn compare(
    runtime: &tokio::runtime::Runtime,
    dir: &Path,
    load: Load,
    wanted: f64,
) -> Result<(), Failure> {
    let group_bytes = load.in_flight * load.records * RECORD_BYTES;
    let before = probe::group_commits_per_second(dir, group_bytes, window())?;
    let rate = load.run(runtime, dir)?;
    let after = probe::group_commits_per_second(dir, group_bytes, window())?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
    let probe = (before + after) / 2.0 * load.in_flight as f64;
    let Load { in_flight, records, .. } = load;
    print_ratio(
        &format!("commits of {records} x 1 KiB, {in_flight} in flight"),
        rate,
        probe,
        wanted,
    );
    Ok(())
}

#[derive(Clone, Copy)]
struct Load {
    in_flight: usize,
    records: usize,
    partitions: u32,
}

impl Load {
    /// Commits per second.
    fn run(self, runtime: &tokio::runtime::Runtime, dir: &Path) -> Result<f64, Failure> {
        let dir = tempfile::tempdir_in(dir)?;
        let broker = Broker::open(dir.path(), Options::default())?;
        runtime.block_on(async {
            let topic: TopicName = "load".parse()?;
            let settings =
                TopicSettings { partitions: self.partitions, ..TopicSettings::default() };
            broker.create_topic(&topic, settings).await?;
            let record = Record::new(vec![0x5a; RECORD_BYTES - 64]);
            let batch = Batch::of(&vec![record; self.records]);
            // Once round the first files, so that the log's files are the prepared ones.
            self.drive(&broker, &topic, &batch, window()).await?;
            let rate = self.drive(&broker, &topic, &batch, window()).await?;
            broker.shutdown().await;
            Ok(rate)
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    async fn drive(
        self,
        broker: &Broker,
        topic: &TopicName,
        batch: &Batch,
        window: Duration,
    ) -> Result<f64, Failure> {
        let done = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let tasks: Vec<_> = (0..self.in_flight)
            .map(|number| {
                let (broker, done, stop) = (broker.clone(), Arc::clone(&done), Arc::clone(&stop));
                let partition = PartitionId(u32::try_from(number).unwrap_or(0) % self.partitions);
                let append = Append { topic: topic.clone(), partition, batch: batch.clone() };
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
