//! The handlers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use embermq_protocol::limits::REQUEST_BYTES_MAX;
use serde_json::json;

use super::answer::{self, HEAD_LENGTH};
use super::ask::{self, TENSOR_BYTES_MAX};
use super::describe;
use crate::http::body::{BodyLimit, Taken, take_body};
use crate::http::failure::Failure;
use crate::http::models::{models_of, name, part};
use crate::http::query::Query;
use crate::http::shared::Shared;
use crate::models::{ModelName, ModelRef, RawTensor, Selector, Serving, Version};

/// Where names stand in the paths: behind `v2` and `models`, and behind `versions`.
const MODEL_PART: usize = 2;
const VERSIONS_PART: usize = 3;
const VERSION_PART: usize = 4;

const LIMIT: BodyLimit = BodyLimit {
    bytes: REQUEST_BYTES_MAX as u64,
    what: "a request for inference",
    code: Code::BodyTooLarge,
};

/// `GET /v2`.
pub(super) async fn server(request: Request) -> Result<Response, Failure> {
    Query::of(request.uri()).end()?;
    let out = json!({
        "name": "embermq",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data"],
    });
    Ok(Json(out).into_response())
}

/// `GET /v2/health/live`.
pub(super) async fn live(request: Request) -> Result<Response, Failure> {
    Query::of(request.uri()).end()?;
    Ok(Json(json!({ "live": true })).into_response())
}

/// `GET /v2/health/ready`.
pub(super) async fn ready(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    Query::of(request.uri()).end()?;
    let status = shared.broker.status();
    let ready = status.poisoned.is_none()
        && status.read_only.is_none()
        && !status.shutting_down
        && !shared.closing.is_closing();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((code, Json(json!({ "ready": ready }))).into_response())
}

/// The model of a path: a version or alias where it names one, else as stages have it.
fn reference(path: &str) -> Result<ModelRef, Failure> {
    let model: ModelName = name(path, MODEL_PART)?;
    let selector = if part(path, VERSIONS_PART) == "versions" {
        let version: Version = name(path, VERSION_PART)?;
        Selector::Named(version.to_string())
    } else {
        Selector::Latest
    };
    Ok(ModelRef { name: model, selector })
}

async fn serving(shared: &Shared, path: &str) -> Result<(ModelRef, Arc<Serving>), Failure> {
    models_of(shared)?;
    let none = || Failure::new(Code::Unimplemented, "this server was started without models");
    let direct = shared.direct.as_ref().ok_or_else(none)?;
    let reference = reference(path)?;
    let serving = direct.open(&reference).await?;
    Ok((reference, serving))
}

/// `GET /v2/models/{model}[/versions/{version}]`.
pub(super) async fn model(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    Query::of(request.uri()).end()?;
    let (reference, serving) = serving(&shared, request.uri().path()).await?;
    let registry = models_of(&shared)?.registry();
    let state = registry.model(&reference.name);
    let out = describe::model_out(serving.identity(), state, serving.tensors()?);
    Ok(Json(out).into_response())
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`: it is loaded, if it was not.
pub(super) async fn model_ready(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    Query::of(request.uri()).end()?;
    let (_, serving) = serving(&shared, request.uri().path()).await?;
    serving.tensors()?;
    Ok(Json(json!({ "name": serving.identity().name, "ready": true })).into_response())
}

/// `POST /v2/models/{model}[/versions/{version}]/infer`.
pub(super) async fn infer(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    Query::of(&parts.uri).end()?;
    let head_bytes = head_bytes(&parts.headers)?;
    let (_, serving) = serving(&shared, parts.uri.path()).await?;
    let Taken { bytes, budget } = take_body(&shared, &parts.headers, body, LIMIT).await?;
    let identity = serving.identity().clone();
    let broker = shared.broker.clone();
    // Reading and writing tensors takes its time too.
    let written = serving.run(move |model| {
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let asked = ask::read(&bytes, head_bytes, &inputs, &outputs)?;
        drop(bytes);
        let wanted: Vec<bool> = asked.outputs.iter().map(Option::is_some).collect();
        let made = model.run(asked.inputs, &wanted, TENSOR_BYTES_MAX)?;
        // What is written of them takes about as much again.
        let bytes: usize = made.iter().flatten().map(RawTensor::bytes).sum();
        let room = broker.admit(bytes as u64)?;
        let made: Vec<_> = asked.outputs.into_iter().zip(made).collect();
        let written = answer::write(&identity, asked.id.as_deref(), &outputs, &made)?;
        // What was read may be slices of the body; its room is given back when it is gone.
        drop(budget);
        Ok::<_, Failure>((written, room))
    });
    let (written, room) = written.await??;
    drop(room);
    shared.answers.room()?;
    Ok(written.into_response())
}

fn head_bytes(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let Some(value) = headers.get(HEAD_LENGTH) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong = || Failure::invalid("header Inference-Header-Content-Length is no whole number");
    number.map(Some).ok_or_else(wrong)
}
