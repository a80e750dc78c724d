//! Stages as people see them.

use serde_json::{Value, json};

use crate::http::span::render_time;
use crate::stage::{StageState, StageStatus, StageView, Takeover};

pub(super) fn stage_out(view: &StageView) -> Value {
    // A configuration is plain data: this cannot fail.
    let mut out = serde_json::to_value(&view.config).unwrap_or_default();
    out["stage"] = view.name.to_string().into();
    out["status"] = match (&view.status, &view.trouble) {
        (Some(status), _) => status_out(status),
        (None, Some(trouble)) => json!({ "state": "failed", "reason": trouble }),
        (None, None) => json!({ "state": "starting" }),
    };
    out
}

fn status_out(status: &StageStatus) -> Value {
    let (state, reason) = match &status.state {
        StageState::Running => ("running", None),
        StageState::Paused => ("paused", None),
        StageState::Waiting { reason } => ("waiting", Some(reason)),
        StageState::Stopped => ("stopped", None),
    };
    let takeover = |takeover: &Takeover| {
        json!({
            "partition": takeover.partition.0,
            "offset": takeover.offset.0,
            "model": takeover.model(),
            "digest": takeover.identity.digest,
            "before": takeover.before,
        })
    };
    let takeovers: Vec<Value> = status.takeovers.iter().map(takeover).collect();
    let mut out = json!({
        "state": state,
        "model": status.model,
        "batches": status.batches,
        "succeeded": status.succeeded,
        "failed": status.failed,
        "rejected": status.rejected,
        "dead": status.dead,
        "abandoned": status.abandoned,
        "threads_lost": status.threads_lost,
        "takeovers": takeovers,
    });
    if let Some(reason) = reason {
        out["reason"] = reason.clone().into();
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
