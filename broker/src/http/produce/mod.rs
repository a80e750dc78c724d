//! `POST /v1/topics/{topic}/records`: one record or a batch, all or nothing.
//!
//! The content type says what the body is:
//!
//! | content type | body |
//! |---|---|
//! | `application/x-protobuf` | a `RecordBatch`, stored as the bytes sent when it goes to one partition |
//! | `application/x-ndjson` | one JSON record a line |
//! | `application/json` | an object with only `records` (an array) and perhaps `partition`: a batch; any other JSON: one record |
//! | `application/cloudevents+json`, `application/cloudevents-batch+json` | one CloudEvent, an array of them |
//! | anything else, or nothing | one record: the bytes are its value (with `ce-*` headers: a CloudEvent) |

mod answer;
mod cloud_events;
mod lines;
mod raw;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::headers::{
    DURABILITY, IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, IF_KEY_VERSION, IF_OFFSET_MATCH, KEY,
    PRODUCER_EPOCH, PRODUCER_ID, PRODUCER_SEQ,
};
use embermq_protocol::limits::REQUEST_BYTES_MAX;
use embermq_protocol::v1;
use embermq_storage::Timestamp;
use serde_json::json;

pub(super) use self::answer::deliver_at;
use self::answer::placed;
pub(super) use self::cloud_events::EventName;
pub(super) use self::lines::record_list;
use self::lines::{JsonBody, json_body, ndjson_body};
use super::append::{
    Portion, Records, Terms, commit, durability_of, find_own_topic, idempotency_key,
    next_offset_is, only_partition,
};
use super::body::{BodyLimit, Budget, Taken, take_body};
use super::failure::Failure;
use super::json::IncomingRecord;
use super::keys;
use super::media::{self, CLOUDEVENT, CLOUDEVENT_BATCH, JSON, NDJSON, PROTOBUF, negotiate};
use super::named::{only, text};
use super::protobuf::protobuf;
use super::query::Query;
use super::schedules;
use super::shared::Shared;
use super::topics::topic_of;
use crate::{ProducerStamp, Topic};

/// The bound on a body that carries records.
pub(super) const LIMIT: BodyLimit = BodyLimit {
    bytes: REQUEST_BYTES_MAX as u64,
    what: "a request with records",
    code: Code::BodyTooLarge,
};

/// What was read from a body.
struct Content {
    records: Records,
    partition: Option<u32>,
    /// Answer with one offset instead of a list.
    single: bool,
    /// What makes the content itself a repeat.
    event: Option<EventName>,
}

impl Content {
    fn one(record: v1::Record) -> Self {
        let records = Records::List(vec![IncomingRecord { partition: None, record }]);
        Self { records, partition: None, single: true, event: None }
    }

    const fn many(records: Records, partition: Option<u32>) -> Self {
        Self { records, partition, single: false, event: None }
    }
}

/// A produce request, read and checked as far as it can be before it is committed.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) portion: Portion,
    pub(super) terms: Terms,
    /// The body is one record.
    pub(super) single: bool,
    pub(super) budget: Budget,
}

impl Asked {
    /// Reads a request for a topic; what is left of its query is for it.
    pub(super) async fn read(
        shared: &Shared,
        parts: &Parts,
        body: Body,
        topic: &Arc<Topic>,
        query: Query,
    ) -> Result<Self, Failure> {
        let kind = media::content_type(&parts.headers)?;
        let (mut terms, partition, deliver_at) = terms(shared, parts, topic, query)?;
        let limit = limit(&kind, &parts.headers, topic);
        let Taken { bytes, budget } = take_body(shared, &parts.headers, body, limit).await?;
        let content = content(&kind, &parts.headers, bytes)?;
        let partition = agree(partition, content.partition)?;
        if terms.idempotency_key.is_none() {
            terms.idempotency_key = content.event.as_ref().map(EventName::idempotency_key);
            terms.event = content.event;
        }
        terms.preconditions.extend(keys::of_produce(
            &parts.headers,
            topic,
            partition,
            &content.records,
        )?);
        let records = content.records;
        let portion = Portion { topic: Arc::clone(topic), partition, records, deliver_at };
        Ok(Self { portion, terms, single: content.single, budget })
    }
}

