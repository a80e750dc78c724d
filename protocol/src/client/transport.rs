//! One try of one request: what goes over HTTP, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, Url, header};

use super::ClientError;
use crate::{
    headers, media,
    problem::{ConnectError, Problem},
};

/// How much of a stranger's answer an error shows.
const SHOWN_BODY_CHARS: usize = 200;

#[derive(Clone, Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
    base: Url,
    timeout: Duration,
}

impl Transport {
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, ClientError> {
        let refuse = |reason: String| ClientError::Url { url: url.to_owned(), reason };
        let base = Url::parse(url).map_err(|error| refuse(error.to_string()))?;
        if base.scheme() != "http" {
            return Err(refuse(format!("the scheme {:?} is not supported", base.scheme())));
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("embermq-rust/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            // A broker is on this machine or a near one: what the environment says about the web is not meant for it.
            .no_proxy()
            .build()?;
        Ok(Self { http, base, timeout })
    }

    /// A request to a path of the broker.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
    ) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.request(method, url).timeout(self.timeout)
    }

    /// How long one try may take when the broker is asked to wait that long itself.
    pub(crate) fn timeout_with(&self, wait: Duration) -> Duration {
        self.timeout.saturating_add(wait)
    }

    /// Calls a Connect method once.
    pub(crate) async fn connect<Q, A>(&self, path: &str, request: &Q) -> Result<A, ClientError>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        self.connect_waiting(path, request, Duration::ZERO).await
    }

    /// Calls a Connect method once that may wait so long by itself.
    pub(crate) async fn connect_waiting<Q, A>(
        &self,
        path: &str,
        request: &Q,
        wait: Duration,
    ) -> Result<A, ClientError>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        let call = self
            .request(Method::POST, path, &[])
            .timeout(self.timeout_with(wait))
            .header(header::CONTENT_TYPE, media::CONNECT_PROTO)
            .header(headers::CONNECT_PROTOCOL_VERSION, "1")
            .body(request.encode_to_vec());
        decode(answer(call).await?)
    }
}

/// Decodes the message of an answer.
pub(crate) fn decode<A: prost::Message + Default>(body: Bytes) -> Result<A, ClientError> {
    A::decode(body).map_err(|error| ClientError::Answer(error.to_string()))
}

/// Sends a request and reads the whole answer, or what the error says.
pub(crate) async fn answer(request: RequestBuilder) -> Result<Bytes, ClientError> {
    let response = request.send().await?;
    if response.status().is_success() {
        return Ok(response.bytes().await?);
    }
    Err(failure(response).await?)
}

async fn failure(response: Response) -> Result<ClientError, ClientError> {
    let status = response.status().as_u16();
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let kind = header("content-type").unwrap_or_default();
    let retry_after = header(headers::RETRY_AFTER)
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs);
    let body = response.bytes().await?;

    // What somebody in between says in one of these forms tells nothing of what the broker did.
    let problem = if kind.starts_with(media::PROBLEM) {
        serde_json::from_slice(&body).ok().filter(Problem::is_of_broker)
    } else {
        let error = serde_json::from_slice(&body).ok().filter(ConnectError::is_of_broker);
        error.map(|error| Problem::from(&error))
    };
    Ok(match problem {
        Some(problem) => match (problem.retry_after_ms, retry_after) {
            (None, Some(wait)) => problem.with_retry_after(wait).into(),
            _ => problem.into(),
        },
        None => {
            let body = String::from_utf8_lossy(&body).chars().take(SHOWN_BODY_CHARS).collect();
            ClientError::Status { status, body, retry_after }
        }
    })
}
