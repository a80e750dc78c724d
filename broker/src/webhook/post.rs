//! One attempt: a signed POST, and what came of it. No redirect is followed, no more of an answer is read than is shown.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use futures::StreamExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout, timeout_at};

use super::address::PrivateNetworks;
use super::dial::{DialError, Dialer};
use super::event::Message;
use super::secret::Secret;
use super::target::Target;

/// Connections that nobody needs any more are kept so long.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of an answer's body that are read; a longer one costs its connection.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer's body that are kept to be shown.
const EXCERPT_BYTES_MAX: usize = 1 << 10;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What webhooks post with, all of them.
#[derive(Clone, Debug)]
pub(super) struct Post {
    client: Client<HttpsConnector<Dialer>, Body>,
    dialer: Dialer,
}

/// A receiver's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// How long it asks to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Where it would send us.
    pub(super) location: Option<String>,
    /// How its body begins.
    pub(super) excerpt: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// It did not come in time.
    #[error("no answer within {within:?}")]
    Late {
        /// The webhook's timeout.
        within: Duration,
    },
    /// The address must not be called.
    #[error("{reason}")]
    Forbidden {
        /// Why.
        reason: String,
    },
    /// There was no connection, or it broke.
    #[error("{reason}")]
    Connection {
        /// What happened.
        reason: String,
    },
}

impl Post {
    pub(super) fn new(private: PrivateNetworks, ca_file: Option<&Path>) -> Result<Self, String> {
        let dialer = Dialer::new(private);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(super::trust::tls(ca_file)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(dialer.clone());
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { client, dialer })
    }

    /// Whether a target may be called, as far as it can be known now: a host that is not found may be found later.
    pub(super) async fn check(&self, target: &Target, within: Duration) -> Result<(), String> {
        match timeout(within, self.dialer.resolve(target.uri())).await {
            Ok(Err(error @ DialError::Forbidden { .. })) => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// Posts a message, signed with each of the secrets.
    pub(super) async fn send(
        &self,
        target: &Target,
        message: &Message,
        secrets: &[Secret],
        timestamp_seconds: i64,
        within: Duration,
    ) -> Result<Answer, NoAnswer> {
        let request = request(target, message, secrets, timestamp_seconds)?;
        let deadline = Instant::now() + within;
        let Ok(response) = timeout_at(deadline, self.client.request(request)).await else {
            return Err(NoAnswer::Late { within });
        };
        let (head, body) = response.map_err(|error| no_answer(&error))?.into_parts();
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: head.status,
            retry_after: text(header::RETRY_AFTER)
                .and_then(|text| retry_after(text, timestamp_seconds)),
            location: text(header::LOCATION).map(str::to_owned),
            excerpt: excerpt(Body::new(body), deadline).await,
        })
    }
}

fn request(
    target: &Target,
    message: &Message,
    secrets: &[Secret],
    timestamp_seconds: i64,
) -> Result<Request<Body>, NoAnswer> {
    let timestamp = timestamp_seconds.to_string();
    let sign = |secret: &Secret| secret.sign(&message.id, &timestamp, &message.body);
    let signature = secrets.iter().map(sign).collect::<Vec<_>>().join(" ");
    let broken = |error: axum::http::Error| NoAnswer::Connection { reason: error.to_string() };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(target.uri().clone())
        // Said of an empty body, too: without it some receivers want no POST (411).
        .header(header::CONTENT_LENGTH, message.body.len())
        .header(header::USER_AGENT, concat!("EmberMQ/", env!("CARGO_PKG_VERSION")))
        .header(ID, &message.id)
        .header(TIMESTAMP, timestamp)
        .body(Body::from(message.body.clone()))
        .map_err(broken)?;
    let headers: &mut HeaderMap = request.headers_mut();
    for (name, value) in &message.headers {
        headers.append(name.clone(), value.clone());
    }
    if let Ok(mut signature) = HeaderValue::try_from(signature) {
        signature.set_sensitive(true);
        headers.insert(SIGNATURE, signature);
    }
    Ok(request)
}

/// `Retry-After`: seconds, or a date.
fn retry_after(text: &str, now_seconds: i64) -> Option<Duration> {
    let digits = text.trim();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits is for ever, which has its limit as all others have.
        return Some(Duration::from_secs(digits.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_secs(u64::try_from(now_seconds).unwrap_or_default());
    Some(since.saturating_sub(now))
}

/// The text of an error with what is behind it, innermost last.
fn no_answer(error: &Error) -> NoAnswer {
    let mut cause = error.source();
    let mut reason = None;
    while let Some(inner) = cause {
        if let Some(dial) = inner.downcast_ref::<DialError>() {
            let reason = dial.to_string();
            return match dial {
                DialError::Forbidden { .. } => NoAnswer::Forbidden { reason },
                DialError::NotFound { .. } | DialError::NoConnection { .. } => {
                    NoAnswer::Connection { reason }
                }
            };
        }
        reason = Some(inner.to_string());
        cause = inner.source();
    }
    let reason = reason.unwrap_or_else(|| error.to_string());
    let what = if error.is_connect() { "no connection" } else { "the connection broke" };
    NoAnswer::Connection { reason: format!("{what}: {reason}") }
}

/// How a body begins, as text that can be shown on one line. A body that is read to its end leaves its connection to the next message; one
/// that does not end in time changes nothing of what the status says.
async fn excerpt(body: Body, deadline: Instant) -> String {
    let mut stream = body.into_data_stream();
    let (mut kept, mut read) = (Vec::new(), 0);
    while read <= ANSWER_BYTES_MAX
        && let Ok(Some(Ok(piece))) = timeout_at(deadline, stream.next()).await
    {
        read += piece.len();
        let room = EXCERPT_BYTES_MAX - kept.len();
        kept.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    let text = String::from_utf8_lossy(&kept);
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_say_when_in_seconds_or_as_a_date() {
        let seconds = |text| retry_after(text, 784_111_777).map(|after| after.as_secs());
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(seconds("99999999999999999999"), Some(u64::MAX));
        assert_eq!(seconds(""), None);
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("soon"), None);
    }

    #[tokio::test]
    async fn an_excerpt_is_short_and_on_one_line() {
        let deadline = Instant::now() + Duration::from_secs(60);
        let excerpt = |body: Body| excerpt(body, deadline);
        assert_eq!(excerpt(Body::from(" a\r\nb\u{1b}[31m\n")).await, "a  b [31m");
        let long = excerpt(Body::from("x".repeat(1 << 20))).await;
        assert_eq!(long.len(), EXCERPT_BYTES_MAX);
        assert_eq!(excerpt(Body::from(&b"\xff"[..])).await, "\u{fffd}");
    }
}
