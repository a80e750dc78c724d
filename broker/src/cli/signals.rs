//! SIGTERM and SIGINT, for verbs that run until they are told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// SIGTERM and SIGINT, one after the other.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::unavailable(format!("cannot listen to signals: {error}")))
        };
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Ends the process as it is.
#[expect(clippy::exit, reason = "the user asked twice; what was acknowledged is safe either way")]
pub(super) fn end_at_once() -> ! {
    // 75: nothing is wrong, it only was not ended in order.
    std::process::exit(75)
}
