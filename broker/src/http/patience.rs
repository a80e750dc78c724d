//! A socket that gives up on a peer that does not read, or hardly: a write that waits for long, and gets little away meanwhile,
//! fails. It also counts what comes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::awaiting::Received;
use super::portions::PORTION_BYTES;

/// A stream whose writes fail with `TimedOut` when the peer takes longer than the limit for a portion, or for what is left.
#[derive(Debug)]
pub(super) struct Patience {
    /// Shared with whoever watches for the client's leaving; held for the moment of a call.
    stream: Arc<Mutex<TcpStream>>,
    limit: Duration,
    received: Received,
    /// Since a write had to wait, until a portion or all there was to write is away.
    wait: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    timer: Pin<Box<Sleep>>,
    written_bytes: usize,
}

impl Patience {
    pub(super) const fn new(
        stream: Arc<Mutex<TcpStream>>,
        limit: Duration,
        received: Received,
    ) -> Self {
        Self { stream, limit, received, wait: None }
    }

    /// Passes a result on; a pending one begins the wait, or fails when that has been too long.
    fn patient(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = written {
            if let (Some(wait), Ok(bytes)) = (&mut self.wait, &outcome) {
                wait.written_bytes += bytes;
                if wait.written_bytes >= PORTION_BYTES {
                    self.wait = None;
                }
            }
            return Poll::Ready(outcome);
        }
        let limit = self.limit;
        let wait = self.wait.get_or_insert_with(|| Wait {
            timer: Box::pin(sleep_until(Instant::now() + limit)),
            written_bytes: 0,
        });
        ready!(wait.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client did not read its response in time",
        )))
    }
}

impl AsyncRead for Patience {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream.lock()).poll_read(cx, buffer);
        self.received.add(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Patience {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream.lock()).poll_write(cx, bytes);
        self.patient(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream.lock()).poll_write_vectored(cx, pieces);
        self.patient(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.lock().is_write_vectored()
    }

    /// Asked for when all there was to write is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wait = None;
        Pin::new(&mut *self.stream.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const ANSWER_BYTES: usize = 2 << 20;

    /// A patient socket with a small buffer behind it, and its peer.
    async fn pair() -> (Patience, TcpStream) {
        let listening = TcpSocket::new_v4().unwrap();
        listening.set_recv_buffer_size(8 << 10).unwrap();
        listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listening.listen(1).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(8 << 10).unwrap();
        let stream = socket.connect(listener.local_addr().unwrap());
        let (stream, accepted) = tokio::join!(stream, listener.accept());
        let (stream, peer) = (stream.unwrap(), accepted.unwrap().0);
        (Patience::new(Arc::new(Mutex::new(stream)), LIMIT, Received::default()), peer)
    }

    /// A peer that takes so many bytes each twenty seconds; then what came of an answer to it, and how much was taken.
    async fn answer_to_one_that_takes(bytes: usize) -> (io::Result<()>, usize) {
        let (mut patience, mut peer) = pair().await;
        let answering = tokio::spawn(async move {
            patience.write_all(&vec![7; ANSWER_BYTES]).await?;
            patience.flush().await
        });
        let (mut buffer, mut taken) = (vec![0; bytes], 0);
        while !answering.is_finished() {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let mut now = 0;
            while now < bytes && !answering.is_finished() {
                match peer.read(&mut buffer[now..]).await {
                    Ok(0) | Err(_) => break,
                    Ok(more) => now += more,
                }
            }
            taken += now;
        }
        (answering.await.unwrap(), taken)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_little_now_and_then_is_given_up() {
        let (outcome, taken) = answer_to_one_that_takes(12 << 10).await;
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(taken < ANSWER_BYTES / 4, "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_enough_gets_all() {
        let (outcome, taken) = answer_to_one_that_takes(100 << 10).await;
        outcome.unwrap();
        assert!(taken > ANSWER_BYTES / 2, "{taken}");
    }
}
