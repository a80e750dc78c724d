//! The way out of a run that nobody waits for any more.
//!
//! Runs look at a mark before each node, in the graph and in each turn of a body (If, Loop, Scan, SequenceMap), and end once it is set. An
//! operator that computes is not interrupted.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// What the runs of this thread look at.
    static WATCHED: RefCell<Option<Cancel>> = const { RefCell::new(None) };
}

/// A mark that ends runs. A clone is the same mark.
///
/// ```
/// use embermq_inference::Cancel;
///
/// let cancel = Cancel::default();
/// let work = cancel.clone();
/// let thread = std::thread::spawn(move || work.watch(|| { /* run a model */ }));
/// // It takes too long, or nobody wants it any more:
/// cancel.cancel();
/// # thread.join().unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the runs that look at it, for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that has happened.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Does something on this thread, and has all runs of models in it look at this mark.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        let _before = Before(WATCHED.replace(Some(self.clone())));
        work()
    }

    /// What the runs of this thread look at, for whoever has another thread do a part of the work.
    #[must_use]
    pub fn watched() -> Option<Self> {
        WATCHED.with_borrow(Clone::clone)
    }
}

/// Comes back at the end, also when that is a panic.
struct Before(Option<Cancel>);

impl Drop for Before {
    fn drop(&mut self) {
        WATCHED.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_within_ends_with_it() {
        let watches = |cancel: &Cancel| {
            Cancel::watched().is_some_and(|watched| Arc::ptr_eq(&watched.0, &cancel.0))
        };
        let (outer, inner) = (Cancel::default(), Cancel::default());
        outer.watch(|| {
            inner.watch(|| assert!(watches(&inner)));
            assert!(watches(&outer));
            let panics = || inner.watch(|| panic!("on purpose"));
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).unwrap_err();
            assert!(watches(&outer));
        });
        assert!(Cancel::watched().is_none());
    }
}
