//! Whoever asked, as a handler sees them that waits on their behalf.
//!
//! A client that was killed and one that has sent all it will and reads its answer look the same: both have closed their sending
//! side, and only a write tells them apart. So neither is waited for any longer, and both are answered with what there is now. The
//! one that reads gets its answer; to the one that is gone nothing goes that comes later. What is not a wait is done to its end.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use axum::http::Extensions;
use parking_lot::Mutex;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// The client of a request. Cheap to clone; does not keep its connection open.
///
/// HTTP/2 has none: there a stream that was reset, and those of a connection that ended, take their handlers with them.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller(Weak<Mutex<TcpStream>>);

impl Caller {
    /// The client of a connection.
    pub(super) fn of(stream: &Arc<Mutex<TcpStream>>) -> Self {
        Self(Arc::downgrade(stream))
    }

    /// The client of a request.
    pub(super) fn in_request(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Returns when the client sends no more: it has closed its side, or is gone.
    pub(super) async fn leaves(&self) {
        poll_fn(|cx| self.poll_leaves(cx)).await;
    }

    fn poll_leaves(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = self.0.upgrade() else { return Poll::Pending };
        // hyper reads nothing while a handler of an HTTP/1 connection waits, and its task is ours: the waker is not taken from it.
        let mut byte = [0];
        match stream.lock().poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
            // Who has sent the next request already is there; what comes behind it is not seen from here.
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_caller_leaves_with_its_sending_side() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Arc::new(Mutex::new(listener.accept().await.unwrap().0));
        let caller = Caller::of(&stream);
        assert!(futures::poll!(std::pin::pin!(caller.leaves())).is_pending());
        client.shutdown().await.unwrap();
        caller.leaves().await;
        drop(stream);
        assert!(futures::poll!(std::pin::pin!(caller.leaves())).is_pending(), "it keeps nothing");
    }
}
