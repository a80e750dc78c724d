//! What answers hold in memory, which is bounded as what requests hold is.
//!
//! A client takes its answer at its own pace, and until then the answer is held. So the bytes of every answer that was built here
//! count until they are written or dropped, and while as much is held as may be (`limits.answer_bytes_max`) no request that only
//! reads gets more: it is told to come back. What has taken effect is answered, and counts. A single answer may exceed the limit:
//! what holds is that nothing is added when it is reached.
//!
//! Slices of mapped segments do not count. They are pages of the file, which the operating system may take back at any time and
//! which all readers share. Neither do small answers count, which hold no more than their connections and streams do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use embermq_protocol::code::Code;
use hyper::body::{Frame, SizeHint};

use super::failure::Failure;
use super::portions::SMALL_BYTES;

/// The answers of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    held: Arc<AtomicU64>,
    limit: u64,
}

/// Says of a response that its bytes are counted, or need not be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted;

/// Bytes that count until they are dropped.
struct Held {
    bytes: Bytes,
    held: Arc<AtomicU64>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len() as u64, Ordering::AcqRel);
    }
}

impl Answers {
    pub(super) fn new(limit: u64) -> Self {
        Self { held: Arc::default(), limit }
    }

    /// Bytes that clients have not taken yet.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    /// Whether as much is held as may be.
    pub(super) fn is_full(&self) -> bool {
        self.held() >= self.limit
    }

    /// Refuses while as much is held as may be.
    pub(super) fn room(&self) -> Result<(), Failure> {
        self.room_below(self.limit)
    }

    /// Refuses at twice of that: slow readers of records, who are refused before, keep nobody from working.
    pub(super) fn room_for_work(&self) -> Result<(), Failure> {
        self.room_below(self.limit.saturating_mul(2))
    }

    /// Refuses at four times of that: who looks for the reason of all others.
    pub(super) fn room_to_look(&self) -> Result<(), Failure> {
        self.room_below(self.limit.saturating_mul(4))
    }

    fn room_below(&self, limit: u64) -> Result<(), Failure> {
        let held = self.held();
        if held < limit {
            return Ok(());
        }
        let detail = format!(
            "{held} bytes of answers wait for their clients to read them, the limit is {limit}; nothing was done: try again \
             later, ask for less at a time"
        );
        Err(Failure::new(Code::Overloaded, detail).with("limit_bytes", limit))
    }

    /// The same bytes; they count until the last slice of them is dropped.
    pub(super) fn hold(&self, bytes: Bytes) -> Bytes {
        if bytes.len() <= SMALL_BYTES {
            return bytes;
        }
        self.held.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        Bytes::from_owner(Held { bytes, held: Arc::clone(&self.held) })
    }

    /// The same answer; its bytes count. One to a request that only reads is refused while as much is held as may be.
    pub(super) fn count(&self, response: Response, only_reads: bool) -> Response {
        let small =
            response.body().size_hint().exact().is_some_and(|bytes| bytes <= SMALL_BYTES as u64);
        if small || response.extensions().get::<Counted>().is_some() {
            return response;
        }
        if only_reads
            && !is_event_stream(&response)
            && let Err(full) = self.room()
        {
            return full.into_response();
        }
        response.map(|inner| Body::new(Counting { inner, answers: self.clone() }))
    }
}

/// It waits for room itself, and a browser that is refused one never comes back.
fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// A body whose pieces count from the moment at which they are asked for.
struct Counting {
    inner: Body,
    answers: Answers,
}

impl HttpBody for Counting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let counted = |frame: Frame<Bytes>| frame.map_data(|data| self.answers.hold(data));
        Poll::Ready(frame.map(|frame| frame.map(counted)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use futures::StreamExt as _;

    use super::*;

    const LARGE: usize = 10_000;

    fn large() -> Response {
        Response::new(Body::from(vec![7_u8; LARGE]))
    }

    #[tokio::test]
    async fn an_answer_counts_until_its_last_slice_is_gone() {
        let answers = Answers::new(1 << 20);
        let answer = answers.count(large(), true);
        assert_eq!(answer.body().size_hint().exact(), Some(LARGE as u64));
        let mut frames = answer.into_body().into_data_stream();
        let mut whole = frames.next().await.unwrap().unwrap();
        drop(frames);
        let slice = whole.split_to(10);
        drop(whole);
        assert_eq!(answers.held(), LARGE as u64);
        drop(slice);
        assert_eq!(answers.held(), 0);
    }

    #[tokio::test]
    async fn small_answers_and_what_is_counted_elsewhere_do_not_count() {
        let answers = Answers::new(1 << 20);
        let small = answers.count(Response::new(Body::from(vec![7; SMALL_BYTES])), true);
        let small = to_bytes(small.into_body(), LARGE).await.unwrap();
        let mut mapped = large();
        mapped.extensions_mut().insert(Counted);
        let mapped = to_bytes(answers.count(mapped, true).into_body(), LARGE).await.unwrap();
        assert_eq!(answers.held(), 0);
        assert_eq!(small.len() + mapped.len(), SMALL_BYTES + LARGE);
    }

    #[tokio::test]
    async fn while_as_much_is_held_as_may_be_only_what_took_effect_is_answered() {
        let answers = Answers::new(LARGE as u64);
        let held = answers.hold(vec![7; LARGE].into());
        let refused = answers.count(large(), true);
        let refusal: &Failure = refused.extensions().get().unwrap();
        assert_eq!(refusal.problem().status, 429);
        assert!(refusal.problem().retry_after_seconds().is_some());
        assert!(answers.room_for_work().is_ok());
        let more = to_bytes(answers.count(large(), false).into_body(), LARGE).await.unwrap();
        assert_eq!(answers.held(), 2 * LARGE as u64);
        assert!(answers.room_for_work().is_err());
        drop((held, more));
        assert!(answers.room().is_ok() && answers.held() == 0);
    }
}
