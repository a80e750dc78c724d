//! Standard error beside the work: written by a thread of its own, because whoever reads it may pause, and leases and
//! signals must not wait for that.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

/// Pieces that wait to be written; 1 MiB of what commands say.
const WAITING: usize = 256;
/// A reader that pauses longer than so does not get everything.
const PAUSE: Duration = Duration::from_secs(1);

/// Where to say things; a clone says them in the same place.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    pieces: Sender<Vec<u8>>,
    lost: Arc<Lost>,
}

/// What was not written, as nobody read it in time.
#[derive(Debug, Default)]
struct Lost {
    bytes: AtomicUsize,
    /// The last piece was: the next one does not wait.
    is_losing: AtomicBool,
}

/// The end of what is said.
#[derive(Debug)]
pub(super) struct Written(std::sync::mpsc::Receiver<()>);

impl Aside {
    pub(super) fn to(writer: impl Write + Send + 'static) -> (Self, Written) {
        let (pieces, waiting) = channel(WAITING);
        let (end, ended) = std::sync::mpsc::sync_channel(1);
        let lost = Arc::<Lost>::default();
        let aside = Self { pieces, lost: Arc::clone(&lost) };
        std::thread::spawn(move || {
            write(writer, waiting, &lost);
            // Nobody waits for it any more when it took too long.
            let _ = end.send(());
        });
        (aside, Written(ended))
    }

    /// Passes on what a command says. A reader that is only slow gets all of it, at its pace.
    pub(super) async fn pass_on(&self, piece: &[u8]) {
        let Err(TrySendError::Full(piece)) = self.pieces.try_send(piece.to_vec()) else {
            self.lost.is_losing.store(false, Ordering::Relaxed);
            return;
        };
        let length = piece.len();
        let is_losing = self.lost.is_losing.load(Ordering::Relaxed);
        if is_losing || timeout(PAUSE, self.pieces.send(piece)).await.is_err() {
            self.lost.is_losing.store(true, Ordering::Relaxed);
            self.lost.bytes.fetch_add(length, Ordering::Relaxed);
        }
    }

    /// Says a line of our own.
    pub(super) fn tell(&self, text: &str) {
        let line = format!("{text}\n").into_bytes();
        let length = line.len();
        if self.pieces.try_send(line).is_err() {
            self.lost.bytes.fetch_add(length, Ordering::Relaxed);
        }
    }
}

impl Written {
    /// Waits until everything is written, though not for long; says whether it is. All asides must be gone.
    pub(super) fn in_time(self) -> bool {
        self.0.recv_timeout(PAUSE).is_ok()
    }
}

fn write(mut writer: impl Write, mut waiting: Receiver<Vec<u8>>, lost: &Lost) {
    // Whoever reads it may be gone; the work goes on.
    while let Some(piece) = waiting.blocking_recv() {
        let _ = writer.write_all(&piece);
        let bytes = lost.bytes.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            let _ = writeln!(writer, "[{bytes} bytes were left out: nobody read them in time]");
        }
    }
    let _ = writer.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes nothing until it is let.
    struct Gate {
        gate: std::sync::mpsc::Receiver<()>,
        written: Arc<parking_lot::Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // It stands open when nobody holds it any more.
            let _ = self.gate.recv();
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_pauses_holds_nothing_up() {
        let (open, gate) = std::sync::mpsc::channel();
        let written = Arc::default();
        let (aside, end) = Aside::to(Gate { gate, written: Arc::clone(&written) });
        let began = tokio::time::Instant::now();
        for _ in 0..4 * WAITING {
            aside.pass_on(&[b'x'; 100]).await;
        }
        assert!(began.elapsed() < 2 * PAUSE, "{:?}", began.elapsed());
        aside.tell("and this, too");
        drop((open, aside));
        assert!(end.in_time());
        let written = String::from_utf8(std::mem::take(&mut *written.lock())).unwrap();
        assert!(written.contains(" bytes were left out"), "{written}");
        let passed = written.matches('x').count();
        assert!((WAITING * 100..3 * WAITING * 100).contains(&passed), "{passed}");
    }

    #[tokio::test]
    async fn nobody_waits_long_for_the_end() {
        let (_open, gate) = std::sync::mpsc::channel();
        let (aside, end) = Aside::to(Gate { gate, written: Arc::default() });
        aside.tell("never read");
        drop(aside);
        assert!(!end.in_time());
    }
}
