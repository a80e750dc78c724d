//! The way to the committer: what was asked for since it last looked, bounded in bytes.
//!
//! Pushing takes a short lock; the committer takes everything at once. It is woken only when it waits, so under load
//! no request pays for a wake-up.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A queue with many pushers and one taker.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    wake: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    items: Vec<T>,
    bytes: u64,
    waiting: bool,
    closed: bool,
}

/// Why something was not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// So many bytes wait already.
    Full { waiting_bytes: u64 },
    /// The taker is gone or going.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        let inner = Inner { items: Vec::new(), bytes: 0, waiting: false, closed: false };
        Self { inner: Mutex::new(inner), wake: Condvar::new() }
    }

    /// Adds something that holds `bytes`, unless more than `bytes_max` would wait then. Something alone always fits.
    pub(crate) fn push(&self, item: T, bytes: u64, bytes_max: u64) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        if inner.bytes > 0 && inner.bytes + bytes > bytes_max {
            return Err(Refused::Full { waiting_bytes: inner.bytes });
        }
        inner.items.push(item);
        inner.bytes += bytes;
        let wake = std::mem::take(&mut inner.waiting);
        drop(inner);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Takes everything into `items` (which must be empty); waits up to `patience` for something to come.
    /// False when the queue is closed and empty.
    pub(crate) fn take(&self, items: &mut Vec<T>, patience: Duration) -> bool {
        let mut inner = self.inner.lock();
        if inner.items.is_empty() && !inner.closed && !patience.is_zero() {
            inner.waiting = true;
            self.wake.wait_for(&mut inner, patience);
            inner.waiting = false;
        }
        std::mem::swap(&mut inner.items, items);
        inner.bytes = 0;
        !(inner.closed && items.is_empty())
    }

    /// Whether nothing is taken in any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Takes nothing in any more; what is in the queue can still be taken.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_waits_is_taken_at_once_and_in_order() {
        let queue = Queue::new();
        for item in 0..3 {
            queue.push(item, 10, 100).unwrap();
        }
        let mut items = Vec::new();
        assert!(queue.take(&mut items, Duration::ZERO));
        assert_eq!(items, [0, 1, 2]);
    }

    #[test]
    fn bytes_are_bounded_but_one_item_always_fits() {
        let queue = Queue::new();
        queue.push('a', 500, 100).unwrap();
        assert_eq!(queue.push('b', 1, 100), Err(Refused::Full { waiting_bytes: 500 }));
        queue.take(&mut Vec::new(), Duration::ZERO);
        assert_eq!(queue.push('b', 1, 100), Ok(()));
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_ends() {
        let queue = Queue::new();
        queue.push('a', 1, 100).unwrap();
        queue.close();
        assert_eq!(queue.push('b', 1, 100), Err(Refused::Closed));
        let mut items = Vec::new();
        assert!(queue.take(&mut items, Duration::ZERO));
        items.clear();
        assert!(!queue.take(&mut items, Duration::ZERO));
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let queue = std::sync::Arc::new(Queue::new());
        let theirs = std::sync::Arc::clone(&queue);
        let taker = std::thread::spawn(move || {
            let mut items = Vec::new();
            theirs.take(&mut items, Duration::from_secs(60));
            items
        });
        queue.push(7, 1, 100).unwrap();
        assert_eq!(taker.join().unwrap(), [7]);
    }
}
