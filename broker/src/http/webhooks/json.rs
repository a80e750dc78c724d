//! Webhooks as people see them.

use serde_json::{Value, json};

use crate::http::span::render_time;
use crate::webhook::{WebhookState, WebhookStatus, WebhookTest, WebhookView};

/// A webhook; never its secret.
pub(super) fn webhook_out(view: &WebhookView) -> Value {
    // A configuration is plain data: this cannot fail.
    let mut out = serde_json::to_value(&view.config).unwrap_or_default();
    out["webhook"] = view.name.to_string().into();
    out["group"] = view.group.to_string().into();
    if let Some(until) = view.previous_secret_until {
        out["previous_secret_until"] = render_time(until).into();
    }
    out["status"] = match (&view.status, &view.trouble) {
        (Some(status), _) => status_out(status),
        (None, Some(trouble)) => json!({ "state": "failed", "reason": trouble }),
        (None, None) => json!({ "state": "starting" }),
    };
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
    if let Some(failure) = &status.last_failure {
        out["last_failure"] = json!({
            "time": render_time(failure.time),
            "partition": failure.partition.0,
            "offset": failure.offset.0,
            "attempt": failure.attempt,
            "error": failure.error,
        });
    }
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
