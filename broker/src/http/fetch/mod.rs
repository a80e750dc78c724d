//! `GET /v1/topics/{topic}/records`: JSON, lines, an event stream, or the stored bytes themselves.

mod batches;
mod events;
mod records;
mod wanted;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

pub(super) use self::batches::fetch_response;
use self::records::{JsonPage, page};
pub(super) use self::wanted::{Wanted, partition_needed, position, timestamp};
use super::append::find_topic;
use super::caller::Caller;
use super::failure::Failure;
use super::held::Counted;
use super::json::Style as JsonStyle;
use super::media::{EVENT_STREAM, JSON, NDJSON, PROTOBUF, negotiate};
use super::portions::SMALL_BYTES;
use super::shared::Shared;
use super::topics::topic_of;
use crate::{Read, ReadRequest};

const NEXT_OFFSET: HeaderName = HeaderName::from_static("next-offset");
const START_OFFSET: HeaderName = HeaderName::from_static("start-offset");
const END_OFFSET: HeaderName = HeaderName::from_static("end-offset");

/// `GET /v1/topics/{topic}/records`.
pub(super) async fn fetch(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, NDJSON, PROTOBUF, EVENT_STREAM])?;
    let topic = find_topic(&shared, &topic_of(request.uri())?)?;
    let wanted = Wanted::of_query(request.uri())?;
    if accepted == EVENT_STREAM {
        return events::events(Arc::clone(&shared), &topic, &wanted, request.headers()).await;
    }
    let partition = wanted.only_partition(&topic)?;
    let asked = wanted.request(&topic, partition);
    let caller = Caller::in_request(request.extensions());
    let read = read(&shared, asked.clone(), &caller).await?;
    if accepted == PROTOBUF {
        let (pieces, next) = fetch_response(&read, &wanted, &shared.answers)?;
        let mut response = answer(PROTOBUF, pieces.into(), &read, next);
        response.extensions_mut().insert(Counted);
        return Ok(response);
    }
    room_for(&shared, &read)?;
    let style = JsonStyle { base64: wanted.base64, one_line: accepted == NDJSON };
    let max = wanted.records_max.unwrap_or(u64::MAX);
    let JsonPage { text, next } = page(&asked, &read, max, style)?;
    Ok(answer(accepted, text.into(), &read, next))
}

fn answer(kind: &'static str, body: Body, read: &Read, next: u64) -> Response {
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (NEXT_OFFSET, HeaderValue::from(next)),
        (START_OFFSET, HeaderValue::from(read.start.0)),
        (END_OFFSET, HeaderValue::from(read.end.0)),
    ];
    (head, body).into_response()
}

/// Refuses to decode what was read while answers hold as much as they may. A little is decoded always.
pub(super) fn room_for(shared: &Shared, read: &Read) -> Result<(), Failure> {
    let bytes: usize = read.pieces.iter().map(Bytes::len).sum();
    if bytes <= SMALL_BYTES { Ok(()) } else { shared.answers.room() }
}

/// Reads, and stops waiting when the server closes or the caller leaves.
pub(super) async fn read(
    shared: &Shared,
    request: ReadRequest,
    caller: &Caller,
) -> Result<Read, Failure> {
    if request.wait.is_zero() {
        return Ok(shared.broker.read(request).await?);
    }
    let at_once = ReadRequest { wait: std::time::Duration::ZERO, ..request.clone() };
    tokio::select! {
        biased;
        read = shared.broker.read(request) => Ok(read?),
        () = shared.waits_no_more(caller) => Ok(shared.broker.read(at_once).await?),
    }
}
