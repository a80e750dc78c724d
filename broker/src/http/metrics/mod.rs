//! `/metrics`: OpenMetrics text. Nothing is counted here; each scrape samples the broker.

mod page;
mod stages;
mod webhooks;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use embermq_protocol::code::Code;
use embermq_protocol::media::OPENMETRICS;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use self::page::Page;
use super::failure::Failure;
use super::held::Counted;
use super::shared::Shared;
use crate::{GroupInfo, Partition, ScheduleCounts, Topic};

/// No labels.
const NONE: [(&str, &str); 0] = [];
/// The only shard there is.
const SHARD: [(&str, &str); 1] = [("shard", "0")];

/// `GET /metrics`.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Failure> {
    shared.answers.room_to_look()?;
    let answers = shared.answers.clone();
    // A broker that is closing has no groups to show, and still has metrics.
    let groups = shared.broker.groups(None).await.unwrap_or_default();
    let mut registry = Registry::with_prefix("embermq");
    registry.register_collector(Box::new(Sample { shared, groups }));
    let mut page = String::new();
    text::encode(&mut page, &registry).map_err(|error| {
        Failure::new(Code::Internal, format!("metrics cannot be written: {error}"))
    })?;
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(OPENMETRICS));
    let mut response = ([kind], answers.hold(page.into())).into_response();
    response.extensions_mut().insert(Counted);
    Ok(response)
}

#[derive(Debug)]
struct Sample {
    shared: Arc<Shared>,
    groups: Vec<GroupInfo>,
}

impl Collector for Sample {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shared = &self.shared;
        let mut page = Page::new(encoder);
        let topics = shared.broker.topics();
        core(&mut page, shared)?;
        connections(&mut page, shared)?;
        by_topic(&mut page, &topics)?;
        scheduled(&mut page, shared, &topics)?;
        by_group(&mut page, &self.groups)?;
        if let Some(serving) = &shared.serving {
            let (samples, listed) = (serving.stages.samples(), serving.stages.list());
            stages::by_stage(&mut page, &samples, &listed, &self.groups)?;
            stages::by_model(&mut page, &serving.models.loaded())?;
        }
        if let Some(all) = &shared.webhooks {
            webhooks::by_webhook(&mut page, &all.counters(), &self.groups)?;
        }
        if shared.options.metrics_per_partition {
            by_partition(&mut page, &topics)?;
        }
        Ok(())
    }
}

