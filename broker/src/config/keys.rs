//! The table of all keys: the one place that knows a setting's name, meaning, form and bounds.

use std::path::PathBuf;
use std::time::Duration;

use super::units::{show_bytes, show_duration};
use super::{LogFormat, Settings, Value};

/// What is logged: this and all that is worse.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What it means, in a sentence or two.
    pub meaning: &'static str,
    /// Reads a value into the settings; an error says what would be right.
    pub set: fn(&mut Settings, &Value) -> Result<(), String>,
    /// The value in force, as it could be written in the file (without quotes).
    pub show: fn(&Settings) -> String,
}

impl Key {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("EMBERMQ__{}", self.name.replace('.', "__").to_ascii_uppercase())
    }
}

/// A row for a size between two bounds.
macro_rules! bytes {
    ($name:literal, $field:ident, $least:expr, $most:expr, $meaning:literal) => {
        Key {
            name: $name,
            meaning: $meaning,
            set: |settings, value| {
                settings.$field = within(value.bytes()?, $least, $most, show_bytes)?;
                Ok(())
            },
            show: |settings| show_bytes(settings.$field),
        }
    };
}

/// A row for a time span between two bounds.
macro_rules! span {
    ($name:literal, $field:ident, $least:expr, $most:expr, $meaning:literal) => {
        Key {
            name: $name,
            meaning: $meaning,
            set: |settings, value| {
                settings.$field = within(value.duration()?, $least, $most, show_duration)?;
                Ok(())
            },
            show: |settings| show_duration(settings.$field),
        }
    };
}

/// A row for a count between two bounds.
macro_rules! count {
    ($name:literal, $field:ident, $least:expr, $most:expr, $meaning:literal) => {
        Key {
            name: $name,
            meaning: $meaning,
            set: |settings, value| {
                settings.$field = within(value.count()?, $least, $most, |n| n.to_string())?;
                Ok(())
            },
            show: |settings| settings.$field.to_string(),
        }
    };
}

