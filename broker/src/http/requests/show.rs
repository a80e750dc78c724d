//! `GET /v1/requests/{request}`: what became of a call.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::answer;
use super::call::ask;
use super::prefer::Waiting;
use crate::http::caller::Caller;
use crate::http::failure::Failure;
use crate::http::media::{JSON, negotiate};
use crate::http::models::part;
use crate::http::query::Query;
use crate::http::shared::Shared;
use crate::requests::RequestId;

/// Where the id stands in the path: behind `v1` and `requests`.
const REQUEST_PART: usize = 2;

/// `GET /v1/requests/{request}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    negotiate(request.headers(), &[JSON])?;
    let id: RequestId = part(request.uri().path(), REQUEST_PART).parse()?;
    Query::of(request.uri()).end()?;
    let waiting = Waiting::of_question(request.headers())?;
    let view = ask(&shared, id, waiting.wait, &Caller::in_request(request.extensions())).await?;
    answer::of_question(&view)
}
