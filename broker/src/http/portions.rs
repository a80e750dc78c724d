//! Answers over HTTP/2 in portions, and the end of those that nobody takes.
//!
//! A client that leaves its connection unread, or reads hardly any of it, is seen by `patience`. Over HTTP/2 it may read its connection, answer pings, and take
//! nothing of an answer: it gives the stream no window. hyper asks for a piece of a body before it looks at the window, and hands it
//! whole to h2 when there is a window for one byte of it; h2 keeps it until it is sent or the connection ends. So a body is given
//! out in portions, each when the one before is written, and the task of the stream watches the portion that is out. When the client
//! takes longer for it than the limit, once for each portion that is out on its connection, since they share what it can carry, the stream is
//! reset and its answer dropped. How depends on where the portion is: if h2 has it, hyper asks for the next one, gets an error
//! and clears the queue; if hyper has it, h2 has nothing, and the task just ends.
//!
//! A body that waits for data has no portion out, however long it waits. Small answers go as they are: what they hold is no more
//! than what a stream costs anyway, and for them there is neither a timer nor an allocation.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::task::AtomicWaker;
use hyper::body::{Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// Answers up to this size go as they are.
pub(super) const SMALL_BYTES: usize = 4 << 10;
/// A client that takes one of them within the limit is a slow one, and waited for.
pub(super) const PORTION_BYTES: usize = 64 << 10;
/// With more portions out than this on its connection a client gets no more time: a hundred of them ask for some 20 KB/s by default.
const SHARING_MAX: u32 = 10;

tokio::task_local! {
    /// Of the HTTP/2 stream whose task this is: what is out of its answer, if that is given in portions.
    static OUT: Slot;
}

#[derive(Debug)]
struct Slot {
    out: OnceCell<Arc<Out>>,
    /// Portions that are out on its connection.
    of_connection: Arc<AtomicU32>,
}

impl Slot {
    fn fill(&self) -> Arc<Out> {
        let new = || Arc::new(Out::of(Arc::clone(&self.of_connection)));
        Arc::clone(self.out.get_or_init(new))
    }
}

/// Runs the tasks of the streams of an HTTP/2 connection.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// How long a client may take for a portion, when no other is out.
    limit: Duration,
    /// Portions that are out.
    out: Arc<AtomicU32>,
}

impl Streams {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, out: Arc::default() }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, answering: F) {
        let stream = Stream { answering, limit: self.limit, watch: None };
        let out = Slot { out: OnceCell::new(), of_connection: Arc::clone(&self.out) };
        tokio::spawn(OUT.scope(out, stream));
    }
}

/// A body that is given out in portions when it is the answer of an HTTP/2 stream and not small; others stay as they are.
pub(super) fn in_portions(body: Body) -> Body {
    if body.size_hint().exact().is_some_and(|bytes| bytes <= SMALL_BYTES as u64) {
        return body;
    }
    let out = OUT.try_with(Slot::fill);
    match out {
        Ok(out) => Body::new(Portions { inner: body, rest: Bytes::new(), out }),
        Err(_no_stream) => body,
    }
}

/// What is out of a body.
#[derive(Debug)]
struct Out {
    /// Grows when a portion goes out and when it is written: odd while one is out.
    turn: AtomicU64,
    /// The client takes nothing: the body ends.
    given_up: AtomicBool,
    /// Who waits for the portion to be written.
    body: AtomicWaker,
    of_connection: Arc<AtomicU32>,
}

impl Out {
    fn of(of_connection: Arc<AtomicU32>) -> Self {
        let (turn, given_up) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { turn, given_up, body: AtomicWaker::new(), of_connection }
    }

    /// The portion that is out.
    fn portion(&self) -> Option<u64> {
        let turn = self.turn.load(Ordering::Acquire);
        (turn % 2 == 1).then_some(turn)
    }
}

/// Bytes that are out until they are dropped, which is when they are written or not needed any more.
struct Portion {
    bytes: Bytes,
    out: Arc<Out>,
}

impl Portion {
    fn of(bytes: Bytes, out: &Arc<Out>) -> Self {
        out.of_connection.fetch_add(1, Ordering::AcqRel);
        out.turn.fetch_add(1, Ordering::AcqRel);
        Self { bytes, out: Arc::clone(out) }
    }
}

impl AsRef<[u8]> for Portion {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.out.of_connection.fetch_sub(1, Ordering::AcqRel);
        self.out.turn.fetch_add(1, Ordering::AcqRel);
        self.out.body.wake();
    }
}

/// A body in portions, one at a time.
struct Portions {
    inner: Body,
    /// What is not out yet of the piece that the inner body gave last.
    rest: Bytes,
    out: Arc<Out>,
}

impl HttpBody for Portions {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.out.given_up.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(not_taken())));
        }
        if self.out.portion().is_some() {
            self.out.body.register(cx.waker());
            if self.out.portion().is_some() {
                return Poll::Pending;
            }
        }
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PORTION_BYTES);
        let bytes = self.rest.split_to(length);
        let portion = Bytes::from_owner(Portion::of(bytes, &self.out));
        Poll::Ready(Some(Ok(Frame::data(portion))))
    }

    /// Not before the last portion is written: hyper asks no more behind the end.
    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.out.portion().is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// What resets a stream with the reason that fits.
fn not_taken() -> axum::Error {
    axum::Error::new(h2::Error::from(h2::Reason::CANCEL))
}

/// The portion that is out, and since when.
struct Watch {
    portion: u64,
    began: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    fn of(portion: u64, limit: Duration) -> Self {
        let began = Instant::now();
        Self { portion, began, timer: Box::pin(sleep_until(began + limit)) }
    }