/// A row for yes or no.
macro_rules! flag {
    ($name:literal, $field:ident, $meaning:literal) => {
        Key {
            name: $name,
            meaning: $meaning,
            set: |settings, value| {
                settings.$field = value.flag()?;
                Ok(())
            },
            show: |settings| settings.$field.to_string(),
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// As many as suit the machine.
const AUTO: &str = "auto";
/// More threads than any machine has cores to spare.
const DIRECT_THREADS_MAX: u32 = 256;

/// All settings, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "data.dir",
        meaning: "The data folder. It is created when it is not there; one process uses it at a time.",
        set: |settings, value| {
            settings.data_dir = PathBuf::from(value.text()?);
            Ok(())
        },
        show: |settings| settings.data_dir.display().to_string(),
    },
    flag!(
        "data.accept_loss",
        accept_loss,
        "Opens a data folder whose commit log is damaged for writing, giving up the records that are lost. Without it such a folder is served read-only."
    ),
    Key {
        name: "server.listen",
        meaning: "Address and port for HTTP. Port 0 takes a free one; the banner shows it.",
        set: |settings, value| {
            settings.listen = value
                .text()?
                .parse()
                .map_err(|_| "write an IP address and a port, such as 127.0.0.1:7400".to_owned())?;
            Ok(())
        },
        show: |settings| settings.listen.to_string(),
    },
    flag!(
        "server.insecure",
        insecure,
        "Allows an address that other machines reach. There is no TLS and there are no tokens yet: whoever reaches the port may read, write and delete everything."
    ),
    count!(
        "server.connections_max",
        connections_max,
        1,
        1 << 20,
        "Connections served at a time; further ones wait in the operating system's queue. At most half of the files that the process may open (`ulimit -n`), so that enough stay for the commit log and segments; a start with fewer connections says so."
    ),
    span!(
        "server.header_timeout",
        header_timeout,
        SECOND,
        HOUR,
        "From a connection's start, or the first byte of a later request's head, to the last byte of the head."
    ),
    span!(
        "server.idle_timeout",
        idle_timeout,
        SECOND,
        HOUR,
        "How long an HTTP/1 connection is kept between requests. It counts among server.connections_max meanwhile."
    ),
    bytes!(
        "server.header_bytes_max",
        header_bytes_max,
        KIB,
        MIB,
        "Path and headers of one request together; more is answered with 431."
    ),
    span!(
        "server.body_idle_timeout",
        body_idle_timeout,
        SECOND,
        HOUR,
        "The longest pause within a request body; a longer one is answered with 408."
    ),
    bytes!(
        "server.body_rate_min",
        body_rate_min,
        0,
        GIB,
        "Bytes per second that a request body must reach once server.body_idle_timeout has passed; less is answered with 408."
    ),
    span!(
        "server.write_timeout",
        write_timeout,
        SECOND,
        HOUR,
        "How long a client may take for 64 KiB of a response, or for what is left of it, before its connection is closed; over HTTP/2 its stream is reset, and the time is given for each stream of the connection that has an answer under way (up to ten)."
    ),
    span!(
        "server.drain_timeout",
        drain_timeout,
        Duration::ZERO,
        HOUR,
        "How long requests in flight may go on after shutdown began."
    ),
    span!(
        "server.event_keep_alive",
        event_keep_alive,
        SECOND,
        HOUR,
        "A comment is sent on a silent event stream this often, so that proxies keep it open."
    ),
    bytes!(
        "storage.log_file_bytes",
        log_file_bytes,
        MIB,
        4 * GIB,
        "Size of one commit-log file. Two to three of them are on disk at any time."
    ),
    bytes!(
        "storage.log_reserve_bytes",
        log_reserve_bytes,
        64 * KIB,
        GIB,
        "Commit-log space for when the disk is full: consumers may use three quarters of it, deletes and retention all."
    ),
    bytes!(
        "storage.segment_bytes",
        segment_bytes,
        MIB,
        GIB,
        "Size of a full segment, the unit in which retention deletes and compaction rewrites."
    ),
    bytes!(
        "storage.snapshot_log_bytes",
        snapshot_log_bytes,
        MIB,
        64 * GIB,
        "A snapshot of the state is taken after this many bytes of commit log; it bounds what a restart replays."
    ),
    span!(
        "storage.os_sync_interval",
        os_sync_interval,
        MS,
        60 * SECOND,
        "For topics with durability os: the longest time without a sync, so the most that power loss may take."
    ),
    bytes!(
        "storage.os_unsynced_bytes_max",
        os_unsynced_bytes_max,
        MIB,
        4 * GIB,
        "For topics with durability os: the most bytes of commit log without a sync."
    ),
    bytes!(
        "limits.admitted_bytes_max",
        admitted_bytes_max,
        MIB,
        64 * GIB,
        "Bytes of requests that are held in memory at once; beyond that producers are told to try again later (429)."
    ),
    bytes!(
        "limits.answer_bytes_max",
        answer_bytes_max,
        MIB,
        64 * GIB,
        "Bytes of answers that are held in memory at once until clients have taken them; beyond that who only reads is told to try again later (429), and who leases at twice of it. Batches that go out as they are stored do not count."
    ),
    bytes!(
        "limits.queue_bytes_max",
        queue_bytes_max,
        MIB,
        64 * GIB,
        "Bytes of commits that may wait to be written before producers are told to try again later (429)."
    ),
    bytes!("limits.commit_bytes_max", commit_bytes_max, 64 * KIB, GIB, "The largest commit."),
    count!(
        "limits.schedules_max",
        schedules_max,
        1,
        u32::MAX,
        "Schedules that may be pending, over all topics; more are refused (429). Each takes about 90 bytes of memory."
    ),
    bytes!(
        "limits.idempotency_bytes_max",
        idempotency_bytes_max,
        MIB,
        64 * GIB,
        "Memory that idempotency keys may take, over all topics; beyond that a commit with a new one is refused (429). Each takes about 300 bytes, and 48 for each further partition that its commit went to."
    ),
    bytes!(
        "limits.producer_bytes_max",
        producer_bytes_max,
        MIB,
        64 * GIB,
        "Memory that producers may take, over all topics; beyond that new ones are refused (429), and those that are known go on. Each takes 1 KiB, or more when its last commits went to many partitions."
    ),
    span!(
        "retention.interval",
        retention_interval,
        SECOND,
        DAY,
        "How often retention and compaction look at the topics."
    ),
    span!(
        "producers.idempotency_window",
        idempotency_window,
        SECOND,
        7 * DAY,
        "How long the idempotency keys of a topic are remembered. A repeat that comes later is a request of its own: clients must not retry for longer. The Rust client does for up to 150 s when it is told nothing else."
    ),
    span!(
        "producers.producer_window",
        producer_window,
        60 * SECOND,
        YEAR,
        "How long the sequence of a silent producer is remembered."
    ),
    flag!(
        "metrics.per_partition",
        metrics_per_partition,
        "Whether /metrics has series per partition."
    ),
    Key {
        name: "models.device",
        meaning: "The device that models run on: cpu (kernels of our own), or what this build has of burn's: flex, wgpu, vulkan, metal, cuda (cuda:1 for the second). The server does not start when it is not there.",
        set: |settings, value| {
            settings.models_device = device(value.text()?.trim())?;
            Ok(())
        },
        show: |settings| settings.models_device.clone(),
    },
    span!(
        "models.load_timeout",
        models_load_timeout,
        MS,
        DAY,
        "How long loading a model and running it for the first time may take. A model that takes longer is not registered (422), and a stage with it does not start."
    ),
    span!(
        "direct.timeout",
        direct_timeout,
        MS,
        HOUR,
        "How long a call of a model that is asked directly (/v2/models) may wait for a thread (429), and how long it may take then (504)."
    ),
    count!(
        "direct.queue_max",
        direct_queue_max,
        1,
        1 << 16,
        "Direct calls of one model that may wait for a thread; further ones are refused (429)."
    ),
    Key {
        name: "direct.threads",
        meaning: "Threads that run one model for those who ask it directly; auto: one for each core, less one.",
        set: |settings, value| {
            settings.direct_threads = match value {
                Value::Text(text) if text.trim() == AUTO => None,
                value => {
                    let count = value.count().map_err(|_| "write auto or a whole number")?;
                    Some(within(count, 1, DIRECT_THREADS_MAX, |n| n.to_string())?)
                }
            };
            Ok(())
        },
        show: |settings| settings.direct_threads.map_or_else(|| AUTO.to_owned(), |n| n.to_string()),
    },
    count!(
        "direct.models_max",
        direct_models_max,
        1,
        1 << 10,
        "Models that may be loaded at a time for direct calls. The one that was asked longest ago makes room; when all are in use a further one is refused (429)."
    ),
    span!(
        "direct.idle",
        direct_idle,
        SECOND,
        YEAR,
        "A model that was not asked directly for this long is dropped, unless a stage uses it."
    ),
    Key {
        name: "webhooks.private_networks",
        meaning: "Private networks that webhooks may call: none, all, or networks and addresses with commas, such as 10.1.0.0/16,127.0.0.1. Link-local addresses and those of cloud metadata are never called.",
        set: |settings, value| {
            settings.webhooks.private_networks = value.text()?.parse()?;
            Ok(())
        },
        show: |settings| settings.webhooks.private_networks.to_string(),
    },
    Key {
        name: "webhooks.ca_file",
        meaning: "Certificates (PEM) of authorities that webhooks trust beside those of the system; none: there is no such file.",
        set: |settings, value| {
            let text = value.text()?;
            settings.webhooks.ca_file = (text != "none").then(|| PathBuf::from(text));
            Ok(())
        },
        show: |settings| {
            let path = settings.webhooks.ca_file.as_ref();
            path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
        },
    },
    Key {
        name: "log.level",
        meaning: "What is logged: error, warn, info, debug or trace; or a filter such as info,embermq_storage=debug.",
        set: |settings, value| {
            let text = value.text()?;
            text.parse::<tracing_subscriber::EnvFilter>().map_err(|error| {
                format!("write error, warn, info, debug, trace or a filter ({error})")
            })?;
            // A filter would take a word that is none of the levels for the name of a module, and log nothing else.
            let bare = text.split(',').map(str::trim).filter(|part| !part.contains('='));
            let bare = bare.filter(|part| !text.contains('[') && part.parse::<u8>().is_err());
            let mut unknown = bare.filter(|part| {
                !part.contains("::") && !LEVELS.contains(&part.to_lowercase().as_str())
            });
            if let Some(part) = unknown.next() {
                return Err(format!(
                    "{part} is no level: write error, warn, info, debug, trace or off, or a filter such as info,embermq_storage=debug"
                ));
            }
            text.clone_into(&mut settings.log_level);
            Ok(())
        },
        show: |settings| settings.log_level.clone(),
    },
    Key {
        name: "log.format",
        meaning: "How log lines look: text for people, json for machines (one object a line). They go to standard error.",
        set: |settings, value| {
            settings.log_format = match value.text()? {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err("write text or json".to_owned()),
            };
            Ok(())
        },
        show: |settings| {
            match settings.log_format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }
            .to_owned()
        },
    },
];

fn within<T: PartialOrd + Copy>(
    value: T,
    least: T,
    most: T,
    show: fn(T) -> String,
) -> Result<T, String> {
    if value < least || value > most {
        return Err(format!("it must lie between {} and {}", show(least), show(most)));
    }
    Ok(value)
}

/// A device by its name, if this build has it.
#[cfg(feature = "inference")]
fn device(name: &str) -> Result<String, String> {
    let device = embermq_inference::Device::parse(name).map_err(|error| error.to_string())?;
    Ok(device.to_string())
}

/// Nothing runs in a program without inference, wherever that may be.
#[cfg(not(feature = "inference"))]
fn device(name: &str) -> Result<String, String> {
    Ok(name.to_owned())
}
