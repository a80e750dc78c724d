//! Threads that answer for others: one queue, one model, its weights once in memory.
//!
//! An instance is one thread that owns its work from the payload to the answer, and a pool of rayon of its own, whose only thread it is
//! unless more are asked for. More instances make more of several cores than more threads within one. The queue is bounded:
//! whoever finds it full is told so, and keeps the payloads.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::answer::{Answer, Payload};
use super::error::InferError;
use super::warm_up::WarmUp;
use super::{Model, Stage};
use crate::run::message_of;

/// What became of each payload, in their order.
pub type Results = Vec<Result<Answer, InferError>>;

/// Batches that may wait for each instance, by default: the next one is there when the last is done.
const QUEUED_PER_INSTANCE: usize = 2;

/// How many threads there are, and how much may wait.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstanceOptions {
    /// Threads that answer; one per core by default.
    pub count: usize,
    /// Threads within each of them.
    pub threads: usize,
    /// Batches that may wait.
    pub queue: usize,
    /// Whether each instance warms up before it takes work.
    pub warm_up: bool,
}

impl Default for InstanceOptions {
    fn default() -> Self {
        let count = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { count, threads: 1, queue: count * QUEUED_PER_INSTANCE, warm_up: true }
    }
}

/// The queue had no room. The payloads are given back.
#[derive(Debug, thiserror::Error)]
#[error("{waiting} batches wait already; try again later")]
pub struct Refused {
    /// Batches in the queue.
    pub waiting: usize,
    /// What was to be answered.
    pub payloads: Vec<Payload>,
}

/// Why there are no instances.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system gave no thread.
    #[error("cannot start the threads of an instance: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The model does not run.
    #[error("warming up failed: {0}")]
    WarmUp(InferError),
}

/// Threads that answer payloads. Dropping it answers what is running, and gives [`InferError::Stopped`] for what waits.
#[derive(Debug)]
pub struct Instances {
    shared: Arc<Shared>,
    pools: Vec<ThreadPool>,
    warm_up: WarmUp,
}

struct Shared {
    model: Model,
    queue: Mutex<Queue>,
    /// There is work, or no more will come.
    work: Condvar,
    /// There is room, or no more is needed.
    room: Condvar,
    /// An owner thread has ended.
    ended: Condvar,
    queue_max: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopped: bool,
    owners: usize,
}

struct Job {
    payloads: Vec<Payload>,
    queued: Duration,
    done: Box<dyn FnOnce(Results) + Send>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.queue.lock();
        f.debug_struct("Shared")
            .field("model", &self.model.name())
            .field("waiting", &queue.jobs.len())
            .field("owners", &queue.owners)
            .finish()
    }
}

impl Instances {
    /// Starts the threads, and waits until each has warmed up.
    ///
    /// # Errors
    /// [`StartError`]; no thread is left then.
    pub fn start(model: &Model, options: &InstanceOptions) -> Result<Self, StartError> {
        let count = options.count.max(1);
        let shared = Arc::new(Shared {
            model: model.clone(),
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            ended: Condvar::new(),
            queue_max: options.queue.max(1),
        });
        let mut instances = Self { shared, pools: Vec::new(), warm_up: WarmUp::default() };
        let (sender, warmed) = mpsc::channel();
        for at in 0..count {
            let name = format!("model-{at}");
            let pool = ThreadPoolBuilder::new()
                .num_threads(options.threads.max(1))
                .thread_name(move |_| name.clone())
                .build()?;
            let (shared, warm_up) =
                (instances.shared.clone(), options.warm_up.then(|| sender.clone()));
            instances.shared.queue.lock().owners += 1;
            pool.spawn(move || own(&shared, warm_up));
            instances.pools.push(pool);
        }
        drop(sender);
        for report in warmed {
            instances.warm_up = report.map_err(StartError::WarmUp)?;
        }
        Ok(instances)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pools.len()
    }

