//! Health: `/livez` says that the process answers, `/readyz` whether the broker can take what clients send.
//!
//! A full disk is no reason to be taken out of service (reading goes on, and only this server can free the space), so
//! it is shown but does not fail the check; a failed device, a damaged log and a shutdown do.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::failure::Failure;
use super::query::Query;
use super::shared::Shared;

/// One check: its name, whether it passes, what there is to say.
struct Check {
    name: &'static str,
    passes: bool,
    note: String,
}

fn check(name: &'static str, passes: bool, note: impl Into<String>) -> Check {
    Check { name, passes, note: note.into() }
}

/// `GET /livez`.
pub(super) async fn live(request: Request) -> Result<Response, Failure> {
    answer(&request, &[check("process", true, "")])
}

/// `GET /readyz`.
pub(super) async fn ready(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Failure> {
    let status = shared.broker.status();
    let closing = status.shutting_down || shared.closing.is_closing();
    let space = if status.storage_full { "full: producing is refused, " } else { "" };
    let recovery = &status.recovery;
    let checks = [
        check(
            "recovered",
            true,
            format!("{} bytes replayed in {:?}", recovery.replayed_bytes, recovery.elapsed),
        ),
        check("storage", status.poisoned.is_none(), status.poisoned.clone().unwrap_or_default()),
        check("writable", status.read_only.is_none(), status.read_only.clone().unwrap_or_default()),
        check("space", true, format!("{space}{} bytes free", status.free_bytes)),
        check("open", !closing, if closing { "shutting down" } else { "" }),
    ];
    answer(&request, &checks)
}

fn answer(request: &Request, checks: &[Check]) -> Result<Response, Failure> {
    let mut query = Query::of(request.uri());
    let verbose = query.switch("verbose")?;
    query.end()?;
    let failing = checks.iter().any(|check| !check.passes);
    let mut text = String::new();
    for check in checks.iter().filter(|check| verbose || !check.passes) {
        let mark = if check.passes { '+' } else { '-' };
        let result = if check.passes { "ok" } else { "failed" };
        let colon = if check.note.is_empty() { "" } else { ": " };
        // Writing to a string cannot fail.
        let _ok = writeln!(text, "[{mark}]{} {result}{colon}{}", check.name, check.note);
    }
    text.push_str(if failing { "not ready\n" } else { "ok\n" });
    let status = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let cache = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((status, [cache], text).into_response())
}
