//! The handlers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use serde::Deserialize;
use serde_json::json;

use super::calls::{models_of, name};
use super::json::{model_out, version_out};
use super::upload::receive;
use crate::http::attached::to_its_end;
use crate::http::body::take_body;
use crate::http::failure::Failure;
use crate::http::json::from_object;
use crate::http::query::Query;
use crate::http::shared::Shared;
use crate::http::stages::stages_of;
use crate::http::topics::LIMIT;
use crate::models::{Alias, Digest, ModelError, ModelName, ModelRef, Registry, Selector, Version};

/// Where names stand in the paths: behind `v1` and `models`, and behind `versions` or `aliases`.
const MODEL_PART: usize = 2;
const SECOND_PART: usize = 4;

/// The registry now, or as of an offset of its topic or a time.
async fn registry(shared: &Shared, query: &mut Query) -> Result<Arc<Registry>, Failure> {
    let models = models_of(shared)?;
    match query.as_of()? {
        None => Ok(models.registry()),
        Some(as_of) => Ok(Arc::new(models.registry_as_of(as_of).await?)),
    }
}

fn not_found(model: &ModelName) -> Failure {
    let reference = ModelRef { name: model.clone(), selector: Selector::Latest };
    ModelError::NotFound { reference }.into()
}

/// `GET /v1/models`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let mut query = Query::of(request.uri());
    let registry = registry(&shared, &mut query).await?;
    query.end()?;
    let models: Vec<_> = registry.models().map(|(name, state)| model_out(name, state)).collect();
    Ok(Json(json!({ "models": models })).into_response())
}

/// `GET /v1/models/{model}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let model: ModelName = name(request.uri().path(), MODEL_PART)?;
    let mut query = Query::of(request.uri());
    let registry = registry(&shared, &mut query).await?;
    query.end()?;
    let state = registry.model(&model).ok_or_else(|| not_found(&model))?;
    Ok(Json(model_out(&model, state)).into_response())
}

/// `GET /v1/models/{model}/versions/{version}`.
pub(super) async fn show_version(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let model: ModelName = name(request.uri().path(), MODEL_PART)?;
    let version: Version = name(request.uri().path(), SECOND_PART)?;
    let mut query = Query::of(request.uri());
    let registry = registry(&shared, &mut query).await?;
    query.end()?;
    let known = registry.version(&model, &version)?;
    Ok(Json(version_out(&model, &version, known)).into_response())
}

/// `PUT /v1/models/{model}/versions/{version}`.
pub(super) async fn register(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let models = models_of(&shared)?;
    let (parts, body) = request.into_parts();
    let model: ModelName = name(parts.uri.path(), MODEL_PART)?;
    let version: Version = name(parts.uri.path(), SECOND_PART)?;
    let mut query = Query::of(&parts.uri);
    let announced = query.take("sha256")?;
    query.end()?;
    let announced = announced.map(|text| text.parse::<Digest>()).transpose()?;
    let storage = |error: std::io::Error| {
        Failure::new(Code::Internal, format!("no place for the upload: {error}"))
    };
    let sent = models.upload().map_err(storage)?;
    let free_bytes = || shared.broker.status().free_bytes;
    receive(body, sent.path(), shared.options.body_idle_timeout, free_bytes).await?;
    let (models, stages) = (Arc::clone(models), Arc::clone(stages_of(&shared)?));
    let work = async move {
        let registered = models.register(&model, &version, sent.path(), announced).await?;
        let registry = models.registry();
        let known = registry.version(&model, &version)?;
        let status = if registered.created { StatusCode::CREATED } else { StatusCode::OK };
        if registered.created {
            // Stages that want the latest version get it now.
            stages.follow(&model).await;
        }
        Ok::<_, ModelError>((status, Json(version_out(&model, &version, known))).into_response())
    };
    to_its_end(work).await
}

/// `DELETE /v1/models/{model}/versions/{version}`.
pub(super) async fn delete_version(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let stages = Arc::clone(stages_of(&shared)?);
    let model: ModelName = name(request.uri().path(), MODEL_PART)?;
    let version: Version = name(request.uri().path(), SECOND_PART)?;
    Query::of(request.uri()).end()?;
    to_its_end(async move { stages.delete_version(&model, &version).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a version")]
struct AliasIn {
    version: String,
}

/// `PUT /v1/models/{model}/aliases/{alias}`.
pub(super) async fn set_alias(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let models = models_of(&shared)?;
    let (parts, body) = request.into_parts();
    let model: ModelName = name(parts.uri.path(), MODEL_PART)?;
    let alias: Alias = name(parts.uri.path(), SECOND_PART)?;
    Query::of(&parts.uri).end()?;
    let taken = take_body(&shared, &parts.headers, body, LIMIT).await?;
    let wanted: AliasIn = from_object(&taken.bytes).map_err(|error| {
        Failure::malformed(format!("the body is no {{\"version\": ..}}: {error}"))
    })?;
    let version: Version = wanted.version.parse()?;
    let out = json!({
        "model": model.to_string(), "alias": alias.to_string(), "version": version.to_string(),
    });
    let (models, stages) = (Arc::clone(models), Arc::clone(stages_of(&shared)?));
    let work = async move {
        models.set_alias(&model, &alias, &version).await?;
        stages.follow(&model).await;
        Ok::<_, ModelError>(())
    };
    to_its_end(work).await?;
    Ok(Json(out).into_response())
}

/// `DELETE /v1/models/{model}/aliases/{alias}`.
pub(super) async fn remove_alias(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let stages = Arc::clone(stages_of(&shared)?);
    let model: ModelName = name(request.uri().path(), MODEL_PART)?;
    let alias: Alias = name(request.uri().path(), SECOND_PART)?;
    Query::of(request.uri()).end()?;
    to_its_end(async move { stages.remove_alias(&model, &alias).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
