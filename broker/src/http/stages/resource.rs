//! The handlers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use embermq_protocol::names::GroupName;
use serde_json::{Value, json};

use super::json::{KIND, stage_out};
use crate::consume::GroupTaken;
use crate::http::attached::{add_group, to_its_end};
use crate::http::failure::Failure;
use crate::http::query::Query;
use crate::http::shared::Shared;
use crate::stage::{Roster, StageConfig, StageError, StageView};

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        let text = error.to_string();
        match error {
            StageError::NotFound { stage } => {
                Self::new(Code::StageNotFound, text).with("stage", stage.as_str())
            }
            StageError::Invalid { .. } => Self::invalid(text),
            StageError::Cycle { path, .. } => Self::invalid(text).with("path", path),
            StageError::GroupTaken(taken) => group_taken(&taken),
            StageError::Model(error) => Self::from(error),
            StageError::Commit(error) => Self::from(error),
        }
    }
}

/// A stage or a webhook would take a group from somebody else.
pub(in crate::http) fn group_taken(taken: &GroupTaken) -> Failure {
    Failure::new(Code::GroupExists, taken.to_string())
        .with("topic", taken.topic.as_str())
        .with("group", taken.group.as_str())
}

pub(in crate::http) fn stages_of(shared: &Shared) -> Result<&Arc<Roster>, Failure> {
    let none = || Failure::new(Code::Unimplemented, "this server was started without stages");
    shared.serving.as_ref().map(|serving| &serving.stages).ok_or_else(none)
}

pub(in crate::http) fn stage_name(text: &str) -> Result<GroupName, Failure> {
    KIND.parse(text)
}

/// A stage with its lag.
async fn shown(shared: &Shared, view: &StageView) -> Value {
    let mut out = stage_out(view);
    if let Ok(input) = view.config.input.parse()
        && let Ok(group) = shared.broker.group(&input, &view.name).await
    {
        add_group(&mut out, &group);
    }
    out
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
    let name = KIND.name_in(request.uri().path())?;
    Query::of(request.uri()).end()?;
    let view = stages_of(&shared)?.get(&name)?;
    Ok(Json(shown(&shared, &view).await).into_response())
}

/// `PUT /v1/stages/{stage}`.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let stages = stages_of(&shared)?;
    let (parts, body) = request.into_parts();
    let name = KIND.name_in(parts.uri.path())?;
    Query::of(&parts.uri).end()?;
    let config: StageConfig = KIND.document(&shared, &parts, body).await?;
    let roster = Arc::clone(stages);
    let put = to_its_end(async move { roster.put(&name, config).await }).await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shown(&shared, &put.view).await)).into_response())
}

/// `DELETE /v1/stages/{stage}`.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let name = KIND.name_in(request.uri().path())?;
    Query::of(request.uri()).end()?;
    let roster = Arc::clone(stages_of(&shared)?);
    to_its_end(async move { roster.remove(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/stages/{stage}:VERB`.
pub(super) async fn verb(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let stages = stages_of(&shared)?;
    let (name, verb) = KIND.verb_in(request.uri().path())?;
    Query::of(request.uri()).end()?;
    let paused = match &*verb {
        "pause" => true,
        "resume" => false,
        other => return Err(KIND.no_verb(other)),
    };
    let roster = Arc::clone(stages);
    let view = to_its_end(async move { roster.set_paused(&name, paused).await }).await?;
    Ok(Json(shown(&shared, &view).await).into_response())
}
