//! What a stage that uses all cores costs those who produce elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use embermq_benches::exchange::exchange;
use embermq_benches::wire::Wire;
use embermq_benches::{Failure, window};
use tokio::runtime::Runtime;

use crate::ember::{BACKLOG, Ember, post_request};
use crate::job::Job;

/// Nothing reads it.
const TOPIC: &str = "unrelated";
/// So many times as long may an append take.
const WANTED_TIMES: f64 = 3.0;
/// More photos than a stage takes in a second.
const PHOTOS_PER_SECOND: f64 = 250.0;

/// The job's stage is attached already.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub(crate) fn isolate(serving: &Runtime, ember: &Ember, job: &Job) -> Result<(), Failure> {
    serving.block_on(ember.create_topic(TOPIC))?;
    let quiet = serving.block_on(produce_latencies(ember))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let enough = (window().as_secs_f64() * PHOTOS_PER_SECOND) as u64;
    let (working, posting) = serving.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let load = ember.post(job, &stop, enough);
        while ember.backlog(job) < enough {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.store(true, Ordering::Relaxed);
        for task in load {
            task.await??;
        }
        let working = produce_latencies(ember).await?;
        if ember.backlog(job) == 0 {
            return Err("the stage ran dry".into());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let load = ember.post(job, &stop, BACKLOG + ember.backlog(job));
        let posting = produce_latencies(ember).await;
        stop.store(true, Ordering::Relaxed);
        for task in load {
            task.await??;
        }
        ember.drained(job).await;
        Ok::<_, Failure>((working, posting?))
    })?;
    let p99 = |latencies: &[Duration]| latencies[latencies.len() * 99 / 100];
    let (quiet, working, posting) = (p99(&quiet), p99(&working), p99(&posting));
    let times = |busy: Duration| busy.as_secs_f64() / quiet.as_secs_f64();
    let verdict = if times(working) < WANTED_TIMES { "holds" } else { "falls short" };
    println!(
        "durable produce p99: quiet {quiet:.2?}, all cores in a stage {working:.2?}, {:.1} times  wanted below {WANTED_TIMES:.0}  {verdict}",
        times(working)
    );
    println!(
        "  with four connections that post photos beside it {posting:.2?}, {:.1} times",
        times(posting)
    );
    Ok(())
}

/// What durable appends of 1 KiB to another topic take, over HTTP; sorted.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn produce_latencies(ember: &Ember) -> Result<Vec<Duration>, Failure> {
    let request = post_request(TOPIC, "application/octet-stream", &[0x5a; 1_024]);
    let mut wire = Wire::connect(ember.address).await?;
    let (mut latencies, begin) = (Vec::new(), Instant::now());
    while begin.elapsed() < window() {
        let before = Instant::now();
        exchange(&mut wire, &request).await?;
        latencies.push(before.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    latencies.sort_unstable();
    Ok(latencies)
}
