//! `POST /v1/commits`: many topics and leases of any groups, all or nothing, if all preconditions hold.
//!
//! JSON for people: `{"preconditions":[{"topic","partition"?,"next_offset"},{"topic","partition"?,"key_version":{"key","offset"?}}],
//! "appends":[{"topic","partition"?,"records":[..],"deliver_at"?,"delay"?}],"settlements":[{"token","ack":true}],
//! "acks":["token"],"nacks":[{"token","delay"?,"error"?}],"rejects":[{"token","reason"?}],"cancels":[{"topic","schedule"}],"idempotency_key"?,"durability"?}`; `application/x-protobuf`: a `CommitRequest`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use embermq_protocol::headers::{
    DELAY, DELIVER_AT, DURABILITY, IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, IF_KEY_VERSION,
    IF_OFFSET_MATCH, KEY, PRODUCER_EPOCH, PRODUCER_ID, PRODUCER_SEQ,
};
use embermq_protocol::limits::COMMIT_PARTS_MAX;
use embermq_protocol::{time, v1};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::append::{
    Portion, Records, Terms, commit as append, durability_of, find_own_topic, find_topic,
    idempotency_key, idempotency_key_of_message, next_offset_is, only_partition,
};
use super::body::take_body;
use super::catalog::topic_name;
use super::failure::Failure;
use super::groups;
use super::json::{BoundedList, Object, Span, from_object};
use super::keys;
use super::media::{JSON, PROTOBUF, body_kind, negotiate};
use super::messages::{CommitBody, too_many_parts};
use super::named::{named, text};
use super::produce::{LIMIT, deliver_at, record_list};
use super::protobuf::protobuf;
use super::query::Query;
use super::schedules;
use super::shared::Shared;
use crate::{Precondition, Topic};

const IN_BATCHES: &str = "a commit knows a repeat by its idempotency_key, or by the producer fields of a RecordBatch (protobuf)";

