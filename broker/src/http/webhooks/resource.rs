//! The handlers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::{KIND, test_out, webhook_out};
use crate::http::attached::{add_group, to_its_end};
use crate::http::body::take_body;
use crate::http::failure::Failure;
use crate::http::json::from_object;
use crate::http::query::Query;
use crate::http::shared::Shared;
use crate::http::stages::group_taken;
use crate::http::topics::LIMIT;
use crate::webhook::{Secret, WebhookConfig, WebhookError, WebhookPut, WebhookView, Webhooks};

/// The body of `:rotate`; it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object, perhaps with a secret")]
struct Rotation {
    secret: Option<Secret>,
}

impl From<WebhookError> for Failure {
    fn from(error: WebhookError) -> Self {
        let text = error.to_string();
        match error {
            WebhookError::NotFound { webhook } => {
                Self::new(Code::WebhookNotFound, text).with("webhook", webhook.as_str())
            }
            WebhookError::Invalid { .. } => Self::invalid(text),
            WebhookError::Forbidden { .. } => Self::new(Code::AddressForbidden, text),
            WebhookError::Locked { .. } => Self::new(Code::SecretLocked, text),
            WebhookError::Secret { .. } => Self::new(Code::Internal, text),
            WebhookError::GroupTaken(taken) => group_taken(&taken),
            WebhookError::Commit(error) => Self::from(error),
        }
    }
}

fn webhooks_of(shared: &Shared) -> Result<&Arc<Webhooks>, Failure> {
    let none = || Failure::new(Code::Unimplemented, "this server was started without webhooks");
    shared.webhooks.as_ref().ok_or_else(none)
}

/// A webhook with its lag.
async fn shown(shared: &Shared, view: &WebhookView) -> Value {
    let mut out = webhook_out(view);
    if let Ok(topic) = view.config.topic.parse()
        && let Ok(group) = shared.broker.group(&topic, &view.group).await
    {
        add_group(&mut out, &group);
        out["status"]["waiting_for_retry"] = group.waiting.into();
    }
    out
}

/// The same, with the secret that was made for it.
async fn put_out(shared: &Shared, put: &WebhookPut) -> Value {
    let mut out = shown(shared, &put.view).await;
    if let Some(secret) = &put.secret {
        out["secret"] = secret.reveal().into();
    }
    out
}

/// `GET /v1/webhooks`.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    Query::of(request.uri()).end()?;
    let webhooks: Vec<Value> = webhooks_of(&shared)?.list().iter().map(webhook_out).collect();
    Ok(Json(json!({ "webhooks": webhooks })).into_response())
}

/// `GET /v1/webhooks/{webhook}`.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let name = KIND.name_in(request.uri().path())?;
    Query::of(request.uri()).end()?;
    let view = webhooks_of(&shared)?.get(&name)?;
    Ok(Json(shown(&shared, &view).await).into_response())
}

/// `PUT /v1/webhooks/{webhook}`.
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let webhooks = webhooks_of(&shared)?;
    let (parts, body) = request.into_parts();
    let name = KIND.name_in(parts.uri.path())?;
    Query::of(&parts.uri).end()?;
    let config: WebhookConfig = KIND.document(&shared, &parts, body).await?;
    let roster = Arc::clone(webhooks);
    let put = to_its_end(async move { roster.put(&name, config).await }).await?;
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(put_out(&shared, &put).await)).into_response())
}

/// `DELETE /v1/webhooks/{webhook}`.
pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let name = KIND.name_in(request.uri().path())?;
    Query::of(request.uri()).end()?;
    let roster = Arc::clone(webhooks_of(&shared)?);
    to_its_end(async move { roster.remove(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/webhooks/{webhook}:VERB`.
pub(super) async fn verb(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let webhooks = webhooks_of(&shared)?;
    let (parts, body) = request.into_parts();
    let (name, verb) = KIND.verb_in(parts.uri.path())?;
    Query::of(&parts.uri).end()?;
    let roster = Arc::clone(webhooks);
    let out = match &*verb {
        "pause" | "resume" => {
            let paused = verb == "pause";
            let view = to_its_end(async move { roster.set_paused(&name, paused).await }).await?;
            shown(&shared, &view).await
        }
        "test" => test_out(&webhooks.test(&name).await?),
        "rotate" => {
            let taken = take_body(&shared, &parts.headers, body, LIMIT).await?;
            let rotation: Rotation = match &taken.bytes[..] {
                [] => Rotation::default(),
                bytes => from_object(bytes).map_err(|error| {
                    Failure::malformed(format!("the body is no rotation: {error}"))
                })?,
            };
            let rotated = async move { roster.rotate(&name, rotation.secret).await };
            put_out(&shared, &to_its_end(rotated).await?).await
        }
        other => return Err(KIND.no_verb(other)),
    };
    Ok(Json(out).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_cannot_be_read_is_no_defect_of_the_broker() {
        let failure = Failure::from(WebhookError::Locked { what: "put it back".to_owned() });
        assert_eq!(failure.problem().code, "secret_locked");
    }
}
