//! Work on other threads that nobody waits for any more.
//!
//! A thread cannot be ended from outside. Runs of models look at a mark between their nodes, and end once it is set; whatever else a thread
//! does goes on.

#[cfg(feature = "inference")]
pub(crate) use embermq_inference::Cancel;

/// Without models there is nothing else that would look at it.
#[cfg(not(feature = "inference"))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel(std::sync::Arc<std::sync::atomic::AtomicBool>);

#[cfg(not(feature = "inference"))]
impl Cancel {
    pub(crate) fn cancel(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[expect(clippy::unused_self, reason = "the other form is looked at by models")]
    pub(crate) fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

/// Held by who waits for work on another thread. The work is given up when this is dropped: at the end, in time or not, or because whoever
/// waited was dropped itself.
#[derive(Debug, Default)]
pub(crate) struct Interest(Cancel);

impl Interest {
    /// For the thread that works.
    pub(crate) fn mark(&self) -> Cancel {
        self.0.clone()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
