//! `/v1/topics/{topic}/groups`, `/v1/topics/{topic}/groups/{group}` and `/v1/groups`: what a group is and how it is doing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::v1;

use super::asked::{Asked, last_part, place_of};
use super::calls;
use super::json::{GroupOut, GroupsOut, creation, update};
use crate::http::failure::Failure;
use crate::http::media::{JSON, PROTOBUF, negotiate};
use crate::http::protobuf::protobuf;
use crate::http::query::Query;
use crate::http::routes::no_verb;
use crate::http::shared::Shared;
use crate::http::topics::topic_of;

/// `GET /v1/topics/{topic}/groups`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let topic = topic_of(request.uri())?.as_str().to_owned();
    let accepted = list_form(&request)?;
    list_of(&shared, topic, accepted).await
}

/// `GET /v1/groups`.
pub(super) async fn list_all(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = list_form(&request)?;
    list_of(&shared, String::new(), accepted).await
}

fn list_form(request: &Request) -> Result<&'static str, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, PROTOBUF])?;
    Query::of(request.uri()).end()?;
    Ok(accepted)
}

async fn list_of(shared: &Shared, topic: String, accepted: &str) -> Result<Response, Failure> {
    let list = calls::list_groups(shared, &v1::ListGroupsRequest { topic }).await?;
    if accepted == PROTOBUF {
        return Ok(protobuf(&list));
    }
    let groups = list.groups.into_iter().map(GroupOut::from).collect();
    Ok(Json(GroupsOut { groups }).into_response())
}

/// `PUT /v1/topics/{topic}/groups/{group}`.
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    no_verb(&parts.method, parts.uri.path())?;
    Query::of(&parts.uri).end()?;
    let asked = Asked::open(&shared, &parts, body, &last_part(&parts.uri)).await?;
    let answer = calls::create_group(&shared, asked.message(creation)?).await?;
    let status = if answer.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, show_group(asked.accepted, answer.group)).into_response())
}

/// `GET /v1/topics/{topic}/groups/{group}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, PROTOBUF])?;
    no_verb(request.method(), request.uri().path())?;
    let (topic, group) = names(request.uri())?;
    Query::of(request.uri()).end()?;
    let answer = calls::get_group(&shared, &v1::GetGroupRequest { topic, group }).await?;
    Ok(show_group(accepted, answer.group))
}

/// `PATCH /v1/topics/{topic}/groups/{group}`.
pub(super) async fn edit(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    no_verb(&parts.method, parts.uri.path())?;
    Query::of(&parts.uri).end()?;
    let asked = Asked::open(&shared, &parts, body, &last_part(&parts.uri)).await?;
    let answer = calls::update_group(&shared, asked.message(update)?).await?;
    Ok(show_group(asked.accepted, answer.group))
}

/// `DELETE /v1/topics/{topic}/groups/{group}`.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    no_verb(request.method(), request.uri().path())?;
    let (topic, group) = names(request.uri())?;
    Query::of(request.uri()).end()?;
    calls::delete_group(&shared, &v1::DeleteGroupRequest { topic, group }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn names(uri: &Uri) -> Result<(String, String), Failure> {
    let (topic, group) = place_of(uri)?;
    Ok((topic.as_str().to_owned(), group.as_str().to_owned()))
}

fn show_group(accepted: &str, group: Option<v1::Group>) -> Response {
    let group = group.unwrap_or_default();
    if accepted == PROTOBUF {
        return protobuf(&group);
    }
    Json(GroupOut::from(group)).into_response()
}
