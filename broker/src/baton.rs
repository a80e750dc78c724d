//! Who works the committer: its thread, or for one turn a caller that commits alone.
//!
//! The thread holds it except while it waits for the next request. Then a caller that blocks anyway may take it:
//! handing a commit to another thread, and the answer back, takes as long as half a sync. Whoever holds it is the one
//! writer; what comes into the queue meanwhile is the thread's to do.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::commit::Commit;
use crate::committer::{Answer, Committer, Pace, Request};
use crate::keys::KeyFacts;
use crate::queue::Queue;
use crate::state::Endings;
use crate::status::StatusCell;

/// The committer, for whoever may work it.
#[derive(Debug)]
pub(crate) struct Baton {
    /// Taken out by whoever works it, so that a panic leaves nothing half done behind for the next one to go on with.
    /// Gone for good once it is closed, or after such a panic.
    committer: Mutex<Option<Box<Committer>>>,
}

impl Baton {
    pub(crate) fn new(committer: Committer) -> Self {
        Self { committer: Mutex::new(Some(Box::new(committer))) }
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
            committer.turn(Pace::Gathering);
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