/// `POST /v1/topics/{topic}/records`.
pub(super) async fn produce(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let accepted = negotiate(&parts.headers, &[JSON, PROTOBUF])?;
    let topic = find_own_topic(&shared, &topic_of(&parts.uri)?)?;
    let query = Query::of(&parts.uri);
    let Asked { portion, terms, single, budget } =
        Asked::read(&shared, &parts, body, &topic, query).await?;
    let (committed, mut results) = commit(&shared, vec![portion], terms).await?;
    drop(budget);
    let results = results.pop().unwrap_or_default();
    let put_off = results.iter().any(|result| !result.schedule.is_empty());
    let mut response = if accepted == PROTOBUF {
        protobuf(&v1::ProduceResponse { results, replayed: committed.repeated })
    } else if single {
        let first = results.into_iter().next().unwrap_or_default();
        if first.schedule.is_empty() {
            one_offset(&topic, &first)
        } else {
            one_schedule(&topic, &first)
        }
    } else {
        Json(json!({ "topic": topic.name.as_str(), "records": placed(&results) })).into_response()
    };
    if put_off {
        *response.status_mut() = StatusCode::ACCEPTED;
    }
    if committed.repeated {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(shared.answers.count(response, false))
}

/// The answer for one record. Written by hand: it is the most frequent answer of all, and a topic name needs no escapes.
fn one_offset(topic: &Topic, result: &v1::AppendResult) -> Response {
    let (name, partition, offset) = (&topic.name, result.partition, result.base_offset);
    let text = format!(r#"{{"topic":"{name}","partition":{partition},"offset":{offset}}}"#);
    let kind = (axum::http::header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    ([kind], text).into_response()
}

/// The answer for one record that appears later.
fn one_schedule(topic: &Topic, result: &v1::AppendResult) -> Response {
    let at = deliver_at(result).unwrap_or_default();
    Json(json!({
        "topic": topic.name.as_str(),
        "partition": result.partition,
        "schedule": result.schedule,
        "deliver_at": at,
    }))
    .into_response()
}

/// The limit of a body: of a record when the body is one, of a request otherwise.
fn limit(kind: &str, headers: &HeaderMap, topic: &Topic) -> BodyLimit {
    let batch = matches!(kind, PROTOBUF | NDJSON | JSON | CLOUDEVENT | CLOUDEVENT_BATCH);
    if batch && !cloud_events::is_binary(headers) {
        return LIMIT;
    }
    BodyLimit {
        bytes: u64::from(topic.settings.record_bytes_max),
        what: "a record of this topic",
        code: Code::RecordTooLarge,
    }
}

fn content(kind: &str, headers: &HeaderMap, body: Bytes) -> Result<Content, Failure> {
    let in_head = only(headers, KEY)?;
    let key = || in_head.map(|key| Bytes::copy_from_slice(key.as_bytes()));
    let no_key = || match in_head {
        None => Ok(()),
        Some(_) => Err(Failure::invalid(
            "the Key header belongs to a raw body; here each record has its own key",
        )),
    };
    if cloud_events::is_binary(headers) {
        let event = cloud_events::binary(headers, key(), body)?;
        return Ok(Content { event: Some(event.name), ..Content::one(event.record) });
    }
    match kind {
        PROTOBUF => {
            no_key()?;
            Ok(Content::many(Records::Batch(body), None))
        }
        NDJSON => {
            no_key()?;
            Ok(Content::many(Records::List(ndjson_body(&body)?), None))
        }
        CLOUDEVENT => {
            let event = cloud_events::structured(&body).map_err(Failure::malformed)?;
            let record = v1::Record { key: key().or(event.record.key), ..event.record };
            Ok(Content { event: Some(event.name), ..Content::one(record) })
        }
        CLOUDEVENT_BATCH => {
            no_key()?;
            let events = cloud_events::batched(&body)?.into_iter();
            let records =
                events.map(|event| IncomingRecord { partition: None, record: event.record });
            Ok(Content::many(Records::List(records.collect()), None))
        }
        JSON => match json_body(&body)? {
            JsonBody::Batch { records, partition } => {
                no_key()?;
                Ok(Content::many(Records::List(records), partition))
            }
            JsonBody::Record => Ok(Content::one(raw::record(headers, key(), body))),
        },
        _ => Ok(Content::one(raw::record(headers, key(), body))),
    }
}

/// What headers and query say about the request, the partition that they ask for, and when it is to take effect.
fn terms(
    shared: &Shared,
    parts: &Parts,
    topic: &Topic,
    mut query: Query,
) -> Result<(Terms, Option<u32>, Option<Timestamp>), Failure> {
    let headers = &parts.headers;
    let partition = query.number("partition")?;
    let durability = agree(query.take(DURABILITY)?, text(headers, DURABILITY)?.map(str::to_owned))?;
    let deliver_at = schedules::of_request(shared.broker.group_time(), headers, &mut query)?;
    query.end()?;
    let mut terms = Terms {
        durability: durability.as_deref().map(durability_of).transpose()?,
        producer: producer(headers)?,
        ..Terms::default()
    };
    if let Some(key) = text(headers, IDEMPOTENCY_KEY)? {
        terms.idempotency_key = Some(idempotency_key(key)?);
    }
    if deliver_at.is_some() && only(headers, IF_KEY_VERSION)?.is_some() {
        return Err(schedules::no_offset_yet("If-Key-Version"));
    }
    if let Some(offset) = number(headers, IF_OFFSET_MATCH)? {
        if deliver_at.is_some() {
            return Err(schedules::no_offset_yet("If-Offset-Match"));
        }
        let partition = only_partition(topic, partition)?;
        terms.preconditions.push(next_offset_is(topic, partition, offset));
        return Ok((terms, Some(partition.0), None));
    }
    Ok((terms, partition, deliver_at))
}

fn producer(headers: &HeaderMap) -> Result<Option<ProducerStamp>, Failure> {
    let id = number::<u64>(headers, PRODUCER_ID)?;
    let epoch = number::<u32>(headers, PRODUCER_EPOCH)?;
    let sequence = number::<u64>(headers, PRODUCER_SEQ)?;
    match (id, epoch, sequence) {
        (None, None, None) => Ok(None),
        (Some(0), _, _) => {
            Err(Failure::invalid("Producer-Id is 0, which means nobody; choose another"))
        }
        (Some(id), Some(epoch), Some(sequence)) => Ok(Some(ProducerStamp { id, epoch, sequence })),
        _ => Err(Failure::invalid(
            "Producer-Id, Producer-Epoch and Producer-Seq go together: send all three or none",
        )),
    }
}

fn number<N: std::str::FromStr>(
    headers: &HeaderMap,
    name: &'static str,
) -> Result<Option<N>, Failure> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    let wrong = |_| {
        Failure::invalid(format!("header {name} is {text:?}, expected a whole number"))
            .with("header", name)
    };
    text.trim_matches('"').parse().map(Some).map_err(wrong)
}

/// One of two places where the same thing can be said.
fn agree<T: PartialEq + std::fmt::Debug>(
    one: Option<T>,
    other: Option<T>,
) -> Result<Option<T>, Failure> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(Failure::invalid(format!(
            "the request says both {one:?} and {other:?}; say one of them"
        ))),
        (one, other) => Ok(one.or(other)),
    }
}
