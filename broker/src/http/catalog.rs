//! Topics as the interfaces ask for them: the functions that REST and Connect share, in the messages of the contract.

use std::time::Duration;

use embermq_protocol::code::Code;
use embermq_protocol::limits::LIST_PAGE_MAX;
use embermq_protocol::names::TopicName;
use embermq_protocol::{time, v1};

use super::failure::Failure;
use super::shared::Shared;
use crate::{Cleanup, CommitError, Durability, Topic, TopicEdit, TopicSettings};

/// Reads a topic name.
pub(super) fn topic_name(name: &str) -> Result<TopicName, Failure> {
    TopicName::new(name).map_err(|error| Failure::new(Code::InvalidTopicName, error.to_string()))
}

/// Refuses to change a topic that is the broker's own.
pub(super) fn not_reserved(name: &TopicName) -> Result<(), Failure> {
    if !name.is_reserved() {
        return Ok(());
    }
    let detail = format!(
        "topic {name} is the broker's own, as all whose names begin with _: it can be read, and not be made, written, changed or deleted; \
         what it says is changed where it belongs (models with /v1/models, stages with /v1/stages)"
    );
    Err(Failure::new(Code::TopicReserved, detail).with("topic", name.as_str()))
}

/// Reads the name of a topic that is to be changed.
fn own_topic_name(name: &str) -> Result<TopicName, Failure> {
    let name = topic_name(name)?;
    not_reserved(&name)?;
    Ok(name)
}

/// `CreateTopic`.
pub(super) async fn create_topic(
    shared: &Shared,
    request: v1::CreateTopicRequest,
) -> Result<v1::CreateTopicResponse, Failure> {
    let name = own_topic_name(&request.topic)?;
    let settings = settings(request.settings.unwrap_or_default())?;
    let (topic, created) = shared.broker.create_topic(&name, settings).await?;
    Ok(v1::CreateTopicResponse { topic: Some(message(&topic, true)), created })
}

/// `GetTopic`.
pub(super) fn get_topic(
    shared: &Shared,
    request: &v1::GetTopicRequest,
) -> Result<v1::GetTopicResponse, Failure> {
    let name = topic_name(&request.topic)?;
    let topic = shared.broker.topic(&name).ok_or(CommitError::TopicNotFound { topic: name })?;
    Ok(v1::GetTopicResponse { topic: Some(message(&topic, true)) })
}

/// `ListTopics`. The page token is the last name of the page before.
pub(super) fn list_topics(
    shared: &Shared,
    request: &v1::ListTopicsRequest,
) -> v1::ListTopicsResponse {
    let page_size = match request.page_size {
        0 => LIST_PAGE_MAX,
        size => size.min(LIST_PAGE_MAX),
    };
    let wanted = |topic: &&std::sync::Arc<Topic>| {
        let name = topic.name.as_str();
        name.starts_with(&request.prefix) && name > request.page_token.as_str()
    };
    let all = shared.broker.topics();
    let mut rest = all.iter().filter(wanted);
    let topics: Vec<v1::Topic> =
        rest.by_ref().take(page_size as usize).map(|topic| message(topic, false)).collect();
    let more = rest.next().is_some();
    let last = topics.last().map(|topic| topic.name.clone());
    let next_page_token = last.filter(|_| more).unwrap_or_default();
    v1::ListTopicsResponse { topics, next_page_token }
}

/// `UpdateTopic`.
pub(super) async fn update_topic(
    shared: &Shared,
    request: v1::UpdateTopicRequest,
) -> Result<v1::UpdateTopicResponse, Failure> {
    let name = own_topic_name(&request.topic)?;
    let mut edit = edit(request.settings.unwrap_or_default())?;
    let now = shared.broker.topic(&name).map(|topic| topic.settings.cleanup);
    if edit.cleanup.or(now) == Some(Cleanup::Compact) {
        no_retention(&edit)?;
    } else if now == Some(Cleanup::Compact) && edit.retention_age.is_none() {
        return Err(retention_needed(&name));
    }
    if edit.cleanup == Some(Cleanup::Compact) {
        // What no longer applies is not shown any more.
        (edit.retention_age, edit.retention_bytes) = (Some(None), Some(None));
    }
    let topic = shared.broker.edit_topic(&name, edit).await?;
    Ok(v1::UpdateTopicResponse { topic: Some(message(&topic, true)) })
}

/// `DeleteTopic`.
pub(super) async fn delete_topic(
    shared: &Shared,
    request: v1::DeleteTopicRequest,
) -> Result<v1::DeleteTopicResponse, Failure> {
    let name = own_topic_name(&request.topic)?;
    shared.broker.delete_topic(&name).await?;
    Ok(v1::DeleteTopicResponse {})
}

