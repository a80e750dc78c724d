//! Dead letters: the whole record, as it was produced, with the history of its failing in `x-dead-*` headers.

use bytes::Bytes;
use embermq_protocol::limits::DEAD_ERROR_BYTES_MAX;
use embermq_protocol::names::TopicName;
use embermq_protocol::v1::{Header, Record};
use embermq_storage::{Offset, Timestamp};

use crate::commit::{Append, Batch};
use crate::topic::PartitionId;

/// All of these headers begin so.
pub(super) const PREFIX: &str = "x-dead-";
/// `rejected`, `failed` (its last attempt) or `lapsed` (its last lease).
pub(super) const REASON: &str = "x-dead-reason";
/// What its holder said.
pub(super) const ERROR: &str = "x-dead-error";
pub(super) const GROUP: &str = "x-dead-group";
pub(super) const TOPIC: &str = "x-dead-topic";
pub(super) const PARTITION: &str = "x-dead-partition";
pub(super) const OFFSET: &str = "x-dead-offset";

/// Says, as `topic/group`, which group alone a record of this topic is for: it was redriven after its origin was gone.
pub(crate) const ONLY_FOR: &str = embermq_protocol::headers::REDRIVE_GROUP;

/// Dead letters go here, so that their offsets alone say which one is meant.
pub(super) const LETTER_PARTITION: PartitionId = PartitionId(0);

/// Why a record is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Rejected,
    Failed,
    Lapsed,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Lapsed => "lapsed",
        }
    }
}

/// What a dead letter says of the record.
#[derive(Clone, Debug)]
pub(super) struct History<'a> {
    pub(super) reason: Reason,
    pub(super) error: &'a str,
    pub(super) attempts: u32,
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition: PartitionId,
    pub(super) offset: Offset,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// The letter for a record; for one that is not there any more it has no value.
pub(super) fn letter(record: Option<Record>, history: &History<'_>, to: TopicName) -> Append {
    let mut record = record.unwrap_or_default();
    record.headers.retain(|header| !header.name.starts_with(PREFIX) && header.name != ONLY_FOR);
    let cut = history.error.floor_char_boundary(DEAD_ERROR_BYTES_MAX);
    let error = history.error.get(..cut).unwrap_or_default();
    let time = |time: Timestamp| embermq_protocol::time::Timestamp::from_micros(time.0).to_string();
    let mut add = |name: &str, value: String| {
        record.headers.push(Header { name: name.to_owned(), value: Bytes::from(value) });
    };
    add(REASON, history.reason.text().to_owned());
    if !error.is_empty() {
        add(ERROR, error.to_owned());
    }
    add("x-dead-attempts", history.attempts.to_string());
    add(GROUP, history.group.to_owned());
    add(TOPIC, history.topic.to_owned());
    add(PARTITION, history.partition.0.to_string());
    add(OFFSET, history.offset.0.to_string());
    add("x-dead-first-time", time(history.first));
    add("x-dead-last-time", time(history.last));
    Append { topic: to, partition: LETTER_PARTITION, batch: Batch::of(&[record]) }
}

/// Whether a record is the dead letter of this one.
pub(crate) fn is_letter_of(
    record: &Record,
    (topic, group): (&str, &str),
    (partition, offset): (PartitionId, Offset),
) -> bool {
    header(record, TOPIC) == Some(topic)
        && header(record, GROUP) == Some(group)
        && header(record, PARTITION) == Some(&*partition.0.to_string())
        && header(record, OFFSET) == Some(&*offset.0.to_string())
}

/// The text of a header, if the record has it.
pub(super) fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let header = record.headers.iter().find(|header| header.name == name)?;
    std::str::from_utf8(&header.value).ok()
}
