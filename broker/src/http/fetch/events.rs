//! The live tail as Server-Sent Events.
//!
//! Each record is an event whose data is its JSON and whose id says, as `partition:offset` separated by commas, the last
//! record seen of each partition. A client that comes back with `Last-Event-ID` goes on behind those; partitions that
//! the id does not name are read from their start; an id of no partition is `none`. The stream begins with an id of its own, so
//! that a connection that breaks before the first record loses nothing: without data it is no event, but clients remember it.
//! Without partition= all partitions are merged, those that the topic gets later too, from their start. A silent stream gets a comment from time to time. It ends when the server
//! closes, and clients come back by themselves.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use embermq_protocol::headers::LAST_EVENT_ID;
use embermq_protocol::limits::FETCH_WAIT_MAX;
use embermq_protocol::media::EVENT_STREAM;
use embermq_storage::Offset;
use futures::stream::{self, BoxStream, SelectAll, Stream, StreamExt as _};
use tokio::time::{sleep, timeout};

use super::JsonStyle;
use super::records::{Rendered, render_records};
use super::wanted::Wanted;
use crate::http::closing::Closing;
use crate::http::failure::Failure;
use crate::http::shared::Shared;
use crate::{From, PartitionId, Read, ReadError, ReadRequest, Topic};

/// More partitions are not merged: the ids would become longer than the records.
const MERGED_PARTITIONS_MAX: u32 = 64;
/// Bytes that each partition of a stream reads at a time.
const STEP_BYTES: u64 = 256 << 10;
/// Tells clients to come back after a second, and proxies that something is coming.
const GREETING: &str = "retry: 1000";
/// The id before a record of any partition was seen: an empty one would be no id.
const NOTHING_SEEN: &str = "none";
/// While answers hold as much as they may, a stream waits, and looks again after this long.
const ROOM_PAUSE: Duration = Duration::from_millis(200);
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// What a partition has to say.
enum Piece {
    Records { partition: PartitionId, records: Vec<Rendered> },
    Trouble { text: String },
}

/// Answers with an event stream.
pub(super) async fn events(
    shared: Arc<Shared>,
    topic: &Arc<Topic>,
    wanted: &Wanted,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let partitions = partitions(topic, wanted)?;
    let resumed = headers.get(LAST_EVENT_ID).map(resume).transpose()?;
    let mut seen = Vec::with_capacity(partitions.len());
    let mut tails = SelectAll::new();
    for partition in partitions {
        let last = resumed
            .as_ref()
            .map(|ids| ids.iter().find(|(id, _)| *id == partition.0).map(|(_, offset)| *offset));
        let from = match last {
            Some(Some(offset)) => From::Offset(Offset(offset.saturating_add(1))),
            Some(None) => From::Start,
            None => wanted.from.unwrap_or(From::End),
        };
        let request =
            ReadRequest { from, bytes_max: STEP_BYTES, ..wanted.request(topic, partition) };
        let request = ReadRequest { wait: Duration::ZERO, ..request };
        // What is wrong with the request is said now, with a status.
        let first = shared.broker.read(request.clone()).await?;
        if let Some(before) = first.from.0.checked_sub(1) {
            seen.push((partition, before));
        }
        tails.push(tail(Arc::clone(&shared), request, Some(first), wanted.base64));
    }
    let merged = wanted.partition.is_none().then(|| Merged {
        topic: Arc::clone(topic),
        partitions: topic.settings.partitions,
        base64: wanted.base64,
    });
    let stream = Events {
        shared: Arc::clone(&shared),
        merged,
        tails,
        closing: shared.closing.clone(),
        keep_alive: shared.options.event_keep_alive,
        seen,
        left: wanted.records_max.unwrap_or(u64::MAX),
    };
    let greeting = Bytes::from(format!("{GREETING}\nid: {}\n\n", id_of(&stream.seen)));
    let greeting = stream::once(async { greeting });
    let body = greeting.chain(stream.into_stream()).map(Ok::<_, Infallible>);
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((head, Body::from_stream(body)).into_response())
}

fn partitions(topic: &Topic, wanted: &Wanted) -> Result<Vec<PartitionId>, Failure> {
    match (wanted.partition, topic.settings.partitions) {
        (Some(partition), _) => Ok(vec![partition]),
        (None, several) if several <= MERGED_PARTITIONS_MAX => {
            Ok((0..several).map(PartitionId).collect())
        }
        (None, several) => Err(too_many_to_merge(topic, several)),
    }
}

fn too_many_to_merge(topic: &Topic, partitions: u32) -> Failure {
    Failure::invalid(format!(
        "topic {} has {partitions} partitions, and an event stream merges {MERGED_PARTITIONS_MAX} at most: say which one with \
         `partition`, 0 to {}",
        topic.name,
        partitions.saturating_sub(1)
    ))
    .with("parameter", "partition")
    .with("partitions", partitions)
}

/// What was seen as an id.
fn id_of(seen: &[(PartitionId, u64)]) -> String {
    if seen.is_empty() {
        return NOTHING_SEEN.to_owned();
    }
    let parts = seen.iter().map(|(partition, offset)| format!("{}:{offset}", partition.0));
    parts.collect::<Vec<_>>().join(",")
}

/// Reads a `Last-Event-ID`.
fn resume(id: &HeaderValue) -> Result<Vec<(u32, u64)>, Failure> {
    let wrong = || {
        Failure::invalid(format!("Last-Event-ID is {id:?}, expected partition:offset,.. as sent"))
            .with("header", LAST_EVENT_ID)
    };
    let text = id.to_str().map_err(|_| wrong())?;
    if text == NOTHING_SEEN {
        return Ok(Vec::new());
    }
    let parts = text.split(',').map(|part| {
        let (partition, offset) = part.trim().split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    });
    parts.collect::<Option<_>>().ok_or_else(wrong)
}

