//! `POST /v1/topics/{topic}/records:call`: a record is produced, then its answer is waited for.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::headers::IDEMPOTENT_REPLAYED;
use embermq_protocol::names::{GroupName, TopicName};
use embermq_protocol::v1::Header;
use embermq_storage::Offset;

use super::answer;
use super::prefer::Waiting;
use crate::http::append::{Portion, Records, commit, find_own_topic};
use crate::http::caller::Caller;
use crate::http::failure::Failure;
use crate::http::produce::Asked;
use crate::http::query::Query;
use crate::http::shared::Shared;
use crate::http::stages::{stage_name, stages_of};
use crate::http::topics::topic_of;
use crate::requests::{CALL_HEADER, RequestError, RequestId, RequestView};
use crate::topic::PartitionId;

/// `POST /v1/topics/{topic}/records:call`.
pub(super) async fn call(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let caller = Caller::in_request(&parts.extensions);
    let topic = find_own_topic(&shared, &topic_of(&parts.uri)?)?;
    let mut query = Query::of(&parts.uri);
    let stage = stage_of(&shared, &topic.name, query.take("stage")?.as_deref())?;
    let waiting = Waiting::of_call(&parts.headers)?;
    let mut asked = Asked::read(&shared, &parts, body, &topic, query).await?;
    mark(&shared, &mut asked, &topic.name, &stage)?;
    let Asked { portion, terms, budget, .. } = asked;
    let (committed, mut results) = commit(&shared, vec![portion], terms).await?;
    // What is waited for needs nothing of the body.
    drop(budget);
    let placed = results.pop().and_then(|results| results.into_iter().next()).unwrap_or_default();
    let (partition, offset) = (PartitionId(placed.partition), Offset(placed.base_offset));
    let answered = async {
        let id = shared.broker.request_id(&topic.name, &stage, partition, offset)?;
        ask(&shared, id, waiting.wait, &caller).await
    };
    let produced = |error: RequestError| {
        Failure::from(error)
            .with("topic", topic.name.as_str())
            .with("partition", partition.0)
            .with("offset", offset.0)
    };
    let view = answered.await.map_err(produced)?;
    let mut response = answer::of_call(&view, !shared.answers.is_full())?;
    note(response.headers_mut(), waiting, committed.repeated);
    Ok(response)
}

fn note(headers: &mut HeaderMap, waiting: Waiting, repeated: bool) {
    if repeated {
        let replayed = HeaderName::from_static(IDEMPOTENT_REPLAYED);
        headers.insert(replayed, HeaderValue::from_static("true"));
    }
    if let Some(Ok(applied)) = waiting.applied().map(HeaderValue::try_from) {
        headers.insert(HeaderName::from_static("preference-applied"), applied);
    }
}

/// What a request is at, at its end or when the time is over. Stops waiting when the server closes or the caller leaves.
pub(super) async fn ask(
    shared: &Shared,
    id: RequestId,
    wait: Duration,
    caller: &Caller,
) -> Result<RequestView, RequestError> {
    tokio::select! {
        biased;
        view = shared.broker.request(id, wait) => view,
        () = shared.waits_no_more(caller), if !wait.is_zero() => {
            shared.broker.request(id, Duration::ZERO).await
        }
    }
}

/// The stage that is to answer.
fn stage_of(shared: &Shared, topic: &TopicName, asked: Option<&str>) -> Result<GroupName, Failure> {
    let readers = stages_of(shared)?.readers_of(topic);
    let names: Vec<&str> = readers.iter().map(GroupName::as_str).collect();
    let list = names.join(", ");
    let Some(asked) = asked else {
        return match readers.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(no_reader(topic)),
            _ => {
                let detail = format!(
                    "several stages read topic {topic}: say with ?stage= which is to answer, one of {list}; nothing was produced"
                );
                Err(Failure::invalid(detail).with("parameter", "stage").with("stages", names))
            }
        };
    };
    let name = stage_name(asked)?;
    if readers.contains(&name) {
        return Ok(name);
    }
    if readers.is_empty() {
        return Err(no_reader(topic));
    }
    let detail = format!(
        "stage {name} does not read topic {topic}; those that do are {list}; nothing was produced"
    );
    Err(Failure::new(Code::StageNotFound, detail)
        .with("stage", name.as_str())
        .with("stages", names))
}

fn no_reader(topic: &TopicName) -> Failure {
    let detail = format!(
        "no stage reads topic {topic}, so nobody would answer; PUT /v1/stages/{{stage}} attaches a model to it; nothing was \
         produced"
    );
    Failure::new(Code::StageNotFound, detail).with("topic", topic.as_str())
}

/// Checks that this is one record that appears at once and that the stage reads, and notes in it that its answer is wanted.
fn mark(
    shared: &Shared,
    asked: &mut Asked,
    topic: &TopicName,
    stage: &GroupName,
) -> Result<(), Failure> {
    let Portion { records, deliver_at, .. } = &mut asked.portion;
    if deliver_at.is_some() {
        let detail = "records:call answers now: without Delay and Deliver-At; nothing was produced";
        return Err(Failure::invalid(detail));
    }
    let one = match records {
        Records::List(list) if asked.single => list.first_mut(),
        Records::List(_) | Records::Batch(_) => None,
    };
    let several = "records:call takes one record: a raw body, any JSON but {\"records\": ..}, or a CloudEvent; nothing was produced";
    let record = &mut one.ok_or_else(|| Failure::invalid(several))?.record;
    record.headers.retain(|header| header.name != CALL_HEADER);
    let value = Bytes::copy_from_slice(stage.as_str().as_bytes());
    record.headers.push(Header { name: CALL_HEADER.to_owned(), value });
    if !shared.broker.would_read(topic, stage, record)? {
        let detail = format!(
            "the filter of stage {stage} does not let this record pass; nothing was produced"
        );
        return Err(Failure::invalid(detail).with("stage", stage.as_str()));
    }
    Ok(())
}
