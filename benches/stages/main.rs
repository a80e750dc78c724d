//! Stages: against the engine that they run, and against workers in Python on a Redis stream.
//!
//! `cargo bench -p embermq-benches --bench stages`
//!
//! **Engine.** Payloads are posted over HTTP, one a request, faster than the stage takes them, and its outputs are counted; the probe is
//! the engine alone, with as many instances, on the same payloads in batches of the same size. With what comes with the program, an
//! MLP of 27,562 parameters, and MiniLM (texts of 5 to 90 words) if `EMBERMQ_MODELS` names a folder with its files in `minilm`.
//!
//! **Isolation.** One connection produces a record of 1 KiB each millisecond to a topic that waits for its syncs, while the stage is paused, while
//! it uses all cores on what waits for it, and while photos are posted beside that as fast as they are taken, which share the log and the disk: in
//! turns; the 99th percentiles are compared.
//!
//! **Contest.** End to end, from the first input sent to the last answer read: four connections send the same inputs in requests of
//! the same size and wait until each is durable; one reads the answers as they come. EmberMQ is a process of its own with one topic, a
//! stage and the topic of its outputs; the peer is Redis with `appendfsync always` between the same producers, workers in Python
//! (a consumer group; onnxruntime; answers and acknowledgements of a batch in one `MULTI`; see `peer/worker.py`) and the same
//! reader. Both keep their data on the same file system and answer with the same few words. Both are tried in two ways, and the better
//! one counts: a stage with its default settings, and one with an instance for each core and as large batches as serve it; one worker that has all cores and a worker for each core.
//!
//! `EMBERMQ_BENCH_ONLY` picks `engine`, `isolation` or `contest`; `EMBERMQ_BENCH_MODEL` one model. `redis-server` is looked for in `PATH`,
//! or is what `EMBERMQ_BENCH_REDIS` says; `EMBERMQ_BENCH_PYTHON` is a Python with what `peer/requirements.txt` names. `EMBERMQ_BENCH_WORKER_BATCH` is
//! how many entries a worker takes at a time, instead of as many as serve it best. What is missing is
//! skipped.

mod contest;
mod ember;
mod engine;
mod isolation;
mod job;
mod served;
mod workers;

use std::path::Path;

use embermq_benches::peer::find;
use embermq_benches::redis::{REDIS, Redis};
use embermq_benches::{Failure, describe, folder, median, print_rate, print_times};
use tokio::runtime::Builder;

use contest::{Load, turn};
use ember::Ember;
use job::{Contest, Job, jobs, minilm};
use served::{SERVE, Served, variants};
use workers::{Workers, python};

/// Turns of each; their medians count.
const TURNS: usize = 3;

fn main() -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let serving = Builder::new_multi_thread().enable_all().build()?;
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(SERVE), Some(dir)) =
        (arguments.next().as_deref().and_then(|word| word.to_str()), arguments.next())
    {
        return served::serve(&serving, Path::new(&dir), cores);
    }
    let dir = tempfile::tempdir_in(folder())?;
    describe(dir.path());
    let only = std::env::var("EMBERMQ_BENCH_ONLY").ok();
    let chosen = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let mut jobs = jobs(dir.path())?;
    jobs.extend(minilm(dir.path())?);
    if let Some(only) = std::env::var_os("EMBERMQ_BENCH_MODEL") {
        jobs.retain(|job| *job.name == *only);
    }
    if chosen("engine") || chosen("isolation") {
        let ember = serving.block_on(Ember::start(dir.path()))?;
        for job in &jobs {
            let isolated = chosen("isolation") && job.name == "efficientnet-lite0";
            if chosen("engine") || isolated {
                engine::compare(&serving, &ember, job, cores)?;
            }
            if isolated {
                isolation::isolate(&serving, &ember, job)?;
            }
        }
        serving.block_on(ember.stop())?;
    }
    if chosen("contest") {
        // As in a program of its own: the load has one thread, whatever it talks to.
        let driving = Builder::new_current_thread().enable_all().build()?;
        driving.block_on(compete(dir.path(), &jobs, cores))?;
    }
    Ok(())
}

async fn compete(dir: &Path, jobs: &[Job], cores: usize) -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(dir)?;
    let served = Served::start(dir.path())?;
    let peer = match find(&REDIS).zip(python()) {
        Some((redis, python)) => Some((Redis::start(&redis, dir.path()).await?, python)),
        None => None,
    };
    for job in jobs {
        let Some(contest) = &job.contest else { continue };
        let mut workers = Vec::new();
        if let Some((redis, python)) = &peer {
            let counts = if cores > 1 { vec![1, cores] } else { vec![1] };
            for count in counts {
                let some = Workers::start(redis, python, job, contest, (count, cores)).await?;
                workers.push((format!("workers: {count}"), some));
            }
        }
        of_job(&served, job, contest, &workers, cores).await?;
    }
    Ok(())
}

/// The rates of one way.
struct Way {
    name: String,
    rates: Vec<f64>,
}

impl Way {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rates: Vec::new() }
    }

    fn rate(&self) -> f64 {
        median(self.rates.clone())
    }

    fn better(ways: &[Self]) -> Option<&Self> {
        ways.iter().max_by(|a, b| a.rate().total_cmp(&b.rate()))
    }
}

async fn of_job(
    served: &Served,
    job: &Job,
    contest: &Contest,
    workers: &[(String, Workers)],
    cores: usize,
) -> Result<(), Failure> {
    let load = Load::of(job, contest);
    let mut ours: Vec<Way> =
        variants(contest, cores).iter().map(|(name, _)| Way::new(name)).collect();
    let mut theirs: Vec<Way> = workers.iter().map(|(name, _)| Way::new(name)).collect();
    // The first turn of each is not counted.
    for number in 0..=TURNS {
        for (variant, way) in ours.iter_mut().enumerate() {
            let rate = turn(&served.stage(job, variant), &load).await?;
            way.rates.extend((number > 0).then_some(rate));
        }
        for ((_, workers), way) in workers.iter().zip(&mut theirs) {
            let rate = turn(workers, &load).await?;
            way.rates.extend((number > 0).then_some(rate));
        }
    }
    for (whose, way) in
        ours.iter().map(|way| ("stage", way)).chain(theirs.iter().map(|way| ("Redis", way)))
    {
        print_rate(&format!("  {}, {whose}, {}", job.name, way.name), way.rate());
    }
    if let (Some(ours), Some(theirs)) = (Way::better(&ours), Way::better(&theirs)) {
        let what = format!("{}, end to end, {}", job.name, ours.name);
        let peer = format!("Redis, {}", theirs.name);
        print_times(&what, ours.rate(), &peer, theirs.rate(), Some(contest.wanted));
    }
    Ok(())
}
