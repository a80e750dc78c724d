//! The threads that run one model for those who ask it directly.
//!
//! The queue is bounded: whoever finds it full is told so at once. A call that does not return is given up with its thread, another
//! takes its place, a bounded number of times. Calls whose clients are gone are not begun; one that has begun is watched to its end by
//! a task of its own, so that a client that goes away takes no thread along.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::DirectError;
use crate::background::give_way;
use crate::given_up::Interest;
use crate::panicked::message_of;

/// Threads that were given up, for each that there is to be, before no more are started.
const LOST_PER_THREAD_MAX: usize = 4;

/// Threads and their queue.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    count: usize,
    queue_max: usize,
    timeout: Duration,
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    queue: VecDeque<Job>,
    /// Threads that are there and not given up.
    threads: usize,
    /// Threads that were given up and have not come back.
    lost: usize,
    closed: bool,
}

struct Job {
    run: Box<dyn FnOnce() + Send>,
    began: oneshot::Sender<()>,
    given_up: Arc<AtomicBool>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("given_up", &self.given_up).finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts `count` threads.
    pub(super) fn start(
        name: &str,
        count: usize,
        queue_max: usize,
        timeout: Duration,
    ) -> Result<Self, DirectError> {
        let (work, changed) = (Mutex::default(), Condvar::new());
        let shared = Shared { name: name.to_owned(), count, queue_max, timeout, work, changed };
        let workers = Self { shared: Arc::new(shared) };
        for _ in 0..count {
            let what = |error: std::io::Error| format!("no thread can be started: {error}");
            workers.shared.spawn().map_err(|error| DirectError::Model { what: what(error) })?;
        }
        Ok(workers)
    }

    /// Has something done by one of the threads. To be called within a tokio runtime.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DirectError> {
        let (began, begins) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        // Gone when whoever asks is.
        let asking = Arc::new(());
        let asks = Arc::downgrade(&asking);
        let interest = Interest::default();
        let cancel = interest.mark();
        let run = move || {
            if asks.strong_count() > 0 {
                let work = AssertUnwindSafe(|| cancel.watch(work));
                let done = catch_unwind(work).map_err(|panic| message_of(&*panic));
                answer.send(done).ok();
            }
        };
        let given_up = Arc::new(AtomicBool::new(false));
        let job = Job { run: Box::new(run), began, given_up: Arc::clone(&given_up) };
        self.shared.push(job)?;
        let shared = Arc::clone(&self.shared);
        let watched = tokio::spawn(async move {
            let _until_its_end = interest;
            // As many as may wait take at most so long.
            let Ok(begun) = tokio::time::timeout(shared.timeout, begins).await else {
                return Err(DirectError::Overloaded { waiting: shared.waiting() });
            };
            begun.map_err(|_| shared.ended())?;
            match tokio::time::timeout(shared.timeout, answered).await {
                Ok(Ok(Ok(answer))) => Ok(answer),
                Ok(Ok(Err(message))) => {
                    Err(DirectError::Model { what: format!("it panicked: {message}") })
                }
                Ok(Err(_)) => Err(shared.ended()),
                Err(_) => {
                    shared.give_up(&given_up);
                    Err(DirectError::TimedOut { after: shared.timeout })
                }
            }
        });
        let answer = watched.await;
        drop(asking);
        answer.unwrap_or(Err(DirectError::Stopped))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut work = self.shared.work.lock();
        work.closed = true;
        work.queue.clear();
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn waiting(&self) -> usize {
        self.work.lock().queue.len()
    }

    /// Why a call was not answered.
    fn ended(&self) -> DirectError {
        let work = self.work.lock();
        if work.threads == 0 && !work.closed {
            return DirectError::Stuck { lost: work.lost };
        }
        DirectError::Stopped
    }

    fn push(&self, job: Job) -> Result<(), DirectError> {
        let mut work = self.work.lock();
        if work.closed {
            return Err(DirectError::Stopped);
        }
        if work.threads == 0 {
            return Err(DirectError::Stuck { lost: work.lost });
        }
        if work.queue.len() >= self.queue_max {
            return Err(DirectError::Overloaded { waiting: work.queue.len() });
        }
        work.queue.push_back(job);
        drop(work);
        self.changed.notify_one();
        Ok(())
    }