/// Settings for a new topic: what is unset gets its default.
fn settings(message: v1::TopicSettings) -> Result<TopicSettings, Failure> {
    let mut settings = TopicSettings::default();
    let edit = edit(message)?;
    if edit.cleanup == Some(Cleanup::Compact) {
        no_retention(&edit)?;
        settings.retention_age = None;
    }
    settings.partitions = edit.partitions.unwrap_or(settings.partitions);
    settings.retention_age = edit.retention_age.unwrap_or(settings.retention_age);
    settings.retention_bytes = edit.retention_bytes.unwrap_or(settings.retention_bytes);
    settings.cleanup = edit.cleanup.unwrap_or(settings.cleanup);
    settings.tombstone_retention = edit.tombstone_retention.unwrap_or(settings.tombstone_retention);
    settings.durability = edit.durability.unwrap_or(settings.durability);
    settings.record_bytes_max = edit.record_bytes_max.unwrap_or(settings.record_bytes_max);
    Ok(settings)
}

/// Refuses a retention that would never be applied.
fn no_retention(edit: &TopicEdit) -> Result<(), Failure> {
    if edit.retention_age.flatten().is_none() && edit.retention_bytes.flatten().is_none() {
        return Ok(());
    }
    let detail = "a topic with compact keeps the latest record of each key for ever, so a retention would not be applied; leave out \
                  retention, or set compact to false";
    Err(Failure::invalid(detail).with("field", "retention"))
}

/// Refuses to guess how long the records of a topic are kept that had no retention while it was compacted.
fn retention_needed(name: &TopicName) -> Failure {
    let detail = format!(
        "topic {name} has no retention while it is compacted, and needs one when compact becomes false: send it along, as \
         {{\"age\":\"7d\"}}, or as {{\"age\":null,\"bytes\":null}} to keep all records"
    );
    Failure::invalid(detail).with("field", "retention")
}

fn edit(message: v1::TopicSettings) -> Result<TopicEdit, Failure> {
    let durability = durability(message.durability)?;
    let (retention_age, retention_bytes) = match message.retention {
        Some(retention) => {
            let age = retention.age.map(|age| span("retention.age", age)).transpose()?;
            (Some(age), Some(retention.bytes))
        }
        None => (None, None),
    };
    let tombstone_retention = message
        .tombstone_retention
        .map(|retention| span("tombstone_retention", retention))
        .transpose()?;
    Ok(TopicEdit {
        partitions: message.partitions,
        retention_age,
        retention_bytes,
        cleanup: message.compact.map(
            |compact| {
                if compact { Cleanup::Compact } else { Cleanup::Delete }
            },
        ),
        tombstone_retention,
        durability,
        record_bytes_max: message.record_bytes_max,
    })
}

fn span(name: &str, duration: time::Duration) -> Result<Duration, Failure> {
    Duration::try_from(duration)
        .map_err(|error| Failure::invalid(format!("{name}: {error}")).with("field", name))
}

/// Reads a durability; none when it is unset.
pub(super) fn durability(value: i32) -> Result<Option<Durability>, Failure> {
    match v1::Durability::try_from(value) {
        Ok(v1::Durability::Unspecified) => Ok(None),
        Ok(v1::Durability::Fsync) => Ok(Some(Durability::Fsync)),
        Ok(v1::Durability::Os) => Ok(Some(Durability::Os)),
        Err(_) => {
            Err(Failure::invalid(format!("there is no durability {value}: 1 is fsync, 2 is os")))
        }
    }
}

/// A topic as a message; lists leave the partitions out.
fn message(topic: &Topic, with_partitions: bool) -> v1::Topic {
    let settings = &topic.settings;
    let partitions = if with_partitions { topic.partitions.as_slice() } else { &[] };
    let partitions = partitions.iter().zip(0..).map(|(partition, number)| v1::PartitionInfo {
        partition: number,
        start_offset: partition.start().0,
        end_offset: partition.end().0,
        bytes: partition.reader.bytes(),
    });
    v1::Topic {
        name: topic.name.as_str().to_owned(),
        settings: Some(v1::TopicSettings {
            partitions: Some(settings.partitions),
            retention: Some(v1::Retention {
                age: settings.retention_age.map(time::Duration::from),
                bytes: settings.retention_bytes,
            }),
            compact: Some(settings.cleanup == Cleanup::Compact),
            tombstone_retention: Some(settings.tombstone_retention.into()),
            durability: match settings.durability {
                Durability::Fsync => v1::Durability::Fsync.into(),
                Durability::Os => v1::Durability::Os.into(),
            },
            record_bytes_max: Some(settings.record_bytes_max),
        }),
        create_time: Some(time::Timestamp::from_micros(topic.created.0)),
        partitions: partitions.collect(),
    }
}
