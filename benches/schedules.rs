//! What many schedules cost in memory, while they are made, kept, and read back after a restart.
//!
//! `cargo bench -p embermq-benches --bench schedules`
//!
//! Ten million records (`EMBERMQ_BENCH_SCHEDULES` changes the number), one to a schedule, a thousand to a commit, at moments scattered
//! over the next year. Memory is what the process holds of its own (`RssAnon`): mapped segments are the page cache's.

use std::time::{Duration, Instant};

use embermq::{
    Append, Batch, Broker, Commit, Durability, Options, PartitionId, Record, Scheduled, Timestamp,
    TopicName, TopicSettings,
};
use embermq_benches::{describe, folder};

const SCHEDULES: u64 = 10_000_000;
const PER_COMMIT: u64 = 1_000;
const YEAR_US: u64 = 365 * 24 * 3_600 * 1_000_000;
/// What all of it may take.
const WANTED_BYTES: u64 = 1 << 30;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(folder())?;
    describe(dir.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let wanted = std::env::var("EMBERMQ_BENCH_SCHEDULES").ok().and_then(|count| count.parse().ok());
    let count = wanted.unwrap_or(SCHEDULES);
    let topic: TopicName = "later".parse()?;
    let before = own_bytes()?;
    runtime.block_on(async {
        let broker = Broker::open(dir.path(), Options::default())?;
        let settings = TopicSettings { durability: Durability::Os, ..TopicSettings::default() };
        broker.create_topic(&topic, settings).await?;
        let began = now();
        fill(&broker, &topic, count).await?;
        print("made", count, before, began.elapsed())?;
        let began = now();
        let page = broker.schedules(&topic, None, 1_000)?;
        println!("a page of {} of them took {:?}", page.len(), began.elapsed());
        broker.shutdown().await;
        Ok::<_, Failure>(())
    })?;
    runtime.block_on(async {
        let began = now();
        let broker = Broker::open(dir.path(), Options::default())?;
        print("read back", count, before, began.elapsed())?;
        broker.shutdown().await;
        Ok(())
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

async fn fill(broker: &Broker, topic: &TopicName, count: u64) -> Result<(), Failure> {
    let batch = Batch::of(&[Record::new("x")]);
    let now = broker.now().0;
    let mut made = 0;
    while made < count {
        let scheduled = (made..count.min(made + PER_COMMIT)).map(|number| {
            let ahead = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % YEAR_US + 3_600_000_000;
            let deliver_at = Timestamp(now + ahead.cast_signed());
            let (topic, batch) = (topic.clone(), batch.clone());
            let append = Append { topic, partition: PartitionId(0), batch };
            Scheduled { append, deliver_at }
        });
        let commit = Commit { scheduled: scheduled.collect(), ..Commit::default() };
        made += broker.commit(commit).await?.scheduled.len() as u64;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn print(what: &str, count: u64, before: u64, took: Duration) -> Result<(), Failure> {
    let bytes = own_bytes()?.saturating_sub(before);
    let verdict = if bytes <= WANTED_BYTES { "holds" } else { "falls short" };
    println!(
        "{count} schedules {what} in {took:.1?}: {} MB more, {} bytes each  wanted at most {} MB  {verdict}",
        bytes / 1_000_000,
        bytes / count.max(1),
        WANTED_BYTES / 1_000_000,
    );
    Ok(())
}

/// Memory of this process that is no file's.
fn own_bytes() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).unwrap_or("0").parse()?;
    Ok(kib << 10)
}
