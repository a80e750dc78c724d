//! The way to the committer: what was asked for since it last looked, bounded in bytes.
//!
//! Pushing takes a short lock; the committer takes everything at once. It is woken only when it waits, so under load
//! no request pays for a wake-up. While a sync runs, it is woken only for a good many of them, or by the sync's end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Each takes 10 to 50 ns.
const WATCH_ROUNDS: u32 = 800;

/// A queue with many pushers and one taker.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Whether there may be items; read without the lock.
    any: AtomicBool,
    inner: Mutex<Inner<T>>,
    wake: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    bytes: u64,
    /// The taker sleeps until there are so many items.
    wanted: Option<usize>,
    rung: bool,
    nudged: bool,
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
        let inner = Inner {
            items: VecDeque::new(),
            bytes: 0,
            wanted: None,
            rung: false,
            nudged: false,
            closed: false,
        };
        Self { any: AtomicBool::new(false), inner: Mutex::new(inner), wake: Condvar::new() }
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
        inner.items.push_back(item);
        self.any.store(true, Ordering::Release);
        inner.bytes += bytes;
        let wake = inner.wanted.is_some_and(|wanted| inner.items.len() >= wanted);
        if wake {
            inner.wanted = None;
        }
        drop(inner);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Watches for something to come, for a few microseconds, without giving up the processor: to sleep and be woken
    /// takes several times as long.
    pub(crate) fn watch(&self) {
        for _ in 0..WATCH_ROUNDS {
            if self.any.load(Ordering::Acquire) {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// Waits up to `patience` for something to come, or for a [`nudge`](Self::nudge).
    pub(crate) fn wait(&self, patience: Duration) {
        let mut inner = self.inner.lock();
        if inner.items.is_empty() && !inner.closed && !inner.nudged {
            inner.wanted = Some(1);
            // A ring that comes late, for a gathering that is over, is no reason to end this.
            let nothing =
                |inner: &mut Inner<T>| inner.items.is_empty() && !inner.closed && !inner.nudged;
            self.wake.wait_while_for(&mut inner, nothing, patience);
            inner.wanted = None;
        }
        inner.nudged = false;
    }

    /// Moves everything behind `items`. False when the queue is closed and there is nothing left.
    pub(crate) fn take(&self, items: &mut VecDeque<T>) -> bool {
        let mut inner = self.inner.lock();
        self.any.store(false, Ordering::Release);
        inner.hand_over(items);
        !(inner.closed && items.is_empty())
    }

    /// Waits until `wanted` items have gathered or somebody has rung since the last call, and moves everything behind
    /// `items`.
    pub(crate) fn gather(&self, items: &mut VecDeque<T>, wanted: usize) {
        let mut inner = self.inner.lock();
        while !inner.rung && inner.items.len() < wanted {
            inner.wanted = Some(wanted);
            self.wake.wait(&mut inner);
        }
        (inner.wanted, inner.rung) = (None, false);
        self.any.store(false, Ordering::Release);
        inner.hand_over(items);
    }

    /// Ends a [`gather`](Self::gather), the present one or the next.
    pub(crate) fn ring(&self) {
        self.inner.lock().rung = true;
        self.wake.notify_one();
    }

    /// Ends a [`wait`](Self::wait), the present one or the next.
    pub(crate) fn nudge(&self) {
        self.inner.lock().nudged = true;
        self.wake.notify_one();
    }

    /// Whether nothing waits, and something would be taken in.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.items.is_empty() && !inner.closed
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

impl<T> Inner<T> {
    fn hand_over(&mut self, items: &mut VecDeque<T>) {
        if items.is_empty() {
            std::mem::swap(&mut self.items, items);
        } else {
            items.append(&mut self.items);
        }
        self.bytes = 0;
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
        let mut items = VecDeque::new();
        assert!(queue.take(&mut items));
        assert_eq!(items, [0, 1, 2]);
        queue.push(3, 10, 100).unwrap();
        queue.wait(Duration::from_secs(60));
        assert!(queue.take(&mut items));
        assert_eq!(items, [0, 1, 2, 3]);
    }

    #[test]
    fn gathering_ends_with_enough_items_or_a_ring() {
        let queue = Queue::new();
        let mut items = VecDeque::new();
        queue.push(0, 10, 100).unwrap();
        queue.ring();
        queue.gather(&mut items, 2);
        assert_eq!(items, [0]);
        queue.push(1, 10, 100).unwrap();
        queue.push(2, 10, 100).unwrap();
        queue.gather(&mut items, 2);
        assert_eq!(items, [0, 1, 2]);
    }

    #[test]
    fn a_late_ring_does_not_end_the_wait_for_something() {
        let queue = std::sync::Arc::new(Queue::new());
        let theirs = std::sync::Arc::clone(&queue);
        let taker = std::thread::spawn(move || {
            let mut items = VecDeque::new();
            theirs.wait(Duration::from_secs(60));
            theirs.take(&mut items);
            items
        });
        while queue.inner.lock().wanted.is_none() {
            std::thread::yield_now();
        }
        queue.ring();
        std::thread::yield_now();
        queue.push(7, 1, 100).unwrap();
        assert_eq!(taker.join().unwrap(), [7]);
    }

    #[test]
    fn a_nudge_ends_a_wait_and_only_one() {
        let queue = std::sync::Arc::new(Queue::<u8>::new());
        queue.nudge();
        queue.wait(Duration::from_secs(60));
        let theirs = std::sync::Arc::clone(&queue);
        let waiter = std::thread::spawn(move || theirs.wait(Duration::from_secs(60)));
        while queue.inner.lock().wanted.is_none() {
            std::thread::yield_now();
        }
        queue.nudge();
        waiter.join().unwrap();
        assert!(queue.is_idle());
    }

    #[test]
    fn a_ring_ends_a_gathering_under_way() {
        let queue = std::sync::Arc::new(Queue::<u8>::new());
        let theirs = std::sync::Arc::clone(&queue);
        let taker = std::thread::spawn(move || theirs.gather(&mut VecDeque::new(), 10));
        queue.ring();
        taker.join().unwrap();
    }

    #[test]
    fn bytes_are_bounded_but_one_item_always_fits() {
        let queue = Queue::new();
        queue.push('a', 500, 100).unwrap();
        assert_eq!(queue.push('b', 1, 100), Err(Refused::Full { waiting_bytes: 500 }));
        queue.take(&mut VecDeque::new());
        assert_eq!(queue.push('b', 1, 100), Ok(()));
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_ends() {
        let queue = Queue::new();
        queue.push('a', 1, 100).unwrap();
        queue.close();
        assert_eq!(queue.push('b', 1, 100), Err(Refused::Closed));
        let mut items = VecDeque::new();
        assert!(queue.take(&mut items));
        items.clear();
        assert!(!queue.take(&mut items));
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let queue = std::sync::Arc::new(Queue::new());
        let theirs = std::sync::Arc::clone(&queue);
        let taker = std::thread::spawn(move || {
            let mut items = VecDeque::new();
            theirs.wait(Duration::from_secs(60));
            theirs.take(&mut items);
            items
        });
        queue.push(7, 1, 100).unwrap();
        assert_eq!(taker.join().unwrap(), [7]);
    }
}
