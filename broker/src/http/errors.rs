//! `/errors/{code}`: what a code means. The `type` of every problem document points here.

use axum::Json;
use axum::http::Uri;
use embermq_protocol::code::Code;
use embermq_protocol::paths;
use serde_json::{Value, json};

use super::failure::Failure;

/// The pattern of the route.
pub(super) const PATH: &str = "/errors/{code}";

/// `GET /errors/{code}`.
pub(super) async fn describe(uri: Uri) -> Result<Json<Value>, Failure> {
    let name = uri.path().strip_prefix(paths::ERRORS).unwrap_or_default();
    let code: Code = name.parse().map_err(|_| {
        let known: Vec<&str> = Code::all().map(Code::as_str).collect();
        Failure::new(
            Code::RouteNotFound,
            format!("there is no error code {name:?}; there are {}", known.join(", ")),
        )
    })?;
    Ok(Json(json!({
        "code": code.as_str(),
        "title": code.title(),
        "status": code.status(),
        "connect_code": code.connect(),
        "retryable": code.retryable(),
    })))
}
