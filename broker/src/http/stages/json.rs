//! Stages as people see them.

use serde_json::{Value, json};

use crate::http::attached::{Kind, add_failure};
use crate::stage::{StageState, StageStatus, StageView, Takeover};

/// What they are called.
pub(super) const KIND: Kind = Kind { name: "stage", verbs: ":pause and :resume" };

pub(super) fn stage_out(view: &StageView) -> Value {
    let mut status = view.status.as_ref().map(status_out);
    if let (Some(status), Some(why)) = (&mut status, &view.cannot_follow) {
        status["cannot_follow"] = why.as_str().into();
    }
    if let (Some(status), Some(overrides)) = (&mut status, view.config.overrides().digest()) {
        status["overrides"] = overrides.into();
    }
    KIND.show(&view.name, &view.config, status, view.trouble.as_deref())
}

fn status_out(status: &StageStatus) -> Value {
    let takeover = |takeover: &Takeover| {
        let mut out = json!({
            "partition": takeover.partition.0,
            "offset": takeover.offset.0,
            "model": takeover.model(),
            "digest": takeover.identity.digest,
            "before": takeover.before,
        });
        if let Some(overrides) = &takeover.identity.overrides {
            out["overrides"] = overrides.as_str().into();
        }
        out
    };
    let takeovers: Vec<Value> = status.takeovers.iter().map(takeover).collect();
    let mut out = json!({
        "state": status.state.name(),
        "at_rest": status.at_rest,
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
    if let StageState::Waiting { reason } = &status.state {
        out["reason"] = reason.clone().into();
    }
    add_failure(&mut out, status.last_failure.as_ref());
    out
}
