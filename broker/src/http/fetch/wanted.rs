//! What a fetch asks for.

use std::time::Duration;

use axum::http::Uri;
use embermq_protocol::limits::{FETCH_BYTES_DEFAULT, FETCH_BYTES_MAX, FETCH_WAIT_MAX};
use embermq_protocol::{time, v1};
use embermq_storage::{Offset, Timestamp};

use crate::http::failure::Failure;
use crate::http::query::Query;
use crate::{From, PartitionId, ReadRequest, Topic};

/// What a fetch asks for, whichever way it came.
#[derive(Debug)]
pub(in crate::http) struct Wanted {
    pub(super) partition: Option<PartitionId>,
    /// None: the start, or the end for an event stream.
    pub(super) from: Option<From>,
    pub(super) records_max: Option<u64>,
    pub(super) bytes_max: u64,
    pub(super) wait: Duration,
    /// The client decompresses batches itself.
    pub(super) compressed: bool,
    /// Keys and values as base64.
    pub(super) base64: bool,
}

impl Wanted {
    /// Reads the query of a REST request.
    pub(in crate::http) fn of_query(uri: &Uri) -> Result<Self, Failure> {
        let mut query = Query::of(uri);
        let partition = query.number("partition")?.map(PartitionId);
        let from = from(&mut query)?;
        let records_max = query.number("max")?;
        if records_max == Some(0) {
            return Err(
                Failure::invalid("max is 0, it must be at least 1").with("parameter", "max")
            );
        }
        let bytes_max = query.number("max_bytes")?.unwrap_or(0);
        let wait = wait(query.duration("wait")?.unwrap_or_default())?;
        let compressed = query.switch("compressed")?;
        let base64 = match query.take("encoding")?.as_deref() {
            None => false,
            Some("base64") => true,
            Some(other) => {
                let detail =
                    format!("query parameter encoding is {other:?}, only \"base64\" is possible");
                return Err(Failure::invalid(detail).with("parameter", "encoding"));
            }
        };
        query.end()?;
        let bytes_max = bytes_bound(bytes_max);
        Ok(Self { partition, from, records_max, bytes_max, wait, compressed, base64 })
    }

    /// Reads a Connect request.
    pub(in crate::http) fn of_message(
        request: &v1::FetchRequest,
        compressed: bool,
    ) -> Result<Self, Failure> {
        use v1::fetch_request::From as Place;
        let from = match request.from {
            None => From::Start,
            Some(Place::Offset(offset)) => From::Offset(Offset(offset)),
            Some(Place::Time(time)) => From::Time(timestamp(time)?),
            Some(Place::Position(number)) => position(number)?,
        };
        let waiting = match request.wait {
            Some(wait) => Duration::try_from(wait)
                .map_err(|error| Failure::invalid(format!("wait: {error}")))?,
            None => Duration::ZERO,
        };
        Ok(Self {
            partition: Some(PartitionId(request.partition)),
            from: Some(from),
            records_max: (request.max_records > 0).then_some(request.max_records.into()),
            bytes_max: bytes_bound(request.max_bytes),
            wait: wait(waiting)?,
            compressed,
            base64: false,
        })
    }

    /// The one partition to read: the one asked for, or the only one there is.
    pub(in crate::http) fn only_partition(&self, topic: &Topic) -> Result<PartitionId, Failure> {
        match (self.partition, topic.settings.partitions) {
            (Some(partition), _) => Ok(partition),
            (None, 1) => Ok(PartitionId(0)),
            (None, partitions) => Err(partition_needed(topic, partitions)),
        }
    }

    /// The request for one partition.
    pub(in crate::http) fn request(&self, topic: &Topic, partition: PartitionId) -> ReadRequest {
        ReadRequest {
            topic: topic.name.clone(),
            partition,
            from: self.from.unwrap_or(From::Start),
            bytes_max: self.bytes_max,
            wait: self.wait,
        }
    }
}

/// A request must say which of several partitions it means.
pub(in crate::http) fn partition_needed(topic: &Topic, partitions: u32) -> Failure {
    Failure::invalid(format!(
        "topic {} has {partitions} partitions: say which one with `partition`, 0 to {}",
        topic.name,
        partitions.saturating_sub(1)
    ))
    .with("parameter", "partition")
    .with("partitions", partitions)
}

fn place(text: &str) -> Option<From> {
    match text {
        "start" => Some(From::Start),
        "end" => Some(From::End),
        _ => None,
    }
}

/// Where to begin: `offset=` (a number, `start` or `end`), `time=`, or `from=start|end`.
fn from(query: &mut Query) -> Result<Option<From>, Failure> {
    let offset = query.take("offset")?.map(|text| match place(&text) {
        Some(place) => Ok(place),
        None => text.parse().map(|offset| From::Offset(Offset(offset))).map_err(|_| {
            let detail =
                format!("query parameter offset is {text:?}, expected a number, start or end");
            Failure::invalid(detail).with("parameter", "offset")
        }),
    });
    let offset = offset.transpose()?;
    let time = query.time("time")?.map(From::Time);
    let place = query.take("from")?.map(|text| {
        place(&text).ok_or_else(|| {
            let detail = format!("query parameter from is {text:?}, expected start or end");
            Failure::invalid(detail).with("parameter", "from")
        })
    });
    let place = place.transpose()?;
    let mut given = [offset, time, place].into_iter().flatten();
    match (given.next(), given.next()) {
        (_, Some(_)) => Err(Failure::invalid("say one of offset, time and from, not several")),
        (first, None) => Ok(first),
    }
}

fn wait(wait: Duration) -> Result<Duration, Failure> {
    if wait <= FETCH_WAIT_MAX {
        return Ok(wait);
    }
    Err(Failure::invalid(format!("wait is {wait:?}, the longest is {FETCH_WAIT_MAX:?}; ask again"))
        .with("parameter", "wait"))
}

fn bytes_bound(asked: u32) -> u64 {
    match asked {
        0 => FETCH_BYTES_DEFAULT.into(),
        asked => asked.min(FETCH_BYTES_MAX).into(),
    }
}

/// A position by its number in the contract.
pub(in crate::http) fn position(number: i32) -> Result<From, Failure> {
    match v1::Position::try_from(number) {
        Ok(v1::Position::End) => Ok(From::End),
        Ok(v1::Position::Start | v1::Position::Unspecified) => Ok(From::Start),
        Err(_) => {
            let detail = format!("there is no position {number}: 1 is start, 2 is end");
            Err(Failure::invalid(detail))
        }
    }
}

/// A time, in microseconds.
pub(in crate::http) fn timestamp(time: time::Timestamp) -> Result<Timestamp, Failure> {
    let micros = time.micros();
    micros.map(Timestamp).ok_or_else(|| Failure::invalid("time lies outside of what can be said"))
}
