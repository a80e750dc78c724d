//! Carries the answers of a large group to the tasks that wait for them.
//!
//! Waking a task of an async runtime from outside of it takes a lock and often a system call, each time. So the
//! committer wakes one task, inside of the runtime, and that one wakes the others, which is cheap there. Small groups are
//! answered directly: one hop less.

use std::sync::OnceLock;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::committer::Answer;

/// Groups up to this size are answered directly.
const DIRECT: usize = 16;

/// The answers of one group.
pub(crate) type Parcel = Vec<(oneshot::Sender<Answer>, Answer)>;

/// The way from the committer into the runtime of those who ask.
#[derive(Debug, Default)]
pub(crate) struct Courier {
    /// Unbounded, and bounded all the same: an answer is for a commit that the queue let in.
    post: OnceLock<mpsc::UnboundedSender<Parcel>>,
}

impl Courier {
    /// Takes the runtime of the caller, if it is in one, for all that follows.
    pub(crate) fn settle(&self) {
        if self.post.get().is_some() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (post, mut parcels) = mpsc::unbounded_channel();
        if self.post.set(post).is_ok() {
            runtime.spawn(async move {
                while let Some(parcel) = parcels.recv().await {
                    hand_out(parcel);
                }
            });
        }
    }

    /// Delivers.
    pub(crate) fn deliver(&self, parcel: Parcel) {
        match self.post.get().filter(|_| parcel.len() > DIRECT) {
            Some(post) => {
                // A runtime that ended took its task along; whoever still waits does so elsewhere.
                if let Err(mpsc::error::SendError(parcel)) = post.send(parcel) {
                    hand_out(parcel);
                }
            }
            None => hand_out(parcel),
        }
    }
}

fn hand_out(parcel: Parcel) {
    for (answer, result) in parcel {
        // The asker may have gone away meanwhile: the commit stands all the same.
        answer.send(result).ok();
    }
}
