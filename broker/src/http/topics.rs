//! `/v1/topics` and `/v1/topics/{topic}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use embermq_protocol::limits::OTHER_REQUEST_BYTES_MAX;
use embermq_protocol::names::TopicName;
use embermq_protocol::{paths, v1};
use prost::Message;

use super::body::{BodyLimit, take_body};
use super::catalog;
use super::failure::Failure;
use super::json::{TopicOut, TopicsOut, parse_settings};
use super::media::{JSON, PROTOBUF, body_kind, negotiate};
use super::protobuf::protobuf;
use super::query::{Query, percent_decode};
use super::shared::Shared;

/// The bound on a body that carries no records.
pub(super) const LIMIT: BodyLimit = BodyLimit {
    bytes: OTHER_REQUEST_BYTES_MAX as u64,
    what: "a request that carries no records",
    code: Code::BodyTooLarge,
};

/// The topic of a path.
pub(super) fn topic_of(uri: &Uri) -> Result<TopicName, Failure> {
    let rest = uri.path().strip_prefix(paths::TOPICS).unwrap_or_default();
    let name = rest.strip_prefix('/').unwrap_or_default().split('/').next().unwrap_or_default();
    if !name.contains('%') {
        return catalog::topic_name(name);
    }
    catalog::topic_name(&String::from_utf8_lossy(&percent_decode(name)))
}

/// `GET /v1/topics`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, PROTOBUF])?;
    let mut query = Query::of(request.uri());
    let wanted = v1::ListTopicsRequest {
        prefix: query.take("prefix")?.unwrap_or_default(),
        page_size: query.number("page_size")?.unwrap_or_default(),
        page_token: query.take("page_token")?.unwrap_or_default(),
    };
    query.end()?;
    let page = catalog::list_topics(&shared, &wanted);
    if accepted == PROTOBUF {
        return Ok(protobuf(&page));
    }
    let topics = page.topics.into_iter().map(TopicOut::from).collect();
    Ok(Json(TopicsOut { topics, next_page_token: page.next_page_token }).into_response())
}

/// `PUT /v1/topics/{topic}`.
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (topic, accepted, settings) = change(&shared, request).await?;
    let topic = topic.as_str().to_owned();
    let request = v1::CreateTopicRequest { topic, settings: Some(settings) };
    let answer = catalog::create_topic(&shared, request).await?;
    let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, show_topic(accepted, answer.topic)).into_response())
}

/// `GET /v1/topics/{topic}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, PROTOBUF])?;
    let topic = topic_of(request.uri())?.as_str().to_owned();
    Query::of(request.uri()).end()?;
    let answer = catalog::get_topic(&shared, &v1::GetTopicRequest { topic })?;
    Ok(show_topic(accepted, answer.topic))
}

/// `PATCH /v1/topics/{topic}`.
pub(super) async fn edit(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (topic, accepted, settings) = change(&shared, request).await?;
    let topic = topic.as_str().to_owned();
    let request = v1::UpdateTopicRequest { topic, settings: Some(settings) };
    let answer = catalog::update_topic(&shared, request).await?;
    Ok(show_topic(accepted, answer.topic))
}

/// `DELETE /v1/topics/{topic}`.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let topic = topic_of(request.uri())?.as_str().to_owned();
    Query::of(request.uri()).end()?;
    catalog::delete_topic(&shared, v1::DeleteTopicRequest { topic }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What PUT and PATCH have in common: a topic, what the client accepts, and settings.
async fn change(
    shared: &Shared,
    request: Request,
) -> Result<(TopicName, &'static str, v1::TopicSettings), Failure> {
    let (parts, body) = request.into_parts();
    let accepted = negotiate(&parts.headers, &[JSON, PROTOBUF])?;
    let topic = topic_of(&parts.uri)?;
    Query::of(&parts.uri).end()?;
    let kind = body_kind(&parts.headers)?;
    let taken = take_body(shared, &parts.headers, body, LIMIT).await?;
    let settings = if kind == PROTOBUF {
        v1::TopicSettings::decode(taken.bytes).map_err(|error| {
            Failure::malformed(format!("the body is no embermq.v1.TopicSettings: {error}"))
        })?
    } else {
        parse_settings(&taken.bytes).map_err(|reason| {
            Failure::malformed(format!("the body is no topic settings: {reason}"))
        })?
    };
    Ok((topic, accepted, settings))
}

fn show_topic(accepted: &str, topic: Option<v1::Topic>) -> Response {
    let topic = topic.unwrap_or_default();
    if accepted == PROTOBUF {
        return protobuf(&topic);
    }
    Json(TopicOut::from(topic)).into_response()
}