    /// The model that answers.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.shared.model
    }

    /// What one of them ran to warm up.
    #[must_use]
    pub const fn warm_up(&self) -> &WarmUp {
        &self.warm_up
    }

    /// Batches that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().jobs.len()
    }

    /// Has a batch answered; `done` is called with the answers, on the thread that made them.
    ///
    /// # Errors
    /// [`Refused`]: the queue is full.
    pub fn submit(
        &self,
        payloads: Vec<Payload>,
        done: impl FnOnce(Results) + Send + 'static,
    ) -> Result<(), Refused> {
        let queued = self.shared.model.inner.clock.elapsed();
        let mut queue = self.shared.queue.lock();
        let waiting = queue.jobs.len();
        if waiting >= self.shared.queue_max {
            return Err(Refused { waiting, payloads });
        }
        queue.jobs.push_back(Job { payloads, queued, done: Box::new(done) });
        drop(queue);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Answers a batch of any size, its parts on all instances, and waits for the answers and for room in the queue.
    #[must_use]
    pub fn infer(&self, payloads: &[Payload]) -> Results {
        let share = payloads.len().div_ceil(self.count().max(1));
        let size = share.clamp(1, self.shared.model.batch_max().max(1));
        let (sender, answered) = mpsc::channel();
        for (at, part) in payloads.chunks(size).enumerate() {
            let sender = sender.clone();
            // Whoever waits is there until all have answered.
            let done = move |results: Results| drop(sender.send((at, results)));
            let queued = self.shared.model.inner.clock.elapsed();
            let mut queue = self.shared.queue.lock();
            while queue.jobs.len() >= self.shared.queue_max {
                self.shared.room.wait(&mut queue);
            }
            queue.jobs.push_back(Job { payloads: part.to_vec(), queued, done: Box::new(done) });
            drop(queue);
            self.shared.work.notify_one();
        }
        drop(sender);
        let mut parts: Vec<(usize, Results)> = answered.iter().collect();
        parts.sort_unstable_by_key(|(at, _)| *at);
        let mut results: Results = parts.into_iter().flat_map(|(_, results)| results).collect();
        results.resize_with(payloads.len(), || Err(InferError::Stopped));
        results
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.stopped = true;
        let waiting = std::mem::take(&mut queue.jobs);
        self.shared.work.notify_all();
        drop(queue);
        for job in waiting {
            let stopped = job.payloads.iter().map(|_| Err(InferError::Stopped)).collect();
            finish(job.done, stopped);
        }
        // A thread of ours that drops the last of us, in `done`, cannot wait for itself.
        if self.pools.iter().any(|pool| pool.current_thread_index().is_some()) {
            return;
        }
        let mut queue = self.shared.queue.lock();
        while queue.owners > 0 {
            self.shared.ended.wait(&mut queue);
        }
    }
}

/// What an owner thread does: warm up, then answer until there is no more to come.
fn own(shared: &Shared, warm_up: Option<mpsc::Sender<Result<WarmUp, InferError>>>) {
    if let Some(sender) = warm_up {
        let report =
            catch_unwind(AssertUnwindSafe(|| shared.model.warm_up())).unwrap_or_else(|panic| {
                Err(InferError::Panicked { stage: Stage::Pre, message: message_of(&*panic) })
            });
        // Whoever started us may have given up already.
        drop(sender.send(report));
    }
    while let Some(job) = shared.next() {
        let started = shared.model.inner.clock.elapsed();
        let infer = AssertUnwindSafe(|| shared.model.infer(&job.payloads));
        let mut results = catch_unwind(infer).unwrap_or_else(|panic| {
            let message = message_of(&*panic);
            let failed =
                |_| Err(InferError::Panicked { stage: Stage::Post, message: message.clone() });
            job.payloads.iter().map(failed).collect()
        });
        for answer in results.iter_mut().flatten() {
            answer.times.queue = started.saturating_sub(job.queued);
        }
        finish(job.done, results);
    }
    shared.queue.lock().owners -= 1;
    shared.ended.notify_all();
}

/// Hands answers over. A panic of the receiver must not end the thread that answers others.
fn finish(done: Box<dyn FnOnce(Results) + Send>, results: Results) {
    drop(catch_unwind(AssertUnwindSafe(move || done(results))));
}

impl Shared {
    /// The next job. `None`: no more will come.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                self.room.notify_one();
                return Some(job);
            }
            if queue.stopped {
                return None;
            }
            self.work.wait(&mut queue);
        }
    }
}
