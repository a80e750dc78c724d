//! The settings themselves: what the server can be told, as one struct.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::http::ServeOptions;
use crate::models::DirectOptions;
use crate::{Options, WebhookOptions};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything `embermq serve` can be told. Each field is one key of [`KEYS`](super::KEYS); what it means stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `data.dir`
    pub data_dir: PathBuf,
    /// `data.accept_loss`
    pub accept_loss: bool,
    /// `server.listen`
    pub listen: SocketAddr,
    /// `server.insecure`
    pub insecure: bool,
    /// `server.connections_max`
    pub connections_max: u32,
    /// `server.header_timeout`
    pub header_timeout: Duration,
    /// `server.idle_timeout`
    pub idle_timeout: Duration,
    /// `server.header_bytes_max`
    pub header_bytes_max: u64,
    /// `server.body_idle_timeout`
    pub body_idle_timeout: Duration,
    /// `server.body_rate_min`
    pub body_rate_min: u64,
    /// `server.write_timeout`
    pub write_timeout: Duration,
    /// `server.drain_timeout`
    pub drain_timeout: Duration,
    /// `server.event_keep_alive`
    pub event_keep_alive: Duration,
    /// `storage.log_file_bytes`
    pub log_file_bytes: u64,
    /// `storage.log_reserve_bytes`
    pub log_reserve_bytes: u64,
    /// `storage.segment_bytes`
    pub segment_bytes: u64,
    /// `storage.snapshot_log_bytes`
    pub snapshot_log_bytes: u64,
    /// `storage.os_sync_interval`
    pub os_sync_interval: Duration,
    /// `storage.os_unsynced_bytes_max`
    pub os_unsynced_bytes_max: u64,
    /// `limits.admitted_bytes_max`
    pub admitted_bytes_max: u64,
    /// `limits.answer_bytes_max`
    pub answer_bytes_max: u64,
    /// `limits.queue_bytes_max`
    pub queue_bytes_max: u64,
    /// `limits.commit_bytes_max`
    pub commit_bytes_max: u64,
    /// `limits.schedules_max`
    pub schedules_max: u32,
    /// `limits.idempotency_bytes_max`
    pub idempotency_bytes_max: u64,
    /// `limits.producer_bytes_max`
    pub producer_bytes_max: u64,
    /// `retention.interval`
    pub retention_interval: Duration,
    /// `producers.idempotency_window`
    pub idempotency_window: Duration,
    /// `producers.producer_window`
    pub producer_window: Duration,
    /// `metrics.per_partition`
    pub metrics_per_partition: bool,
    /// `models.device`
    pub models_device: String,
    /// `models.load_timeout`
    pub models_load_timeout: Duration,
    /// `direct.timeout`
    pub direct_timeout: Duration,
    /// `direct.queue_max`
    pub direct_queue_max: u32,
    /// `direct.threads`; none: as many as suit the machine
    pub direct_threads: Option<u32>,
    /// `direct.models_max`
    pub direct_models_max: u32,
    /// `direct.idle`
    pub direct_idle: Duration,
    /// `webhooks.private_networks` and `webhooks.ca_file`
    pub webhooks: WebhookOptions,
    /// `log.level`
    pub log_level: String,
    /// `log.format`
    pub log_format: LogFormat,
}

impl Default for Settings {
    fn default() -> Self {
        let options = Options::default();
        let serve = ServeOptions::default();
        Self {
            data_dir: PathBuf::from("embermq-data"),
            accept_loss: options.accept_loss,
            listen: serve.listen,
            insecure: false,
            connections_max: u32::try_from(serve.connections_max).unwrap_or(u32::MAX),
            header_timeout: serve.header_timeout,
            idle_timeout: serve.idle_timeout,
            header_bytes_max: u64::try_from(serve.header_bytes_max).unwrap_or(u64::MAX),
            body_idle_timeout: serve.body_idle_timeout,
            body_rate_min: serve.body_rate_min,
            write_timeout: serve.write_timeout,
            drain_timeout: serve.drain_timeout,
            event_keep_alive: serve.event_keep_alive,
            log_file_bytes: options.log_file_bytes,
            log_reserve_bytes: options.log_reserve_bytes,
            segment_bytes: options.segment_bytes,
            snapshot_log_bytes: options.snapshot_log_bytes,
            os_sync_interval: options.os_sync_interval,
            os_unsynced_bytes_max: options.os_unsynced_bytes_max,
            admitted_bytes_max: options.admitted_bytes_max,
            answer_bytes_max: serve.answer_bytes_max,
            queue_bytes_max: options.queue_bytes_max,
            commit_bytes_max: options.commit_bytes_max,
            schedules_max: options.schedules_max,
            idempotency_bytes_max: options.idempotency_bytes_max,
            producer_bytes_max: options.producer_bytes_max,
            retention_interval: options.retention_interval,
            idempotency_window: options.idempotency_window,
            producer_window: options.producer_window,
            metrics_per_partition: serve.metrics_per_partition,
            models_device: "cpu".to_owned(),
            models_load_timeout: crate::models::LOAD_TIMEOUT,
            direct_timeout: serve.direct.timeout,
            direct_queue_max: u32::try_from(serve.direct.queue_max).unwrap_or(u32::MAX),
            direct_threads: None,
            direct_models_max: u32::try_from(serve.direct.models_max).unwrap_or(u32::MAX),
            direct_idle: serve.direct.idle,
            webhooks: WebhookOptions::default(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

impl Settings {
    /// The part that the broker takes.
    #[must_use]
    pub const fn options(&self) -> Options {
        Options {
            log_file_bytes: self.log_file_bytes,
            segment_bytes: self.segment_bytes,
            admitted_bytes_max: self.admitted_bytes_max,
            log_reserve_bytes: self.log_reserve_bytes,
            queue_bytes_max: self.queue_bytes_max,
            commit_bytes_max: self.commit_bytes_max,
            schedules_max: self.schedules_max,
            idempotency_bytes_max: self.idempotency_bytes_max,
            producer_bytes_max: self.producer_bytes_max,
            snapshot_log_bytes: self.snapshot_log_bytes,
            retention_interval: self.retention_interval,
            idempotency_window: self.idempotency_window,
            producer_window: self.producer_window,
            os_sync_interval: self.os_sync_interval,
            os_unsynced_bytes_max: self.os_unsynced_bytes_max,
            accept_loss: self.accept_loss,
        }
    }

    /// The part that the HTTP server takes.
    #[must_use]
    pub fn serve_options(&self) -> ServeOptions {
        ServeOptions {
            listen: self.listen,
            connections_max: usize::try_from(self.connections_max).unwrap_or(usize::MAX),
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            header_bytes_max: usize::try_from(self.header_bytes_max).unwrap_or(usize::MAX),
            body_idle_timeout: self.body_idle_timeout,
            body_rate_min: self.body_rate_min,
            write_timeout: self.write_timeout,
            answer_bytes_max: self.answer_bytes_max,
            drain_timeout: self.drain_timeout,
            event_keep_alive: self.event_keep_alive,
            metrics_per_partition: self.metrics_per_partition,
            direct: self.direct_options(),
        }
    }

    /// How models are asked directly.
    fn direct_options(&self) -> DirectOptions {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        DirectOptions {
            timeout: self.direct_timeout,
            queue_max: count(self.direct_queue_max),
            threads: self.direct_threads.map_or_else(|| DirectOptions::default().threads, count),
            idle: self.direct_idle,
            models_max: count(self.direct_models_max),
        }
    }
}