    fn begin(&mut self, portion: u64, limit: Duration) {
        (self.portion, self.began) = (portion, Instant::now());
        self.timer.as_mut().reset(self.began + limit);
    }

    /// Ready when the portion has been out for too long, with so many on its connection.
    fn poll_too_long(
        &mut self,
        cx: &mut Context<'_>,
        limit: Duration,
        out: impl Fn() -> u32,
    ) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let due = self.began + limit * out().clamp(1, SHARING_MAX);
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }
}

pin_project! {
    // The task of a stream.
    struct Stream<F> {
        #[pin]
        answering: F,
        limit: Duration,
        watch: Option<Watch>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut stream = self.project();
        if stream.answering.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(out) = OUT.with(|slot| slot.out.get().cloned()) else { return Poll::Pending };
        let Some(portion) = out.portion() else { return Poll::Pending };
        let limit = *stream.limit;
        let watch = stream.watch.get_or_insert_with(|| Watch::of(portion, limit));
        if watch.portion != portion {
            watch.begin(portion, limit);
        }
        ready!(watch.poll_too_long(cx, limit, || out.of_connection.load(Ordering::Acquire)));
        tracing::debug!("a client did not take 64 KiB of its answer in time: stream reset");
        out.given_up.store(true, Ordering::Release);
        // Whether or not hyper asks for the error, what the stream holds ends with its task.
        let _ended = stream.answering.poll(cx);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::sync::oneshot;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    /// Runs something as the task of a stream, and gives what it says; nothing when the task was ended before.
    async fn in_stream<T: Send + 'static>(
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (say, said) = oneshot::channel();
        Streams::new(LIMIT).execute(async move {
            say.send(work.await).ok();
        });
        said.await.ok()
    }

    fn body(length: usize) -> Body {
        Body::from(vec![7_u8; length])
    }

    #[tokio::test]
    async fn a_large_answer_of_a_stream_comes_in_portions_one_at_a_time() {
        let lengths = in_stream(async {
            let mut body = in_portions(body(2 * PORTION_BYTES + 3));
            assert_eq!(body.size_hint().exact(), Some(2 * PORTION_BYTES as u64 + 3));
            let mut lengths = Vec::new();
            while let Some(frame) =
                std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
            {
                let portion = frame.unwrap().into_data().unwrap();
                assert!(!body.is_end_stream(), "it is out");
                let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
                assert!(futures::poll!(std::pin::pin!(next)).is_pending(), "it is out");
                lengths.push(portion.len());
            }
            assert!(body.is_end_stream());
            lengths
        });
        assert_eq!(lengths.await.unwrap(), [PORTION_BYTES, PORTION_BYTES, 3]);
    }

    #[tokio::test]
    async fn small_answers_and_those_of_other_connections_stay_whole() {
        let whole = async |length| {
            let frames: Vec<_> = in_portions(body(length)).into_data_stream().collect().await;
            frames.len() == 1
        };
        assert!(in_stream(async move { whole(SMALL_BYTES).await }).await.unwrap());
        assert!(whole(3 * PORTION_BYTES).await);
    }

    #[tokio::test]
    async fn what_is_not_taken_ends_with_its_stream() {
        // Whoever has the portion asks on: an error comes.
        let (tell, told) = oneshot::channel();
        let ended = in_stream(async move {
            let mut frames = in_portions(body(2 * PORTION_BYTES)).into_data_stream();
            let _kept = frames.next().await.unwrap().unwrap();
            tell.send(frames.next().await.unwrap().unwrap_err()).unwrap();
            std::future::pending::<()>().await;
        });
        assert!(ended.await.is_none());
        let error = told.await.unwrap();
        let mut reason = None;
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = source {
            reason =
                reason.or_else(|| error.downcast_ref::<h2::Error>().and_then(h2::Error::reason));
            source = error.source();
        }
        assert_eq!(reason, Some(h2::Reason::CANCEL));
        // Whoever has it asks no more: everything is dropped.
        let (owner, dropped) = oneshot::channel::<()>();
        let ended = in_stream(async move {
            let _owner = owner;
            let mut frames = in_portions(body(2 * PORTION_BYTES)).into_data_stream();
            let _kept = frames.next().await.unwrap().unwrap();
            std::future::pending::<()>().await;
        });
        assert!(ended.await.is_none());
        assert!(dropped.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn portions_that_are_out_side_by_side_share_the_time() {
        let streams = Streams::new(LIMIT);
        let (mut ends, began) = (Vec::new(), Instant::now());
        for _ in 0..5 {
            let (owner, dropped) = oneshot::channel::<()>();
            streams.execute(async move {
                let _owner = owner;
                let mut frames = in_portions(body(PORTION_BYTES)).into_data_stream();
                let _kept = frames.next().await.unwrap().unwrap();
                std::future::pending::<()>().await;
            });
            ends.push(dropped);
        }
        for end in ends {
            assert!(end.await.is_err());
        }
        assert!(began.elapsed() >= 5 * LIMIT, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_body_that_waits_for_data_is_waited_for() {
        let (send, data) = oneshot::channel::<Bytes>();
        let came = in_stream(async move {
            let one = futures::stream::once(async {
                Ok::<_, std::convert::Infallible>(data.await.unwrap())
            });
            let mut frames = in_portions(Body::from_stream(one)).into_data_stream();
            frames.next().await.unwrap().unwrap()
        });
        let mut came = std::pin::pin!(came);
        assert!(tokio::time::timeout(4 * LIMIT, came.as_mut()).await.is_err());
        send.send(Bytes::from_static(b"late")).unwrap();
        assert_eq!(came.await.unwrap(), "late");
    }
}
