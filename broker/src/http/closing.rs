//! The signal that the server is closing: long polls and event streams end at once, other requests finish.

use tokio::sync::watch;

/// The side that gives the signal. Dropping it is the signal too.
#[derive(Debug)]
pub(super) struct Close(watch::Sender<bool>);

/// The side that waits for it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Closing(watch::Receiver<bool>);

/// A pair of them.
pub(super) fn closing() -> (Close, Closing) {
    let (sender, receiver) = watch::channel(false);
    (Close(sender), Closing(receiver))
}

impl Close {
    /// Gives the signal.
    pub(super) fn close(&self) {
        self.0.send_replace(true);
    }
}

impl Closing {
    /// Returns when the signal has been given.
    pub(super) async fn wait(&mut self) {
        // An error says that the sender is gone, which is the signal too.
        let _gone = self.0.wait_for(|closing| *closing).await;
    }

    /// Whether it has been given.
    pub(super) fn is_closing(&self) -> bool {
        *self.0.borrow()
    }
}
