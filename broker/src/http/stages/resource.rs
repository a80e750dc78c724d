//! The handlers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use embermq_protocol::names::GroupName;
use serde_json::{Value, json};

use super::json::stage_out;
use crate::http::body::take_body;
use crate::http::failure::Failure;
use crate::http::models::part;
use crate::http::query::Query;
use crate::http::shared::Shared;
use crate::http::topics::LIMIT;
use crate::stage::{Roster, StageConfig, StageError};

/// Where the name stands in the path: behind `v1` and `stages`.
const STAGE_PART: usize = 2;

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        let text = error.to_string();
        match error {
            StageError::NotFound { stage } => {
                Self::new(Code::StageNotFound, text).with("stage", stage.as_str())
            }
            StageError::Invalid { .. } => Self::invalid(text),
            StageError::Cycle { path, .. } => Self::invalid(text).with("path", path),
            StageError::Model(error) => Self::from(error),
            StageError::Commit(error) => Self::from(error),
        }
    }
}

pub(in crate::http) fn stages_of(shared: &Shared) -> Result<&Arc<Roster>, Failure> {
    let none = || Failure::new(Code::Unimplemented, "this server was started without stages");
    shared.serving.as_ref().map(|serving| &serving.stages).ok_or_else(none)
}

/// Does something as a whole, even if whoever asked for it goes away: what was stopped to be changed is started again.
pub(in crate::http) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Failure> {
    let failed = |error| Failure::new(Code::Internal, format!("the change was not made: {error}"));
    tokio::spawn(work).await.map_err(failed)
}

pub(in crate::http) fn stage_name(text: &str) -> Result<GroupName, Failure> {
    GroupName::new(text)
        .map_err(|error| Failure::new(Code::InvalidGroupName, format!("stage {text:?}: {error}")))
}

/// A stage as it is now, with its lag.
async fn shown(shared: &Shared, name: &GroupName) -> Result<Value, Failure> {
    let view = stages_of(shared)?.get(name)?;
    let mut out = stage_out(&view);
    if let Ok(input) = view.config.input.parse()
        && let Ok(group) = shared.broker.group(&input, name).await
    {
        let seconds = group.lag.unwrap_or_default().as_secs_f64();
        out["status"]["lag"] = json!({ "records": group.lag_records, "seconds": seconds });
        out["status"]["dead_letters_open"] = group.dead.into();
    }
    Ok(out)
}

/// `GET /v1/stages`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    Query::of(request.uri()).end()?;
    let stages: Vec<_> = stages_of(&shared)?.list().iter().map(stage_out).collect();
    Ok(Json(json!({ "stages": stages })).into_response())
}

/// `GET /v1/stages/{stage}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let name = stage_name(&part(request.uri().path(), STAGE_PART))?;
    Query::of(request.uri()).end()?;
    Ok(Json(shown(&shared, &name).await?).into_response())
}

/// `PUT /v1/stages/{stage}`.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let stages = stages_of(&shared)?;
    let (parts, body) = request.into_parts();
    let name = stage_name(&part(parts.uri.path(), STAGE_PART))?;
    Query::of(&parts.uri).end()?;
    let taken = take_body(&shared, &parts.headers, body, LIMIT).await?;
    let config: StageConfig = serde_json::from_slice(&taken.bytes)
        .map_err(|error| Failure::malformed(format!("the body is no stage: {error}")))?;
    let (roster, stage) = (Arc::clone(stages), name.clone());
    let created = to_its_end(async move { roster.put(&stage, config).await }).await??;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shown(&shared, &name).await?)).into_response())
}

/// `DELETE /v1/stages/{stage}`.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let name = stage_name(&part(request.uri().path(), STAGE_PART))?;
    Query::of(request.uri()).end()?;
    let roster = Arc::clone(stages_of(&shared)?);
    to_its_end(async move { roster.remove(&name).await }).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/stages/{stage}:VERB`.
pub(super) async fn verb(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let stages = stages_of(&shared)?;
    let last = part(request.uri().path(), STAGE_PART);
    let (name, verb) = last.rsplit_once(':').unwrap_or((&last, ""));
    let name = stage_name(name)?;
    Query::of(request.uri()).end()?;
    let paused = match verb {
        "pause" => true,
        "resume" => false,
        other => {
            let detail = format!("a stage has no verb {other:?}; it has :pause and :resume");
            return Err(Failure::new(Code::RouteNotFound, detail));
        }
    };
    let (roster, stage) = (Arc::clone(stages), name.clone());
    to_its_end(async move { roster.set_paused(&stage, paused).await }).await??;
    Ok(Json(shown(&shared, &name).await?).into_response())
}
