//! What happens around every request: its name, the bound on its head, a net for panics, the rendering of failures,
//! the log line. One struct a connection, no layers.
//!
//! Produce requests go to their handler without the router. It finds the same one; what it captures on the way (parameters, the
//! matched path, a boxed future) is not used, and costs on the route that most requests take.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use embermq_protocol::code::Code;
use embermq_protocol::headers::REQUEST_ID;
use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::Service as _;

use super::caller::Caller;
use super::failure::Failure;
use super::held::Answers;
use super::named::named;
use super::portions::in_portions;
use super::render::{Flavour, render};
use super::shared::Shared;
use super::{connect, produce, routes};

/// The longest name that a client may give a request.
const REQUEST_ID_BYTES_MAX: usize = 128;
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("embermq/", env!("CARGO_PKG_VERSION")));

/// Answers the requests of one connection.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    shared: Arc<Shared>,
    router: Router,
    caller: Caller,
    first_request: Arc<Notify>,
    arrived: Arc<AtomicBool>,
}

/// What the log line needs of a request that is gone by then.
struct Seen {
    method: Method,
    uri: Uri,
    started: Instant,
}

impl Exchange {
    pub(super) fn new(shared: Arc<Shared>, router: Router, caller: Caller) -> Self {
        Self { shared, router, caller, first_request: Arc::default(), arrived: Arc::default() }
    }

    /// What all connections share.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Notified once, when the first request head is there.
    pub(super) fn first_request(&self) -> Arc<Notify> {
        Arc::clone(&self.first_request)
    }

    fn way<B>(&self, request: &Request<B>) -> Way {
        if routes::is_produce(request.method(), request.uri().path()) {
            Way::Produce(Arc::clone(&self.shared))
        } else {
            let (router, answers) = (self.router.clone(), self.shared.answers.clone());
            Way::Router { router, answers, only_reads: only_reads(request) }
        }
    }

    /// The answer to a request. Never panics, never fails.
    pub(super) fn answer<B>(
        &self,
        mut request: Request<B>,
    ) -> impl Future<Output = Response> + Send + use<B>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if !self.arrived.swap(true, Ordering::Relaxed) {
            self.first_request.notify_one();
        }
        let id = request_id(request.headers()).unwrap_or_else(|| self.shared.request_ids.next());
        let flavour = Flavour::of(request.uri().path());
        let seen = tracing::enabled!(tracing::Level::DEBUG).then(|| Seen {
            method: request.method().clone(),
            uri: request.uri().clone(),
            started: Instant::now(),
        });
        let too_large = head_bytes(&request) > self.shared.options.header_bytes_max;
        let limit = self.shared.options.header_bytes_max;
        let way = self.way(&request);
        if matches!(way, Way::Router { .. }) && request.version() < Version::HTTP_2 {
            request.extensions_mut().insert(self.caller.clone());
        }
        async move {
            let answered = if too_large {
                head_too_large(limit).into_response()
            } else {
                let request = request.map(Body::new);
                let answered = AssertUnwindSafe(way.take(request)).catch_unwind().await;
                answered.unwrap_or_else(|_panic| panicked(&id).into_response())
            };
            let mut response = render(answered, flavour, &id).map(in_portions);
            let headers = response.headers_mut();
            headers.insert(header::SERVER, SERVER);
            if let Some(seen) = seen {
                log(&seen, response.status(), &id);
            }
            response.headers_mut().insert(REQUEST_ID, id);
            response
        }
    }
}

/// How a request gets to its handler.
enum Way {
    Produce(Arc<Shared>),
    Router {
        router: Router,
        answers: Answers,
        /// Nothing has taken effect when the answer is there, so that it may still be refused.
        only_reads: bool,
    },
}

impl Way {
    async fn take(self, request: Request<Body>) -> Response {
        match self {
            Self::Produce(shared) => produce::produce(State(shared), request).await.into_response(),
            Self::Router { mut router, answers, only_reads } => {
                let Ok(response) = router.call(request).await;
                answers.count(response, only_reads)
            }
        }
    }
}

fn only_reads<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        || connect::only_reads(request.uri().path())
}

/// The name that the client gave, if it is one that can stand in a log line.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = named(headers, REQUEST_ID)?;
    let plain = |byte: &u8| byte.is_ascii_graphic();
    let good = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(plain);
    good.then(|| id.clone())
}

fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    let line =
        |(name, value): (&header::HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    target + request.headers().iter().map(line).sum::<usize>()
}

fn head_too_large(limit: usize) -> Failure {
    Failure::new(
        Code::HeadersTooLarge,
        format!(
            "path and headers of the request have more than {limit} bytes; send data in the body"
        ),
    )
    .with("limit_bytes", limit)
}

fn panicked(id: &HeaderValue) -> Failure {
    tracing::error!(request_id = ?id, "a request handler panicked");
    Failure::new(
        Code::Internal,
        "the request ran into a defect of the broker; nothing else was affected. Please report it with the request id",
    )
}

fn log(seen: &Seen, status: StatusCode, id: &HeaderValue) {
    tracing::debug!(
        method = %seen.method,
        target = %seen.uri,
        status = status.as_u16(),
        micros = u64::try_from(seen.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        request_id = ?id,
        "request"
    );
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::routing::get;

    use super::*;
    use crate::http::closing::closing;
    use crate::http::options::ServeOptions;
    use crate::{Broker, Options};

    #[expect(clippy::panic, reason = "what a defect would do")]
    async fn defect() -> &'static str {
        panic!("on purpose")
    }

    #[tokio::test]
    async fn a_panic_ends_one_request_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let (_close, signal) = closing();
        let shared = Arc::new(Shared::new(broker, ServeOptions::default(), signal, (None, None)));
        let router =
            Router::new().route("/defect", get(defect)).route("/fine", get(async || "fine"));
        let exchange = Exchange::new(shared, router, Caller::default());
        let ask = async |path: &str| {
            exchange.answer(Request::get(path).body(Body::empty()).unwrap()).await
        };
        let answer = ask("/defect").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(answer.into_body(), 4096).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "internal");
        assert!(!problem.to_string().contains("on purpose"));
        assert_eq!(ask("/fine").await.status(), StatusCode::OK);
    }
}