    fn spawn(self: &Arc<Self>) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        self.work.lock().threads += 1;
        let thread = std::thread::Builder::new().name(format!("direct-{}", self.name));
        let spawned = thread.spawn(move || {
            give_way();
            serve(&shared);
        });
        if spawned.is_err() {
            self.work.lock().threads -= 1;
        }
        spawned.map(|_| ())
    }

    /// A thread does not come back; another one takes its place, unless too many were lost already.
    fn give_up(self: &Arc<Self>, given_up: &AtomicBool) {
        let replace = {
            let mut work = self.work.lock();
            // It may have come back just now.
            if given_up.swap(true, Ordering::AcqRel) {
                return;
            }
            work.threads -= 1;
            work.lost += 1;
            work.lost <= self.count * LOST_PER_THREAD_MAX && !work.closed
        };
        tracing::error!(model = %self.name, timeout = ?self.timeout, "a direct call did not return in time; its thread is given up");
        if replace && let Err(error) = self.spawn() {
            tracing::error!(model = %self.name, %error, "no thread could be started in its place");
        }
        let mut work = self.work.lock();
        if work.threads == 0 {
            // Whoever waits for a thread shall not wait for ever.
            work.queue.clear();
        }
    }
}

fn serve(shared: &Shared) {
    let mut work = shared.work.lock();
    loop {
        if work.closed {
            work.threads -= 1;
            return;
        }
        let Some(job) = work.queue.pop_front() else {
            shared.changed.wait(&mut work);
            continue;
        };
        drop(work);
        let Job { run, began, given_up } = job;
        // Nobody waits any more: it took too long to get here.
        if began.send(()).is_ok() {
            run();
        }
        work = shared.work.lock();
        if given_up.swap(true, Ordering::AcqRel) {
            work.lost -= 1;
            // Nobody took its place: it goes on.
            if work.closed || work.threads >= shared.count {
                return;
            }
            work.threads += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    #[cfg(feature = "inference")]
    use crate::given_up::Cancel;

    fn workers(count: usize, queue_max: usize, timeout: Duration) -> Workers {
        Workers::start("m", count, queue_max, timeout).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_and_the_thread_goes_on() {
        let workers = workers(1, 8, Duration::from_secs(60));
        let failed = workers.run(|| -> u8 { panic!("on purpose") }).await.unwrap_err();
        assert!(failed.to_string().contains("on purpose"), "{failed}");
        assert_eq!(workers.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let workers = Arc::new(workers(1, 1, Duration::from_secs(60)));
        let (release, held) = mpsc::channel::<()>();
        let (say, said) = oneshot::channel();
        let busy = {
            let workers = Arc::clone(&workers);
            tokio::spawn(async move {
                let work = move || {
                    say.send(()).ok();
                    held.recv().ok();
                };
                workers.run(work).await
            })
        };
        said.await.unwrap();
        let mut waiting = Box::pin(workers.run(|| 2));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        let refused = workers.run(|| 3).await.unwrap_err();
        assert!(matches!(refused, DirectError::Overloaded { waiting: 1 }), "{refused}");
        // Whoever goes away is not worked for, and the others are.
        drop(waiting);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        // What nobody waits for takes up its place until the thread comes to it.
        let answer = loop {
            match workers.run(|| 4).await {
                Err(DirectError::Overloaded { .. }) => tokio::task::yield_now().await,
                answer => break answer.unwrap(),
            }
        };
        assert_eq!(answer, 4);
    }

    #[cfg(feature = "inference")]
    #[tokio::test]
    async fn a_thread_that_was_given_up_comes_back_from_what_it_computes() {
        let workers = workers(1, 8, Duration::from_millis(5));
        let endless = || {
            while Cancel::watched().is_some_and(|watched| !watched.is_cancelled()) {
                std::thread::yield_now();
            }
        };
        // More often than there are threads to be lost.
        let mut times = 0;
        while times < LOST_PER_THREAD_MAX * 2 {
            match workers.run(endless).await.unwrap_err() {
                DirectError::TimedOut { .. } => times += 1,
                // The thread was not there in time.
                DirectError::Overloaded { .. } => {}
                other => panic!("{other}"),
            }
            while workers.shared.work.lock().lost > 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_given_up_and_others_go_on_until_too_many_are_lost() {
        let workers = workers(1, 8, Duration::from_millis(250));
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for lost in 1..=LOST_PER_THREAD_MAX + 1 {
            let held = Arc::clone(&held);
            let hung = workers.run(move || held.lock().recv().ok()).await.unwrap_err();
            assert!(matches!(hung, DirectError::TimedOut { .. }), "{hung}");
            if lost <= LOST_PER_THREAD_MAX {
                assert_eq!(workers.run(|| 1).await.unwrap(), 1);
            }
        }
        let stuck = workers.run(|| 1).await.unwrap_err();
        assert!(matches!(stuck, DirectError::Stuck { lost: 5 }), "{stuck}");
        drop(release);
    }
}
