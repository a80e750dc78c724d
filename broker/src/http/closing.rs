//! The signal that the server is closing: long polls and event streams end at once, other requests finish.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::watch;

/// The side that gives the signal.
#[derive(Debug)]
pub(super) struct Close {
    signal: watch::Sender<bool>,
    flag: Arc<AtomicBool>,
}

/// The side that waits for it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    signal: watch::Receiver<bool>,
    /// The same, readable without a lock.
    flag: Arc<AtomicBool>,
}

/// A pair of them.
pub(super) fn closing() -> (Close, Closing) {
    let (sender, receiver) = watch::channel(false);
    let flag = Arc::new(AtomicBool::new(false));
    (Close { signal: sender, flag: Arc::clone(&flag) }, Closing { signal: receiver, flag })
}

impl Close {
    /// Gives the signal.
    pub(super) fn close(&self) {
        self.flag.store(true, Ordering::Release);
        self.signal.send_replace(true);
    }
}

impl Closing {
    /// Returns when the signal has been given.
    pub(super) async fn wait(&mut self) {
        // An error says that the sender is gone, which is the signal too.
        let _gone = self.signal.wait_for(|closing| *closing).await;
    }

    /// Whether it has been given.
    pub(super) fn is_closing(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }
}

/// The signal as a connection waits for it: polled with every request, so a poll that is not the first costs a flag
/// and not a lock.
pub(super) struct CloseWatch {
    closing: Closing,
    wait: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whom the signal wakes.
    waker: Option<Waker>,
}

impl Closing {
    /// Watches for the signal.
    pub(super) fn watch(&self) -> CloseWatch {
        let mut waiting = self.clone();
        let wait = Box::pin(async move { waiting.wait().await });
        CloseWatch { closing: self.clone(), wait, waker: None }
    }
}

impl Future for CloseWatch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.closing.is_closing() {
            return Poll::Ready(());
        }
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        self.wait.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_watches_is_woken() {
        let (close, signal) = closing();
        let watch = tokio::spawn(signal.watch());
        let wait = tokio::spawn({
            let mut signal = signal.clone();
            async move { signal.wait().await }
        });
        tokio::task::yield_now().await;
        assert!(!signal.is_closing() && !watch.is_finished() && !wait.is_finished());
        close.close();
        watch.await.unwrap();
        wait.await.unwrap();
        signal.watch().await;
    }
}