/// The endless stream of one partition, beginning with what was read first.
fn tail(
    shared: Arc<Shared>,
    request: ReadRequest,
    first: Option<Read>,
    base64: bool,
) -> BoxStream<'static, Piece> {
    let tail = Tail { shared, request, first, ended: false };
    let style = JsonStyle { base64, one_line: true };
    stream::unfold(tail, move |mut tail| async move {
        let piece = tail.next(style).await?;
        Some((piece, tail))
    })
    .boxed()
}

/// Where the stream of one partition stands.
struct Tail {
    shared: Arc<Shared>,
    request: ReadRequest,
    /// What was read to see whether the request is right.
    first: Option<Read>,
    ended: bool,
}

impl Tail {
    /// The next piece; waits for records when there are none.
    async fn next(&mut self, style: JsonStyle) -> Option<Piece> {
        if self.ended {
            return None;
        }
        let read = match self.first.take() {
            Some(first) => Ok(first),
            None => self.shared.broker.read(self.request.clone()).await,
        };
        self.request.wait = FETCH_WAIT_MAX;
        // There is no answer left to refuse with.
        while self.shared.answers.is_full() {
            sleep(ROOM_PAUSE).await;
        }
        match read {
            Ok(read) => {
                self.request.from = From::Offset(read.next);
                Some(match render_records(&self.request, &read, style) {
                    Ok(records) => Piece::Records { partition: self.request.partition, records },
                    Err(failure) => trouble(&failure),
                })
            }
            Err(error) => {
                match error {
                    // What is behind the damage can be read.
                    ReadError::DataLoss { next, .. } => self.request.from = From::Offset(next),
                    _ => self.ended = true,
                }
                Some(trouble(&error.into()))
            }
        }
    }
}

fn trouble(failure: &Failure) -> Piece {
    // A document of strings and numbers can always be written.
    Piece::Trouble { text: serde_json::to_string(failure.problem()).unwrap_or_default() }
}

/// A topic of which all partitions are wanted.
struct Merged {
    topic: Arc<Topic>,
    /// So many of them have a tail.
    partitions: u32,
    base64: bool,
}

/// The merged tails and what goes around them.
struct Events {
    shared: Arc<Shared>,
    /// None: one partition is wanted.
    merged: Option<Merged>,
    tails: SelectAll<BoxStream<'static, Piece>>,
    closing: Closing,
    keep_alive: Duration,
    /// The last offset seen of each partition that has one.
    seen: Vec<(PartitionId, u64)>,
    /// Records still to come.
    left: u64,
}

impl Events {
    fn into_stream(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut events| async move {
            let text = events.next().await?;
            Some((text, events))
        })
    }

    /// The next piece of the body; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let shared = Arc::clone(&self.shared);
        let next = loop {
            let mut changed = pin!(shared.broker.topics_changed());
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Err(too_many) = self.follow_new_partitions() {
                self.left = 0;
                break Ok(Some(trouble(&too_many)));
            }
            tokio::select! {
                biased;
                () = self.closing.wait() => return None,
                next = timeout(self.keep_alive, self.tails.next()) => break next,
                () = changed => {}
            }
        };
        match next {
            Err(_silent) => Some(Bytes::from_static(KEEP_ALIVE)),
            Ok(None) => None,
            Ok(Some(Piece::Trouble { text })) => {
                Some(format!("event: problem\ndata: {text}\n\n").into())
            }
            Ok(Some(Piece::Records { partition, records })) => {
                Some(self.write(partition, &records))
            }
        }
    }

    /// Partitions that came since are read from their start, as by a client that comes back.
    fn follow_new_partitions(&mut self) -> Result<(), Failure> {
        let Some(merged) = &mut self.merged else { return Ok(()) };
        let Some(topic) = self.shared.broker.topic(&merged.topic.name) else { return Ok(()) };
        let now = topic.settings.partitions;
        if topic.id != merged.topic.id || now <= merged.partitions {
            return Ok(());
        }
        if now > MERGED_PARTITIONS_MAX {
            return Err(too_many_to_merge(&topic, now));
        }
        for number in merged.partitions..now {
            let request = ReadRequest {
                topic: topic.name.clone(),
                partition: PartitionId(number),
                from: From::Start,
                bytes_max: STEP_BYTES,
                wait: FETCH_WAIT_MAX,
            };
            self.tails.push(tail(Arc::clone(&self.shared), request, None, merged.base64));
        }
        merged.partitions = now;
        Ok(())
    }

    fn write(&mut self, partition: PartitionId, records: &[Rendered]) -> Bytes {
        let mut text =
            Vec::with_capacity(records.iter().map(|record| record.json.len() + 64).sum());
        for record in records.iter().take(usize::try_from(self.left).unwrap_or(usize::MAX)) {
            match self.seen.iter_mut().find(|(seen, _)| *seen == partition) {
                Some((_, offset)) => *offset = record.offset,
                None => self.seen.push((partition, record.offset)),
            }
            text.extend_from_slice(b"id: ");
            text.extend_from_slice(id_of(&self.seen).as_bytes());
            text.extend_from_slice(b"\ndata: ");
            text.extend_from_slice(&record.json);
            text.extend_from_slice(b"\n\n");
            self.left -= 1;
        }
        text.into()
    }
}
