//! The one way out: a host becomes addresses, all of them are checked, and one of exactly these is connected to.
//!
//! Nothing else resolves a name for a webhook, so a name cannot mean one address when it is checked and another one when it is
//! connected to. There are no proxies.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower::Service;

use super::address::{AddressForbidden, PrivateNetworks, check};

/// One address that does not answer shall not take the time of the others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A name with more addresses is connected to at the first of them; all are checked.
const TRIED_MAX: usize = 4;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the host {host:?} is not found: {reason}")]
    NotFound { host: String, reason: String },
    #[error("the host {host:?} is not called: {reason}")]
    Forbidden { host: String, reason: AddressForbidden },
    #[error("no connection to {address}: {reason}")]
    NoConnection { address: SocketAddr, reason: String },
}

/// Makes connections.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    private: Arc<PrivateNetworks>,
}

impl Dialer {
    pub(super) fn new(private: PrivateNetworks) -> Self {
        Self { private: Arc::new(private) }
    }

    /// The addresses of a host, every one of which may be called.
    pub(super) async fn resolve(&self, uri: &Uri) -> Result<Vec<SocketAddr>, DialError> {
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let not_found = |reason: String| DialError::NotFound { host: host.to_owned(), reason };
        let addresses: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => lookup_host((bare, port))
                .await
                .map_err(|error| not_found(error.to_string()))?
                .collect(),
        };
        if addresses.is_empty() {
            return Err(not_found("it has no address".to_owned()));
        }
        for address in &addresses {
            check(address.ip(), &self.private)
                .map_err(|reason| DialError::Forbidden { host: host.to_owned(), reason })?;
        }
        Ok(addresses)
    }

    async fn dial(self, uri: Uri) -> Result<TokioIo<TcpStream>, DialError> {
        let addresses = self.resolve(&uri).await?;
        let mut last = None;
        for address in addresses.into_iter().take(TRIED_MAX) {
            let reason = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true).ok();
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {CONNECT_TIMEOUT:?}"),
            };
            last = Some(DialError::NoConnection { address, reason });
        }
        let reason = "it has no address".to_owned();
        let host = uri.host().unwrap_or_default().to_owned();
        Err(last.unwrap_or(DialError::NotFound { host, reason }))
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_name_means_is_checked_where_it_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let uri: Uri = format!("http://localhost:{port}/").parse().unwrap();
        let refused = Dialer::new(PrivateNetworks::None).dial(uri.clone()).await.unwrap_err();
        assert!(matches!(refused, DialError::Forbidden { .. }), "{refused}");
        let stream = Dialer::new(PrivateNetworks::All).dial(uri).await.unwrap();
        assert_eq!(stream.inner().peer_addr().unwrap().port(), port);
    }

    #[tokio::test]
    async fn addresses_in_brackets_are_checked_too() {
        let dialer = Dialer::new(PrivateNetworks::All);
        for text in ["http://[fe80::1]/", "http://[::ffff:169.254.169.254]/", "http://169.254.0.1/"]
        {
            let refused = dialer.clone().dial(text.parse().unwrap()).await.unwrap_err();
            assert!(matches!(refused, DialError::Forbidden { .. }), "{text}: {refused}");
        }
    }
}
