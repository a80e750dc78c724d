//! What a stage that uses all cores costs those who produce elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use embermq_benches::exchange::exchange;
use embermq_benches::wire::Wire;
use embermq_benches::{Failure, SLICES, window};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::ember::{BACKLOG, Ember, post_request};
use crate::job::Job;

/// Nothing reads it.
const TOPIC: &str = "unrelated";
/// So many times as long may an append take.
const WANTED_TIMES: f64 = 3.0;
/// More photos than a stage takes in a second.
const PHOTOS_PER_SECOND: f64 = 250.0;

/// The job's stage is attached already. It is paused, works, and works while photos are posted, in turns: what a sync takes differs by
/// a factor of three from one second to the next.
#[expect(clippy::print_stdout, reason = "a benchmark prints")]
pub(crate) fn isolate(serving: &Runtime, ember: &Ember, job: &Job) -> Result<(), Failure> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let enough = (window().as_secs_f64() * PHOTOS_PER_SECOND) as u64;
    let (mut quiet, mut working, mut posting) = (Vec::new(), Vec::new(), Vec::new());
    serving.block_on(async {
        ember.create_topic(TOPIC).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let load = ember.post(job, &stop, enough);
        while ember.backlog(job) < enough {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        end(&stop, load).await?;
        for _ in 0..SLICES {
            ember.pause(job, true).await?;
            produce(ember, &mut quiet).await?;
            ember.pause(job, false).await?;
            produce(ember, &mut working).await?;
            if ember.backlog(job) == 0 {
                return Err("the stage ran dry".into());
            }
            let stop = Arc::new(AtomicBool::new(false));
            let load = ember.post(job, &stop, BACKLOG + ember.backlog(job));
            produce(ember, &mut posting).await?;
            end(&stop, load).await?;
        }
        ember.drained(job).await;
        Ok::<_, Failure>(())
    })?;
    let [quiet, working, posting] = [quiet, working, posting].map(p99);
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

async fn end(stop: &AtomicBool, load: Vec<JoinHandle<Result<(), Failure>>>) -> Result<(), Failure> {
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await??;
    }
    Ok(())
}

fn p99(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}

/// Adds what durable appends of 1 KiB to another topic take, over HTTP, for a slice of the window.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn produce(ember: &Ember, latencies: &mut Vec<Duration>) -> Result<(), Failure> {
    let request = post_request(TOPIC, "application/octet-stream", &[0x5a; 1_024]);
    let mut wire = Wire::connect(ember.address).await?;
    let begin = Instant::now();
    while begin.elapsed() < window() / SLICES {
        let before = Instant::now();
        exchange(&mut wire, &request).await?;
        latencies.push(before.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
