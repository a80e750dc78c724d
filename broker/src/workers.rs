//! The committer's helpers: one thread writes the log while the committer goes on, others do the shard's jobs.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use embermq_storage::commit_log::{WriteJob, Written};
use embermq_storage::disk::Disk;
use parking_lot::{Condvar, Mutex};

use crate::committer::Request;
use crate::queue::Queue;
use crate::shard::{Done, Job, Shard};

/// Writes groups to the log, and syncs them, on a second thread while the committer writes segments and stages the
/// next group.
#[derive(Debug)]
pub(crate) struct LogWriter {
    give: Option<SyncSender<WriteJob>>,
    outcomes: Receiver<Written>,
    thread: Option<JoinHandle<()>>,
}

/// The thread that writes the log is gone: it panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the thread that writes the commit log is gone")]
pub(crate) struct LogWriterGone;

impl LogWriter {
    /// Its thread rings at `queue` whenever a write has ended, also when it panics.
    pub(crate) fn spawn(queue: Arc<Queue<Request>>) -> io::Result<Self> {
        let (give, take) = sync_channel::<WriteJob>(1);
        let (tell, outcomes) = sync_channel(1);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let _ring = Ring(Arc::clone(&queue));
            // Behind the ring, so that it is dropped before: whoever is woken then finds that nobody will tell any more.
            let tell = tell;
            for job in take {
                if tell.send(job.run()).is_err() {
                    break;
                }
                queue.ring();
            }
        })?;
        Ok(Self { give: Some(give), outcomes, thread: Some(thread) })
    }

    /// Starts a write; its [`end`](Self::ended) must be seen before the next start.
    pub(crate) fn start(&self, job: WriteJob) {
        if let Some(give) = &self.give {
            // A send fails only when the thread is gone, which `ended` then reports.
            give.send(job).ok();
        }
    }

    /// What came of the write that was started, once it has ended.
    pub(crate) fn ended(&self) -> Option<Result<Written, LogWriterGone>> {
        match self.outcomes.try_recv() {
            Ok(written) => Some(Ok(written)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(LogWriterGone)),
        }
    }
}

struct Ring(Arc<Queue<Request>>);

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl Drop for LogWriter {
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

/// How a thread stands with those that commits wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Like them.
    Equal,
    /// It gets the processor when they do not want it.
    Behind,
}

/// The niceness of a thread that stands behind.
const NICE: i32 = 10;

impl Standing {
    /// Takes it for the calling thread.
    fn take(self) {
        // Elsewhere than on Linux this is a matter of the whole process.
        #[cfg(target_os = "linux")]
        if self == Self::Behind
            && let Err(error) = rustix::process::setpriority_process(None, NICE)
        {
            tracing::warn!(%error, "background work has the priority of commits");
        }
    }
}

impl Keeper {
    pub(crate) fn spawn(
        name: &str,
        standing: Standing,
        disk: Arc<dyn Disk>,
        queue: Arc<Queue<Request>>,
    ) -> io::Result<Self> {
        let jobs = Arc::<Jobs>::default();
        let theirs = Arc::clone(&jobs);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            standing.take();
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn whoever_is_woken_by_the_end_of_the_log_writer_is_told_of_it() {
        for _ in 0..2_000 {
            let queue = Arc::new(Queue::new());
            let mut writer = LogWriter::spawn(Arc::clone(&queue)).unwrap();
            writer.give = None;
            queue.gather(&mut VecDeque::new(), usize::MAX);
            assert!(matches!(writer.ended(), Some(Err(LogWriterGone))));
        }
    }
}
