//! Who works the committer: its thread, or for one turn a caller that commits alone.
//!
//! The thread holds it except while it waits, for the next request or for a sync. While it waits for a request, a caller
//! that blocks anyway may take it: handing a commit to another thread, and the answer back, takes as long as half a sync.
//! In both cases a caller that asks for records of a group may take it, since what it gets needs no sync. Whoever holds it is
//! the one writer; what comes into the queue meanwhile is the thread's to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[cfg(test)]
use embermq_storage::commit_log::{SyncJob, Synced};
use parking_lot::{Mutex, MutexGuard};

use crate::commit::Commit;
use crate::committer::{Answer, Committer, Pace, Request};
use crate::error::CommitError;
use crate::keys::KeyFacts;
use crate::queue::Queue;
use crate::state::{Endings, GroupRequest, Made};
use crate::status::StatusCell;

/// How long a caller that needs no sync waits for the committer: about as long as a sync takes.
const PATIENCE: Duration = Duration::from_micros(200);

/// The committer, for whoever may work it.
#[derive(Debug)]
pub(crate) struct Baton {
    /// Taken out by whoever works it, so that a panic leaves nothing half done behind for the next one to go on with.
    /// Gone for good once it is closed, or after such a panic.
    committer: Mutex<Option<Box<Committer>>>,
    /// Requests for records that are in the queue.
    grants_waiting: Arc<AtomicU32>,
}

impl Baton {
    pub(crate) fn new(committer: Committer) -> Self {
        let grants_waiting = Arc::clone(&committer.grants_waiting);
        Self { committer: Mutex::new(Some(Box::new(committer))), grants_waiting }
    }

    /// The life of the thread: until the queue is closed and empty; then everything is made durable, with a last snapshot.
    pub(crate) fn work(&self, queue: &Arc<Queue<Request>>, status: &Arc<StatusCell>) {
        let bell = Bell { queue: Arc::clone(queue), status: Arc::clone(status) };
        let mut held = self.committer.lock();
        while let Some(mut committer) = held.take() {
            if let Some(patience) = committer.wants_more() {
                let eager = committer.eager;
                *held = Some(committer);
                MutexGuard::unlocked(&mut held, || {
                    if eager {
                        queue.watch();
                    }
                    queue.wait(patience);
                });
                match held.take() {
                    Some(there) => committer = there,
                    None => break,
                }
            }
            if !committer.gather() {
                committer.close();
                return;
            }
            if let Some(job) = committer.turn(Pace::Gathering) {
                *held = Some(committer);
                let synced = MutexGuard::unlocked(&mut held, || job.run());
                match held.take() {
                    Some(there) => committer = there,
                    None => break,
                }
                committer.synced(synced);
            }
            *held = Some(committer);
        }
        bell.status.poison("a commit panicked in the thread of its caller".to_owned());
    }

    /// Commits in the thread of the caller, if there is nothing else to do; gives the commit back if there is.
    pub(crate) fn commit_here(
        &self,
        commit: Commit,
        endings: Endings,
        keys: KeyFacts,
    ) -> Result<Answer, Box<(Commit, Endings, KeyFacts)>> {
        let Some(mut held) = self.committer.try_lock() else {
            return Err(Box::new((commit, endings, keys)));
        };
        let Some(mut committer) = held.take() else {
            return Err(Box::new((commit, endings, keys)));
        };
        let taken = committer.commit_alone(commit, endings, keys);
        *held = Some(committer);
        taken
    }

    /// Counts a request for records that goes into the queue by `push`; whoever takes it out counts it off.
    pub(crate) fn queue_grant<T, E>(&self, push: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.grants_waiting.fetch_add(1, Ordering::AcqRel);
        push().inspect_err(|_| {
            self.grants_waiting.fetch_sub(1, Ordering::AcqRel);
        })
    }

    /// Grants records of a group in the thread of the caller, if nobody else is at work; gives the request back if somebody
    /// is.
    pub(crate) fn grant_here(
        &self,
        request: GroupRequest,
    ) -> Result<Result<Made, CommitError>, Box<GroupRequest>> {
        // Those who ask of one group do so in their order, and each counts on what the one before asked for.
        if self.grants_waiting.load(Ordering::Acquire) > 0 {
            return Err(Box::new(request));
        }
        // Whoever has it puts it down before the next sync: that is worth the wait.
        let Some(mut held) = self.committer.try_lock_for(PATIENCE) else {
            return Err(Box::new(request));
        };
        let Some(mut committer) = held.take() else { return Err(Box::new(request)) };
        let granted = committer.grant_here(request);
        *held = Some(committer);
        granted
    }
}

/// Worked by a simulation, in place of the thread.
#[cfg(test)]
impl Baton {
    /// Whether there is nothing to do. Not while somebody has the committer in hand.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.committer.lock().as_ref().is_some_and(|committer| committer.is_at_rest())
    }

    /// One turn with what is in the queue, up to the sync of its group. Waits for nothing but a group in flight.
    pub(crate) fn begin_turn(&self) -> Option<SyncJob> {
        let mut committer = self.take_in_hand()?;
        committer.gather();
        let job = committer.turn(Pace::Gathering);
        self.put_down(committer);
        job
    }

    /// The rest of a turn that led to a sync.
    pub(crate) fn end_turn(&self, synced: Synced) {
        if let Some(mut committer) = self.take_in_hand() {
            committer.synced(synced);
            self.put_down(committer);
        }
    }

    /// From here on callers find somebody at work.
    pub(crate) fn take_in_hand(&self) -> Option<Box<Committer>> {
        self.committer.lock().take()
    }

    /// And from here on nobody.
    pub(crate) fn put_down(&self, committer: Box<Committer>) {
        *self.committer.lock() = Some(committer);
    }
}

/// Rings when the thread ends, above all when it panics: nobody may wait for it any more.
struct Bell {
    queue: Arc<Queue<Request>>,
    status: Arc<StatusCell>,
}

impl Drop for Bell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status.poison("the committer thread panicked".to_owned());
        }
        self.queue.close();
        // Those who asked are told by the loss of their answer's sender.
        self.queue.take(&mut VecDeque::new());
    }
}
