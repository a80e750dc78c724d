//! A stage beside the engine that it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use embermq_benches::{Failure, median, print_ratio, window};
use embermq_inference::{InstanceOptions, Instances, Model, ModelOptions, Payload};
use tokio::runtime::Runtime;

use crate::TURNS;
use crate::ember::{BACKLOG, Ember};
use crate::job::Job;

/// As a stage has it.
const BATCH: usize = 8;

/// Attaches a stage to a topic of the job's name, and measures both in turns.
pub(crate) fn compare(
    serving: &Runtime,
    ember: &Ember,
    job: &Job,
    cores: usize,
) -> Result<(), Failure> {
    let settings = serde_json::json!({
        "instances": cores, "max_batch_size": BATCH, "ordering": "none",
    });
    serving.block_on(async {
        ember.register(job).await?;
        ember.attach(job, job.name, settings).await
    })?;
    let model = Model::open(&job.bundle, &ModelOptions::default())?;
    let (mut rates, mut probes) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        rates.push(serving.block_on(outputs_per_second(ember, job))?);
        probes.push(answers_per_second(&model, job, cores)?);
    }
    let what = format!("{}, stage by engine, {cores} instances", job.name);
    print_ratio(&what, median(rates), median(probes), job.of_engine);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
#[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
async fn outputs_per_second(ember: &Ember, job: &Job) -> Result<f64, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let load = ember.post(job, &stop, BACKLOG);
    tokio::time::sleep(window() / 4).await;
    let (before, begin) = (ember.outputs(job), Instant::now());
    tokio::time::sleep(window()).await;
    let rate = (ember.outputs(job) - before) as f64 / begin.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await??;
    }
    ember.drained(job).await;
    Ok(rate)
}

/// Of the engine alone.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
#[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
fn answers_per_second(model: &Model, job: &Job, cores: usize) -> Result<f64, Failure> {
    let mut options = InstanceOptions::default();
    options.count = cores;
    let instances = Instances::start(model, &options)?;
    let mut bytes = job.payloads.clone();
    // Texts of like length together, as a stage has them: the engine takes batches as they come.
    bytes.sort_by_key(bytes::Bytes::len);
    let count = (BATCH * cores * 4).max(bytes.len().min(BATCH * cores * 64));
    let payloads: Vec<Payload> =
        bytes.iter().cycle().cloned().map(Payload::from).take(count).collect();
    for result in instances.infer(&payloads[..BATCH]) {
        result?;
    }
    let (begin, mut answers) = (Instant::now(), 0);
    while begin.elapsed() < window() {
        answers += instances.infer(&payloads).into_iter().filter(Result::is_ok).count();
    }
    Ok(answers as f64 / begin.elapsed().as_secs_f64())
}
