//! Failures as the client's protocol has them. This is the only place where an error body is made.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use embermq_protocol::code::Code;
use embermq_protocol::media;
use embermq_protocol::problem::{ConnectError, Problem};

use super::failure::Failure;
use super::{connect, open_inference};

/// Which kind of errors a request expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// RFC 9457.
    Rest,
    /// `{code, message, details}` with the statuses that Connect fixes.
    Connect,
    /// `{"error": ".."}`, as the Open Inference Protocol has it.
    OpenInference,
}

impl Flavour {
    /// The flavour of a path.
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with(connect::PREFIX) {
            Self::Connect
        } else if open_inference::is_ours(path) {
            Self::OpenInference
        } else {
            Self::Rest
        }
    }
}

/// Gives a response that carries a failure its body; leaves others as they are.
pub(super) fn render(mut response: Response, flavour: Flavour, id: &HeaderValue) -> Response {
    let Some(failure) = response.extensions_mut().remove::<Failure>() else {
        return response;
    };
    let mut problem = failure.problem().clone();
    problem.request_id = id.to_str().ok().map(str::to_owned);
    let (status, kind, body) = match flavour {
        Flavour::Rest => (problem.status, media::PROBLEM, serde_json::to_vec(&problem)),
        Flavour::Connect => (
            connect_status(problem.known_code().unwrap_or(Code::Internal)),
            media::JSON,
            serde_json::to_vec(&ConnectError::from(&problem)),
        ),
        Flavour::OpenInference => {
            let error = serde_json::json!({ "error": problem.detail, "code": problem.code });
            (problem.status, media::JSON, serde_json::to_vec(&error))
        }
    };
    // A document of strings and numbers can always be written.
    *response.body_mut() = Body::from(body.unwrap_or_default());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    // The router has written down the length of the empty body that carried the failure here.
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after(&problem) {
        headers.insert(header::RETRY_AFTER, seconds);
    }
    if let Some((name, value)) = failure.header() {
        headers.insert(name, value.clone());
    }
    response
}

/// The status over Connect: where a request is refused before it reaches a method, the protocol wants what HTTP says.
const fn connect_status(code: Code) -> u16 {
    match code {
        Code::UnsupportedMediaType | Code::MethodNotAllowed | Code::HeadersTooLarge => {
            code.status()
        }
        _ => code.connect_status(),
    }
}

fn retry_after(problem: &Problem) -> Option<HeaderValue> {
    problem.retry_after_seconds().map(HeaderValue::from)
}
