//! The accept loop and what bounds a connection.
//!
//! `axum::serve` sets no timer, and so has no limit on silent or half-sent heads; this loop has: a connection must
//! have sent its first whole request head within `header_timeout` (whatever protocol it speaks), so must later HTTP/1 heads
//! that have begun, and between requests a connection is kept for `idle_timeout` (`awaiting`). HTTP/2 connections are pinged.
//! Who takes nothing of an answer loses the connection (`patience`), or the HTTP/2 stream (`portions`). Connections are counted; those
//! beyond the limit wait unaccepted. On shutdown nothing is accepted any more, requests in flight finish within `drain_timeout`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::awaiting::{HeadTimer, Received};
use super::caller::Caller;
use super::closing::closing;
use super::exchange::Exchange;
use super::options::ServeOptions;
use super::patience::Patience;
use super::portions::Streams;
use super::routes::router;
use super::shared::{Serving, Shared};
use crate::{Broker, Webhooks};

/// HTTP/2 streams that one connection may have open.
const H2_STREAMS_MAX: u32 = 100;
/// HTTP/2 flow-control windows: large enough that a batch does not wait for window updates.
const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const H2_FRAME_BYTES_MAX: u32 = 64 << 10;
/// Bytes that a response may have queued on an HTTP/2 stream: more than one portion (`portions`).
const H2_SEND_BUFFER_BYTES: usize = 1 << 20;
/// A silent HTTP/2 connection is pinged this often, and closed when it does not answer within the timeout.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Read buffer of an HTTP/1 connection: bounds a head that is never finished.
const H1_BUFFER_BYTES_MAX: usize = 128 << 10;
/// After a failed accept (no file handles left, most often): try again this much later.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A server that has its port and is ready to run.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    broker: Broker,
    options: ServeOptions,
    serving: Option<Serving>,
    webhooks: Option<Arc<Webhooks>>,
}

/// Listens and serves until `shutdown` is ready and the requests in flight are done.
///
/// The broker stays open: shut it down afterwards.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    broker: Broker,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    Server::bind(broker, options).await?.run(shutdown).await;
    Ok(())
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// When the address cannot be bound; the message names it.
    pub async fn bind(broker: Broker, options: ServeOptions) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", options.listen))
        };
        let listener = TcpListener::bind(options.listen).await.map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        Ok(Self { listener, address, broker, options, serving: None, webhooks: None })
    }

    /// The same with models and stages.
    #[must_use]
    pub fn with_stages(mut self, serving: Serving) -> Self {
        self.serving = Some(serving);
        self
    }

    /// The same with webhooks.
    #[must_use]
    pub fn with_webhooks(mut self, webhooks: Arc<Webhooks>) -> Self {
        self.webhooks = Some(webhooks);
        self
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready and the requests in flight are done, or `drain_timeout` has passed since.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let (close, signal) = closing();
        let connections_max = self.options.connections_max.max(1);
        let slots = Arc::new(Semaphore::new(connections_max));
        let drain_timeout = self.options.drain_timeout;
        let attached = (self.serving, self.webhooks);
        let shared = Arc::new(Shared::new(self.broker, self.options, signal, attached));
        let router = router(Arc::clone(&shared));
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = accept(&self.listener, &slots) => accepted,
            };
            let Some((stream, slot)) = accepted else { continue };
            let stream = Arc::new(Mutex::new(stream));
            let caller = Caller::of(&stream);
            let place = Place::new(slot, Arc::clone(&shared));
            let exchange = Exchange::new(Arc::clone(&shared), router.clone(), caller);
            let connection = serve_connection(stream, exchange);
            tokio::spawn(async move {
                connection.await;
                drop(place);
            });
        }
        drop(self.listener);
        close.close();
        let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(drain_timeout, slots.acquire_many(all)).await.is_err() {
            let open = connections_max - slots.available_permits();
            tracing::warn!(open, "requests in flight did not finish in time and are dropped");
        }
    }
}

/// What a connection takes up as long as it is served.
struct Place {
    _slot: OwnedSemaphorePermit,
    shared: Arc<Shared>,
}

impl Place {
    fn new(slot: OwnedSemaphorePermit, shared: Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Self { _slot: slot, shared }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next connection and its slot; none when accepting failed (logged).
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _peer)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_RETRY).await;
            None
        }
    }
}

fn connection_builder(options: &ServeOptions, received: Received) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams::new(options.write_timeout));
    builder
        .http1()
        .timer(HeadTimer::new(received, options.header_timeout))
        .header_read_timeout(options.idle_timeout)
        .max_buf_size(H1_BUFFER_BYTES_MAX.max(options.header_bytes_max))
        // A client that closes its sending side behind a whole request still gets its answer; a wait for more ends (`caller`).
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_frame_size(H2_FRAME_BYTES_MAX)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(options.header_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}

/// Serves one connection to its end.
async fn serve_connection(stream: Arc<Mutex<TcpStream>>, exchange: Exchange) {
    if let Err(error) = stream.lock().set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let options = &exchange.shared().options;
    let received = Received::default();
    let builder = connection_builder(options, received.clone());
    let io = TokioIo::new(Patience::new(stream, options.write_timeout, received));
    let header_timeout = options.header_timeout;
    let mut signal = exchange.shared().closing.watch();
    let first_request = exchange.first_request();
    let service = hyper::service::service_fn(move |request| {
        let answer = exchange.answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut first_head = pin!(tokio::time::timeout(header_timeout, first_request.notified()));
    let mut waiting_for_first = true;
    let mut open = true;
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = connection.as_mut() => break outcome,
            arrived = first_head.as_mut(), if waiting_for_first => {
                waiting_for_first = false;
                if arrived.is_err() {
                    tracing::debug!("no whole request head in time: connection closed");
                    return;
                }
            }
            () = &mut signal, if open => {
                open = false;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended with an error");
    }
}
