//! `GET /v1/topics/{topic}/groups/{group}/dead`: the dead letters of a group that are open.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::limits::DEAD_LETTERS_PAGE_MAX;
use embermq_protocol::v1;

use super::asked::place_of;
use super::calls;
use super::json::letter_page;
use super::verbs::style;
use crate::http::failure::Failure;
use crate::http::media::{JSON, PROTOBUF, negotiate};
use crate::http::protobuf::protobuf;
use crate::http::query::Query;
use crate::http::shared::Shared;

/// `GET /v1/topics/{topic}/groups/{group}/dead`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = negotiate(request.headers(), &[JSON, PROTOBUF])?;
    let (topic, group) = place_of(request.uri())?;
    let mut query = Query::of(request.uri());
    let style = style(&mut query)?;
    let limit = query.limit(DEAD_LETTERS_PAGE_MAX)?;
    let wanted = v1::ListDeadLettersRequest {
        topic: topic.as_str().to_owned(),
        group: group.as_str().to_owned(),
        contains: query.take("contains")?.unwrap_or_default(),
        after_offset: query.number("after")?,
        max_records: limit,
    };
    query.end()?;
    let page = calls::list_dead_letters(&shared, wanted).await?;
    if accepted == PROTOBUF {
        return Ok(protobuf(&page));
    }
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(([kind], letter_page(&page, style)?).into_response())
}
