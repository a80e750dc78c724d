//! Reading a request body within its limits.
//!
//! Before a byte is read the body's declared length is checked against the route's limit and taken from the broker's
//! byte budget; a body of unknown length takes as it grows. While it is read, a pause or a rate below the minimum ends
//! it. A body that is refused is drained for a moment behind the answer, so that a client that is still sending
//! gets to read the answer instead of a reset.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use embermq_protocol::code::Code;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};

use super::failure::Failure;
use super::shared::Shared;
use crate::Admission;

/// A body of unknown length takes this much of the budget first, then as much again as it has.
const FIRST_STEP_BYTES: u64 = 64 << 10;
/// What is read and thrown away of a refused body.
const DRAIN_BYTES_MAX: u64 = 16 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// A body that was read, and the budget that it holds.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) bytes: Bytes,
    pub(super) budget: Budget,
}

/// What a body takes of the broker's byte budget, until this is dropped: when the request is answered.
#[derive(Debug)]
pub(super) struct Budget {
    _admissions: Vec<Admission>,
}

/// How large a body may be, and what to say when it is larger.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit {
    pub(super) bytes: u64,
    /// What the limit is of: `a record of topic x`, `a produce request`.
    pub(super) what: &'static str,
    /// The code of the refusal.
    pub(super) code: Code,
}

impl BodyLimit {
    fn refusal(self, found: Option<u64>) -> Failure {
        let (limit, what) = (self.bytes, self.what);
        let size = found.map_or_else(|| "more".to_owned(), |bytes| format!("{bytes} bytes"));
        Failure::new(
            self.code,
            format!("the body has {size}, the limit of {what} is {limit} bytes"),
        )
        .with("limit_bytes", limit)
    }
}

/// Reads a whole body.
pub(super) async fn take_body(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
    limit: BodyLimit,
) -> Result<Taken, Failure> {
    let declared = body.size_hint().exact();
    match admit(shared, headers, declared, limit) {
        Ok(budget) => read(shared, body, declared, limit, budget).await,
        Err(refusal) => {
            if declared != Some(0) {
                drain(body);
            }
            Err(refusal)
        }
    }
}

/// What can be said before a byte is read.
fn admit(
    shared: &Shared,
    headers: &HeaderMap,
    declared: Option<u64>,
    limit: BodyLimit,
) -> Result<Vec<Admission>, Failure> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Failure::new(
            Code::UnsupportedMediaType,
            "content encodings are not understood: send the body as it is (batches of records may be compressed within \
             a RecordBatch)",
        ));
    }
    match declared {
        Some(bytes) if bytes > limit.bytes => Err(limit.refusal(declared)),
        Some(0) => Ok(Vec::new()),
        Some(bytes) => Ok(vec![shared.broker.admit(bytes)?]),
        None => Ok(vec![shared.broker.admit(FIRST_STEP_BYTES.min(limit.bytes))?]),
    }
}

async fn read(
    shared: &Shared,
    body: Body,
    declared: Option<u64>,
    limit: BodyLimit,
    mut budget: Vec<Admission>,
) -> Result<Taken, Failure> {
    let idle = shared.options.body_idle_timeout;
    let mut admitted = declared.unwrap_or(FIRST_STEP_BYTES.min(limit.bytes));
    let mut frames = body.into_data_stream();
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut length: u64 = 0;
    let started = Instant::now();
    loop {
        // Most bodies are there with their heads: no timer for those.
        let next = match frames.next().now_or_never() {
            Some(next) => Ok(next),
            None => timeout(idle, frames.next()).await,
        };
        let frame = match next {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(broken(&error, length)),
            Ok(None) => break,
            Err(_elapsed) => return Err(too_slow(shared, length)),
        };
        length += frame.len() as u64;
        if length > limit.bytes {
            drain(Body::from_stream(frames));
            return Err(limit.refusal(None));
        }
        let elapsed = started.elapsed();
        if elapsed > idle && length < elapsed.as_secs().saturating_mul(shared.options.body_rate_min)
        {
            return Err(too_slow(shared, length));
        }
        if length > admitted {
            let more = length.max(admitted * 2).min(limit.bytes) - admitted;
            budget.push(shared.broker.admit(more)?);
            admitted += more;
        }
        // Most bodies come in one frame, which is then not copied.
        if first.is_empty() && whole.is_empty() {
            first = frame;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(usize::try_from(declared.unwrap_or(length * 2)).unwrap_or_default());
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&frame);
    }
    let bytes = if whole.is_empty() { first } else { whole.freeze() };
    Ok(Taken { bytes, budget: Budget { _admissions: budget } })
}

fn too_slow(shared: &Shared, length: u64) -> Failure {
    let (idle, rate) = (shared.options.body_idle_timeout, shared.options.body_rate_min);
    Failure::new(
        Code::RequestTimeout,
        format!(
            "the body came too slowly: {length} bytes arrived; the longest pause is {idle:?}, the lowest rate after \
             that time {rate} bytes/s. Nothing was done"
        ),
    )
}

fn broken(error: &axum::Error, length: u64) -> Failure {
    Failure::new(
        Code::MalformedBody,
        format!(
            "the body ended before it was complete, after {length} bytes ({error}). Nothing was done"
        ),
    )
}

/// Reads on behind a refusal, within bounds, so that the client can read the answer.
fn drain(body: Body) {
    tokio::spawn(timeout(DRAIN_TIME_MAX, async move {
        let mut frames = body.into_data_stream();
        let mut drained = 0;
        while let Some(Ok(frame)) = frames.next().await {
            drained += frame.len() as u64;
            if drained > DRAIN_BYTES_MAX {
                break;
            }
        }
    }));
}
