//! Webhooks as people see them.

use serde_json::{Value, json};

use crate::http::attached::{Kind, add_failure};
use crate::http::span::render_time;
use crate::webhook::{WebhookState, WebhookStatus, WebhookTest, WebhookView};

/// What they are called.
pub(super) const KIND: Kind = Kind { name: "webhook", verbs: ":pause, :resume, :rotate and :test" };

/// A webhook; never its secret.
pub(super) fn webhook_out(view: &WebhookView) -> Value {
    let status = view.status.as_ref().map(status_out);
    let mut out = KIND.show(&view.name, &view.config, status, view.trouble.as_deref());
    out["group"] = view.group.to_string().into();
    if let Some(until) = view.previous_secret_until {
        out["previous_secret_until"] = render_time(until).into();
    }
    out
}

fn status_out(status: &WebhookStatus) -> Value {
    let (state, reason) = match &status.state {
        WebhookState::Running => ("running", None),
        WebhookState::Paused => ("paused", None),
        WebhookState::Disabled { reason } => ("disabled", Some(reason)),
        WebhookState::Waiting { reason } => ("waiting", Some(reason)),
        WebhookState::Stopped => ("stopped", None),
    };
    let mut out = json!({
        "state": state,
        "delivered": status.delivered,
        "failed": status.failed,
        "dead": status.dead,
    });
    if let Some(reason) = reason {
        out["reason"] = reason.clone().into();
    }
    if let Some(time) = status.last_delivery {
        out["last_delivery"] = render_time(time).into();
    }
    add_failure(&mut out, status.last_failure.as_ref());
    out
}

/// What came of a test.
pub(super) fn test_out(test: &WebhookTest) -> Value {
    json!({
        "delivered": test.error.is_none(),
        "outcome": test.outcome.as_str(),
        "status": test.status,
        "body": test.body,
        "error": test.error,
        "webhook_id": test.id,
        "millis": u64::try_from(test.took.as_millis()).unwrap_or(u64::MAX),
    })
}