fn core(page: &mut Page<'_>, shared: &Shared) -> fmt::Result {
    let status = shared.broker.status();
    let metrics = shared.broker.metrics();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.gauges("build_info", "The version that runs", [(version, 1_u64)].into_iter())?;
    let appends = [("fsync", &metrics.append_fsync), ("os", &metrics.append_os)]
        .map(|(durability, histogram)| ([("durability", durability)], histogram));
    page.histograms(
        "append_duration_seconds",
        "From the arrival of a commit to its acknowledgement",
        appends.into_iter(),
    )?;
    page.histograms(
        "fsync_duration_seconds",
        "One sync of the commit log",
        [(NONE, &metrics.fsync)].into_iter(),
    )?;
    page.histograms(
        "commits_per_sync",
        "Commits that shared one write and sync",
        [(NONE, &metrics.commits_per_group)].into_iter(),
    )?;
    let counters = [
        ("commits", "Commits that took effect", &metrics.commits),
        ("commits_refused", "Commits that were refused", &metrics.commits_refused),
        ("snapshots", "Snapshots of the state that were written", &metrics.snapshots),
        ("segments_removed", "Segments that retention removed", &metrics.segments_removed),
        ("segments_compacted", "Segments that compaction rewrote", &metrics.segments_compacted),
    ];
    for (name, help, counter) in counters {
        page.counters(name, help, [(NONE, counter.load(Relaxed))].into_iter())?;
    }
    let gauges = [
        (
            "shard_poisoned",
            "1 when storage failed and nothing is acknowledged",
            status.poisoned.is_some().into(),
        ),
        (
            "shard_read_only",
            "1 when the log is damaged and writes are refused",
            status.read_only.is_some().into(),
        ),
        (
            "storage_full",
            "1 when producing is refused for want of space",
            status.storage_full.into(),
        ),
        ("commit_log_start_position", "Where the commit log begins", status.log_start.0),
        (
            "commit_log_durable_position",
            "Up to where the commit log is durable",
            status.log_durable.0,
        ),
        ("commit_log_end_position", "Where the commit log ends", status.log_end.0),
        (
            "idempotency_bytes",
            "What idempotency keys take of limits.idempotency_bytes_max",
            status.idempotency_bytes,
        ),
        (
            "producer_bytes",
            "What producers take of limits.producer_bytes_max",
            status.producer_bytes,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauges(name, help, [(SHARD, value)].into_iter())?;
    }
    page.gauges(
        "answer_bytes",
        "Bytes of answers that clients have not taken yet",
        [(NONE, shared.answers.held())].into_iter(),
    )?;
    page.gauges(
        "disk_free_bytes",
        "Free space of the data folder's file system",
        [(NONE, status.free_bytes)].into_iter(),
    )
}

fn connections(page: &mut Page<'_>, shared: &Shared) -> fmt::Result {
    let (served, max) = (shared.connections.load(Relaxed), shared.options.connections_max);
    for (name, help, value) in [
        ("connections", "Connections that are served", served),
        ("connections_max", "Connections that are served at a time; others wait", max),
    ] {
        page.gauges(name, help, [(NONE, value as u64)].into_iter())?;
    }
    Ok(())
}

fn by_topic(page: &mut Page<'_>, topics: &[Arc<Topic>]) -> fmt::Result {
    type Pick = fn(&Topic) -> u64;
    let counters: [(&str, &str, Pick); 5] = [
        ("records_in", "Records appended", |topic| topic.counters.records_in.load(Relaxed)),
        ("bytes_in", "Bytes of batches appended", |topic| topic.counters.bytes_in.load(Relaxed)),
        ("records_out", "Records read", |topic| topic.counters.records_out.load(Relaxed)),
        ("bytes_out", "Bytes of batches read", |topic| topic.counters.bytes_out.load(Relaxed)),
        (
            "records_passed_over",
            "Records that groups passed over since they are damaged or missing",
            |topic| topic.counters.records_passed_over.load(Relaxed),
        ),
    ];
    for (name, help, pick) in counters {
        let series = topics.iter().map(|topic| ([("topic", topic.name.as_str())], pick(topic)));
        page.counters(name, help, series)?;
    }
    Ok(())
}

/// Only topics that ever had something scheduled have these series.
fn scheduled(page: &mut Page<'_>, shared: &Shared, topics: &[Arc<Topic>]) -> fmt::Result {
    let counts = topics.iter().filter_map(|topic| {
        Some((topic.name.as_str().to_owned(), shared.broker.schedule_counts(topic)?))
    });
    let counts: Vec<(String, ScheduleCounts)> = counts.collect();
    let labels = |name: &String| [("topic", name.clone())];
    page.gauges(
        "scheduled_records",
        "Records that are to appear later",
        counts.iter().map(|(name, counts)| (labels(name), counts.pending_records)),
    )?;
    page.gauges(
        "schedules_pending",
        "Schedules that these records are in",
        counts.iter().map(|(name, counts)| (labels(name), counts.pending)),
    )?;
    page.counters(
        "scheduled_records_delivered",
        "Records that appeared at their time",
        counts.iter().map(|(name, counts)| (labels(name), counts.delivered_records)),
    )
}

fn by_group(page: &mut Page<'_>, groups: &[GroupInfo]) -> fmt::Result {
    type Pick = fn(&GroupInfo) -> u64;
    let labels = |group: &GroupInfo| {
        [("topic", group.topic.as_str().to_owned()), ("group", group.group.as_str().to_owned())]
    };
    let gauges: [(&str, &str, Pick); 5] = [
        ("group_lag_records", "Records that are not done", |group| group.lag_records),
        ("group_in_flight", "Records that are leased", |group| group.in_flight),
        ("group_waiting", "Records that wait for their next attempt", |group| group.waiting),
        ("group_held", "Records that wait behind another of their key", |group| group.held),
        ("group_dead", "Dead letters that were neither redriven nor dropped", |group| group.dead),
    ];
    for (name, help, pick) in gauges {
        page.gauges(name, help, groups.iter().map(|group| (labels(group), pick(group))))?;
    }
    let age = |group: &GroupInfo| group.lag.unwrap_or_default().as_secs_f64();
    page.gauges(
        "group_lag_seconds",
        "Age of the oldest record that is not done",
        groups.iter().map(|group| (labels(group), age(group))),
    )
}

fn by_partition(page: &mut Page<'_>, topics: &[Arc<Topic>]) -> fmt::Result {
    type Pick = fn(&Partition) -> u64;
    let gauges: [(&str, &str, Pick); 3] = [
        ("log_start_offset", "The first offset that can be read", |partition| partition.start().0),
        ("log_end_offset", "The offset that the next record gets", |partition| partition.end().0),
        ("log_size_bytes", "Bytes of the partition's segments", |partition| {
            partition.reader.bytes()
        }),
    ];
    for (name, help, pick) in gauges {
        let series = topics.iter().flat_map(|topic| {
            topic.partitions.iter().enumerate().map(move |(number, partition)| {
                let labels =
                    [("topic", topic.name.as_str().to_owned()), ("partition", number.to_string())];
                (labels, pick(partition))
            })
        });
        page.gauges(name, help, series)?;
    }
    Ok(())
}

/// How far something that reads a topic is behind, in records and seconds.
fn lags(
    page: &mut Page<'_>,
    what: &str,
    readers: &[([(&'static str, String); 1], &GroupInfo)],
) -> fmt::Result {
    page.gauges(
        &format!("{what}_lag_records"),
        "Records of the topic that are not done",
        readers.iter().map(|(labels, group)| (labels.clone(), group.lag_records)),
    )?;
    let age = |group: &GroupInfo| group.lag.unwrap_or_default().as_secs_f64();
    page.gauges(
        &format!("{what}_lag_seconds"),
        "Age of the oldest of them",
        readers.iter().map(|(labels, group)| (labels.clone(), age(group))),
    )
}
