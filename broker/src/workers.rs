//! The committer's helpers: one thread writes segments beside a sync, others do the shard's jobs.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use embermq_storage::disk::Disk;
use embermq_storage::segment::SegmentWrite;
use parking_lot::{Condvar, Mutex};

use crate::committer::Request;
use crate::queue::Queue;
use crate::shard::{Done, Job, Shard};

/// Runs a group's segment writes on a second thread while the committer syncs the log.
#[derive(Debug)]
pub(crate) struct BesideSync {
    give: Option<SyncSender<Vec<SegmentWrite>>>,
    outcomes: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BesideSync {
    pub(crate) fn spawn() -> io::Result<Self> {
        let (give, take) = sync_channel::<Vec<SegmentWrite>>(1);
        let (tell, outcomes) = sync_channel(1);
        let thread = std::thread::Builder::new().name("segments".to_owned()).spawn(move || {
            for writes in take {
                let outcome = writes.iter().try_for_each(SegmentWrite::run);
                if tell.send(outcome).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { give: Some(give), outcomes, thread: Some(thread) })
    }

    /// Starts the writes; [`finish`](Self::finish) must follow before the next start.
    pub(crate) fn start(&self, writes: Vec<SegmentWrite>) {
        if let Some(give) = &self.give {
            // A send fails only when the thread is gone, which `finish` then reports.
            give.send(writes).ok();
        }
    }

    /// Waits for the writes that were started.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.outcomes.recv().unwrap_or_else(|_| Err(io::Error::other("the segment writer is gone")))
    }
}

impl Drop for BesideSync {
    fn drop(&mut self) {
        self.give = None;
        if let Some(thread) = self.thread.take() {
            // It ends by itself once nothing can be given to it any more.
            thread.join().ok();
        }
    }
}

/// Does the jobs of a shard one after the other and sends what came of them back through the committer's queue.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Arc<Jobs>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: Mutex<JobList>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct JobList {
    jobs: std::collections::VecDeque<Job>,
    late: Vec<Done>,
    closed: bool,
}

impl Keeper {
    pub(crate) fn spawn(
        name: &str,
        disk: Arc<dyn Disk>,
        queue: Arc<Queue<Request>>,
    ) -> io::Result<Self> {
        let jobs = Arc::<Jobs>::default();
        let theirs = Arc::clone(&jobs);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = theirs.next() {
                let run = std::panic::AssertUnwindSafe(|| job.run(&disk));
                // A job that panics must not end the thread in silence: without it nothing is trimmed any more.
                let done = std::panic::catch_unwind(run).unwrap_or(Done::Panicked);
                theirs.tell(&queue, done);
            }
        })?;
        Ok(Self { jobs, thread: Some(thread) })
    }

    /// Adds a job. There are few at a time: the shard has at most one of each long kind under way.
    pub(crate) fn give(&self, job: Job) {
        self.jobs.waiting.lock().jobs.push_back(job);
        self.jobs.wake.notify_one();
    }

    /// Lets the jobs that were given end, and tells the shard what came of them.
    pub(crate) fn finish(mut self, shard: &mut Shard) {
        self.jobs.waiting.lock().closed = true;
        self.jobs.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        for done in self.jobs.waiting.lock().late.drain(..) {
            shard.done(done);
        }
    }
}

impl Jobs {
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            self.wake.wait(&mut waiting);
        }
    }

    fn tell(&self, queue: &Queue<Request>, done: Done) {
        // The size of an outcome does not count, and a closed queue means that `finish` collects it.
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            waiting.late.push(done);
            return;
        }
        // A closed queue gives the outcome back by dropping it, so it is asked first; `finish` then collects it.
        if queue.is_closed() {
            waiting.late.push(done);
            return;
        }
        drop(waiting);
        queue.push(Request::Done(done), 0, u64::MAX).ok();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs.waiting.lock().closed = true;
        self.jobs.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // Nobody may write to the folder any more when it is given free.
            thread.join().ok();
        }
    }
}
