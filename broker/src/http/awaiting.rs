//! How long an HTTP/1 connection may take to its next request: idle for one time, in the middle of a head for another.
//!
//! hyper has one timer for both. It starts it when it begins to wait for a head, and polls it behind every read that did not
//! complete one; so the timer learns from the bytes that came meanwhile that a head has begun, and runs for `header_timeout` from
//! then on. The limit of it: a head whose first bytes came before the answer to the request before it (pipelining) counts as begun
//! with its next byte.
//!
//! One sleep serves all heads of a connection, one after the other: a deadline that moves into the future costs a store, a new sleep
//! an allocation and the lock of the runtime's timers, twice with every request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;

/// Bytes that came on a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Received(Arc<AtomicU64>);

impl Received {
    /// So many more came.
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The timer of one connection's heads: hyper gives the time until which it may be idle.
#[derive(Clone, Debug)]
pub(super) struct HeadTimer {
    received: Received,
    /// From the first byte of a head to its last.
    header_timeout: Duration,
    /// The sleep of the last head, for the next one.
    resting: Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>,
}

impl HeadTimer {
    pub(super) fn new(received: Received, header_timeout: Duration) -> Self {
        Self { received, header_timeout, resting: Arc::default() }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let sleep = match self.resting.lock().take() {
            Some(mut sleep) => {
                sleep.as_mut().reset(deadline.into());
                sleep
            }
            None => Box::pin(tokio::time::sleep_until(deadline.into())),
        };
        Box::pin(Awaiting {
            seen: self.received.total(),
            begun: false,
            sleep: Some(sleep),
            timer: self.clone(),
        })
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }
}

/// Waits for a head: ready when it took too long.
struct Awaiting {
    timer: HeadTimer,
    /// What had come before.
    seen: u64,
    begun: bool,
    /// There until this is dropped.
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaiting").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl Future for Awaiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let begins = !self.begun && self.timer.received.total() != self.seen;
        let header_timeout = self.timer.header_timeout;
        self.begun |= begins;
        let Some(sleep) = &mut self.sleep else { return Poll::Ready(()) };
        if begins {
            sleep.as_mut().reset(tokio::time::Instant::now() + header_timeout);
        }
        sleep.as_mut().poll(cx)
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        *self.timer.resting.lock() = self.sleep.take();
    }
}

impl Sleep for Awaiting {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_head_that_has_begun_has_its_own_time() {
        let header_timeout = Duration::from_millis(1);
        let timer = HeadTimer::new(Received::default(), header_timeout);
        timer.received.add(100);
        let mut head = timer.sleep(Duration::from_secs(3_600));
        assert!(futures::poll!(head.as_mut()).is_pending(), "nothing came since");
        timer.received.add(1);
        head.await;
        // And nothing came at all.
        timer.sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn one_sleep_serves_one_head_after_the_other() {
        let timer = HeadTimer::new(Received::default(), Duration::from_secs(60));
        for _ in 0..2 {
            let mut long = timer.sleep(Duration::from_secs(3_600));
            assert!(futures::poll!(long.as_mut()).is_pending());
            drop(long);
            assert!(timer.resting.lock().is_some());
            // Its time is its own, also when it is the shorter one.
            timer.sleep(Duration::from_millis(1)).await;
        }
    }
}
