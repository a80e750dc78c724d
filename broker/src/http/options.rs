//! The limits of the HTTP side. Each has a default that suits the open internet; tests make them tiny.

use std::net::SocketAddr;
use std::time::Duration;

use crate::models::DirectOptions;

/// How a [`Server`](super::Server) listens and what it puts up with.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections served at a time; further ones wait in the operating system's queue.
    pub connections_max: usize,
    /// From a connection's start, or from the first byte of a later request's head, to the last byte of the head.
    /// Bounds silent and half-head connections.
    pub header_timeout: Duration,
    /// How long an HTTP/1 connection is kept between requests.
    pub idle_timeout: Duration,
    /// Sum of the bytes of a request's path and headers; more is 431.
    pub header_bytes_max: usize,
    /// The longest pause within a request body; longer is 408.
    pub body_idle_timeout: Duration,
    /// Bytes per second that a request body must reach once `body_idle_timeout` has passed; less is 408.
    pub body_rate_min: u64,
    /// The longest time that a client may take for 64 KiB of a response, or for what is left of it, before its connection is closed; over
    /// HTTP/2 its stream is reset, and streams that have an answer under way on one connection share the time.
    pub write_timeout: Duration,
    /// Bytes of answers that may be held in memory until clients have taken them; beyond that requests that only read are refused.
    pub answer_bytes_max: u64,
    /// How long requests in flight may go on after shutdown began.
    pub drain_timeout: Duration,
    /// A comment is sent on a silent event stream this often, so that proxies keep it open.
    pub event_keep_alive: Duration,
    /// Whether `/metrics` has series per partition.
    pub metrics_per_partition: bool,
    /// How models are asked directly.
    pub direct: DirectOptions,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            connections_max: 1_024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            header_bytes_max: 16 << 10,
            body_idle_timeout: Duration::from_secs(15),
            body_rate_min: 16 << 10,
            write_timeout: Duration::from_secs(30),
            answer_bytes_max: 256 << 20,
            drain_timeout: Duration::from_secs(30),
            event_keep_alive: Duration::from_secs(15),
            metrics_per_partition: true,
            direct: DirectOptions::default(),
        }
    }
}