/// Headers of a produce request that a commit with its many appends does not take, and what it takes.
const HEADERS_OF_PRODUCE: [(&str, &str); 8] = [
    (IF_OFFSET_MATCH, "a commit has preconditions with next_offset in its body"),
    (IF_KEY_VERSION, "a commit has preconditions with key_version in its body"),
    (KEY, "each record of a commit has its own key in the body"),
    (DELAY, "each append of a commit has its own delay in the body"),
    (DELIVER_AT, "each append of a commit has its own deliver_at in the body"),
    (PRODUCER_ID, IN_BATCHES),
    (PRODUCER_EPOCH, IN_BATCHES),
    (PRODUCER_SEQ, IN_BATCHES),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a commit, which is an object")]
struct JsonCommit<'a> {
    #[serde(default)]
    preconditions: Vec<Object<JsonPrecondition>>,
    #[serde(borrow, default)]
    appends: Vec<Object<JsonAppend<'a>>>,
    #[serde(borrow, default)]
    settlements: BoundedList<'a>,
    #[serde(borrow, default)]
    acks: BoundedList<'a>,
    #[serde(borrow, default)]
    nacks: BoundedList<'a>,
    #[serde(borrow, default)]
    rejects: BoundedList<'a>,
    #[serde(default)]
    cancels: Vec<Object<JsonCancel>>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    durability: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a precondition, which is an object")]
struct JsonPrecondition {
    topic: String,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(default)]
    next_offset: Option<u64>,
    #[serde(default)]
    key_version: Option<Object<keys::JsonKeyVersion>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an append, which is an object with a topic and records")]
struct JsonAppend<'a> {
    topic: String,
    #[serde(default)]
    partition: Option<u32>,
    #[serde(borrow)]
    records: &'a RawValue,
    #[serde(default)]
    deliver_at: Option<time::Timestamp>,
    #[serde(default)]
    delay: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a topic and a schedule")]
struct JsonCancel {
    topic: String,
    schedule: String,
}

/// `POST /v1/commits`.
pub(super) async fn commit(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let accepted = negotiate(&parts.headers, &[JSON, PROTOBUF])?;
    Query::of(&parts.uri).end()?;
    for (name, instead) in HEADERS_OF_PRODUCE {
        if named(&parts.headers, name).is_some() {
            let detail = format!("header {name} belongs to a produce request: {instead}");
            return Err(Failure::invalid(detail).with("header", name));
        }
    }
    let kind = body_kind(&parts.headers)?;
    let taken = take_body(&shared, &parts.headers, body, LIMIT).await?;
    let (portions, mut terms) = if kind == PROTOBUF {
        of_message(&shared, &CommitBody::read(&taken.bytes)?)?
    } else {
        of_json(&shared, &taken.bytes)?
    };
    let key = text(&parts.headers, IDEMPOTENCY_KEY)?.map(idempotency_key).transpose()?;
    terms.idempotency_key = either(IDEMPOTENCY_KEY, key, terms.idempotency_key)?;
    let durability = text(&parts.headers, DURABILITY)?.map(durability_of).transpose()?;
    terms.durability = either(DURABILITY, durability, terms.durability)?;
    let answer = run(&shared, portions, terms).await?;
    drop(taken);
    let replayed = answer.replayed;
    let mut response =
        if accepted == PROTOBUF { protobuf(&answer) } else { Json(shown(&answer)).into_response() };
    if replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What both a header and the body may say.
fn either<T: PartialEq>(
    name: &'static str,
    header: Option<T>,
    body: Option<T>,
) -> Result<Option<T>, Failure> {
    if let (Some(header), Some(body)) = (&header, &body)
        && header != body
    {
        let detail =
            format!("header {name} and the body say different things; send it in one of them");
        return Err(Failure::invalid(detail).with("header", name));
    }
    Ok(header.or(body))
}

/// The answer for people.
fn shown(answer: &v1::CommitResponse) -> Value {
    let appends = answer.appends.iter().map(|result| {
        let (topic, partition, count) = (&result.topic, result.partition, result.count);
        match deliver_at(result) {
            None => json!({
                "topic": topic, "partition": partition, "base_offset": result.base_offset, "count": count,
            }),
            Some(at) => json!({
                "topic": topic, "partition": partition, "count": count,
                "schedule": result.schedule, "deliver_at": at,
            }),
        }
    });
    let appends: Vec<Value> = appends.collect();
    let mut shown = json!({ "position": answer.position, "appends": appends });
    if !answer.settlements.is_empty() {
        shown["settlements"] = answer.settlements.iter().map(groups::result_out).collect();
    }
    shown
}

/// Carries out a commit that came as a message, over REST or Connect.
pub(super) async fn run_message(
    shared: &Shared,
    request: &CommitBody,
) -> Result<v1::CommitResponse, Failure> {
    let (portions, terms) = of_message(shared, request)?;
    run(shared, portions, terms).await
}

async fn run(
    shared: &Shared,
    portions: Vec<Portion>,
    terms: Terms,
) -> Result<v1::CommitResponse, Failure> {
    let tokens: Vec<String> =
        terms.settlements.iter().map(|settlement| settlement.token.clone()).collect();
    let (committed, results) = append(shared, portions, terms).await?;
    // A repeat has none: they were told to whoever was first.
    let settled = tokens.into_iter().zip(committed.settled);
    Ok(v1::CommitResponse {
        position: committed.position.0,
        appends: results.into_iter().flatten().collect(),
        settlements: settled
            .map(|(token, settled)| groups::settled_message(token, settled))
            .collect(),
        replayed: committed.repeated,
    })
}

fn of_json(shared: &Shared, body: &[u8]) -> Result<(Vec<Portion>, Terms), Failure> {
    let json: JsonCommit<'_> = from_object(body)
        .map_err(|error| Failure::malformed(format!("the body is no commit: {error}")))?;
    check_parts(json.appends.len(), json.preconditions.len(), json.cancels.len())?;
    let lists = groups::SettlementLists {
        settlements: json.settlements,
        acks: json.acks,
        nacks: json.nacks,
        rejects: json.rejects,
    };
    let settlements = groups::settlements(lists.read()?)?;
    let now = shared.broker.group_time();
    let mut portions = Vec::with_capacity(json.appends.len());
    for Object(append) in json.appends {
        portions.push(Portion {
            topic: find_own_topic(shared, &topic_name(&append.topic)?)?,
            partition: append.partition,
            records: Records::List(record_list(append.records)?),
            deliver_at: schedules::of_message(
                now,
                append.deliver_at,
                append.delay.map(|delay| delay.0),
            )?,
        });
    }
    let mut preconditions = Vec::with_capacity(json.preconditions.len());
    for Object(wanted) in json.preconditions {
        let topic = seen_topic(shared, &portions, &wanted.topic)?;
        preconditions.push(match (wanted.next_offset, wanted.key_version) {
            (Some(offset), None) => {
                next_offset_is(&topic, only_partition(&topic, wanted.partition)?, offset)
            }
            (None, Some(Object(version))) => {
                let (key, expected) = version.read()?;
                keys::key_version_is(&topic, wanted.partition, key, expected)?
            }
            _ => {
                return Err(Failure::malformed(
                    "a precondition has exactly one of next_offset and key_version",
                ));
            }
        });
    }
    let cancels = json.cancels.into_iter();
    let cancels =
        cancels.map(|Object(JsonCancel { topic, schedule })| v1::Cancel { topic, schedule });
    let terms = Terms {
        preconditions,
        settlements,
        cancels: schedules::cancels(&cancels.collect::<Vec<_>>())?,
        idempotency_key: json.idempotency_key.as_deref().map(idempotency_key).transpose()?,
        durability: json.durability.as_deref().map(durability_of).transpose()?,
        ..Terms::default()
    };
    Ok((portions, terms))
}

fn of_message(shared: &Shared, message: &CommitBody) -> Result<(Vec<Portion>, Terms), Failure> {
    check_parts(message.appends.len(), message.preconditions.len(), message.cancels.len())?;
    let settlements = groups::settlements(message.settlements.clone())?;
    let now = shared.broker.group_time();
    let mut portions = Vec::with_capacity(message.appends.len());
    for append in &message.appends {
        portions.push(Portion {
            topic: find_own_topic(shared, &topic_name(&append.topic)?)?,
            partition: append.partition,
            records: Records::Batch(Bytes::clone(&append.batch)),
            deliver_at: schedules::of_message(now, append.deliver_at, append.delay)?,
        });
    }
    let preconditions = message
        .preconditions
        .iter()
        .map(|wanted| precondition(shared, &portions, wanted))
        .collect::<Result<_, _>>()?;
    let terms = Terms {
        preconditions,
        settlements,
        cancels: schedules::cancels(&message.cancels)?,
        idempotency_key: idempotency_key_of_message(&message.idempotency_key)?,
        durability: super::catalog::durability(message.durability)?,
        ..Terms::default()
    };
    Ok((portions, terms))
}

/// A topic as the appends of this commit go by it, else as it is.
fn seen_topic(shared: &Shared, portions: &[Portion], name: &str) -> Result<Arc<Topic>, Failure> {
    let name = topic_name(name)?;
    match portions.iter().find(|portion| portion.topic.name == name) {
        Some(portion) => Ok(Arc::clone(&portion.topic)),
        None => find_topic(shared, &name),
    }
}

fn precondition(
    shared: &Shared,
    portions: &[Portion],
    wanted: &v1::Precondition,
) -> Result<Precondition, Failure> {
    let topic = seen_topic(shared, portions, &wanted.topic)?;
    match &wanted.check {
        Some(v1::precondition::Check::NextOffset(next)) => {
            Ok(next_offset_is(&topic, crate::PartitionId(next.partition), next.offset))
        }
        Some(v1::precondition::Check::KeyVersion(version)) => keys::of_message(&topic, version),
        None => Err(Failure::invalid(
            "a precondition says nothing: it needs next_offset or key_version",
        )),
    }
}

fn check_parts(appends: usize, preconditions: usize, cancels: usize) -> Result<(), Failure> {
    if appends.max(preconditions).max(cancels) <= COMMIT_PARTS_MAX {
        return Ok(());
    }
    Err(too_many_parts())
}
