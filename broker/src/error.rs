//! What can go wrong, by area. Each error says whether trying again can help.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::disk::is_too_many_open;
use embermq_storage::segment::ReadError as SegmentReadError;
use embermq_storage::{Offset, Position};

use crate::commit::KeyExpectation;
use crate::keys::NoKey;
use crate::topic::PartitionId;

/// Why a data folder could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error(transparent)]
    Locked(#[from] embermq_storage::lock::LockError),
    /// The operating system refused.
    #[error("cannot use the data folder {dir}: {source}")]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// There is no room for what a start has to write, or no more files can be opened; what is there is sound as far as it was read.
    #[error(
        "the data folder {dir} cannot be opened now: {detail}; what is there was not changed: start again afterwards"
    )]
    NoRoom {
        /// The folder.
        dir: PathBuf,
        /// What was needed, and what there is.
        detail: String,
    },
    /// What is on disk cannot be trusted; nothing was changed.
    #[error(
        "the data folder {dir} is damaged: {detail}; run `embermq verify --data {dir}` for every position"
    )]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// File, position and reason.
        detail: String,
    },
}

/// Why a commit had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// There is no such topic.
    #[error("there is no topic \"{topic}\"{}", creation_text(topic))]
    TopicNotFound {
        /// Its name.
        topic: TopicName,
    },
    /// The topic has fewer partitions.
    #[error("topic {topic} has {partitions} partitions, numbered from 0: there is no partition {}", partition.0)]
    PartitionNotFound {
        /// The topic.
        topic: TopicName,
        /// What was asked for.
        partition: PartitionId,
        /// How many there are.
        partitions: u32,
    },
    /// The commit holds nothing.
    #[error(
        "there is nothing to commit: a request to produce needs at least one record, a commit at least one record, settlement or cancel"
    )]
    Empty,
    /// A batch does not fit.
    #[error(
        "a batch of {bytes} bytes is over the limit of {limit} bytes for one commit; send less at a time"
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Another writer was first.
    #[error("next offset of {topic}/{} expected {expected}, is {actual}", partition.0)]
    OffsetConflict {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What the precondition said.
        expected: Offset,
        /// What is.
        actual: Offset,
    },
    /// Another writer was first with this key.
    #[error(transparent)]
    KeyConflict(Box<KeyConflict>),
    /// Records of the key came in between, again and again.
    #[error("other writers kept changing what the commit has preconditions on; try again")]
    KeyContended,
    /// What the version of a key is cannot be known any more.
    #[error("the version of a key of topic {topic} cannot be known: {detail}")]
    KeyUnknown {
        /// The topic.
        topic: TopicName,
        /// What is damaged.
        detail: String,
    },
    /// The idempotency key was used for something else.
    #[error(
        "the idempotency key {key:?} was used on topic {topic} with another payload; use a new key"
    )]
    IdempotencyKeyReused {
        /// The topic.
        topic: TopicName,
        /// The key.
        key: String,
    },
    /// A newer epoch of the producer exists.
    #[error("producer {producer} has epoch {current}; epoch {epoch} is fenced")]
    Fenced {
        /// The producer.
        producer: u64,
        /// What was sent.
        epoch: u32,
        /// What is.
        current: u32,
    },
    /// Something the producer sent before has not arrived, or is too old to be repeated.
    #[error("producer {producer}: sequence expected {expected}, received {received}")]
    SequenceGap {
        /// The producer.
        producer: u64,
        /// What the next commit must have.
        expected: u64,
        /// What it had.
        received: u64,
    },
    /// A request that can never be right, with the reason.
    #[error("{detail}")]
    Invalid {
        /// What is wrong and what would be right.
        detail: String,
    },
    /// The topic exists with other settings.
    #[error("topic {topic} exists with other settings: {detail}")]
    TopicExists {
        /// The topic.
        topic: TopicName,
        /// The difference.
        detail: String,
    },
    /// The topic has no group of this name.
    #[error(
        "topic {topic} has no group \"{group}\"; a lease creates it, or PUT /v1/topics/{topic}/groups/{group}"
    )]
    GroupNotFound {
        /// The topic.
        topic: TopicName,
        /// The name.
        group: GroupName,
    },
    /// The group exists with other settings.
    #[error("group {group} of topic {topic} exists with other settings: {detail}")]
    GroupExists {
        /// The topic.
        topic: TopicName,
        /// The group.
        group: GroupName,
        /// The difference.
        detail: String,
    },
    /// A text is no lease token of the group.
    #[error("settlement {index}: {detail}")]
    InvalidLeaseToken {
        /// Which settlement, from 0.
        index: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// A lease is not the caller's any more.
    #[error("settlement {index}: {detail}; nothing was changed")]
    LeaseLost {
        /// Which settlement, from 0.
        index: usize,
        /// What is true of the record now.
        detail: String,
    },
    /// A scheduled append is not pending.
    #[error(
        "topic {topic} has nothing scheduled as {schedule}: it was delivered or cancelled, or it never was; nothing was changed"
    )]
    ScheduleNotFound {
        /// The topic.
        topic: TopicName,
        /// The id.
        schedule: String,
    },
    /// So many schedules are pending that no more are taken.
    #[error(
        "{pending} schedules are pending, and at most {limit} may be (limits.schedules_max); cancel some, or wait until some are delivered"
    )]
    TooManySchedules {
        /// Pending now, over all topics.
        pending: u64,
        /// The limit.
        limit: u32,
    },
    /// So much is remembered of idempotency keys that no further one is taken. Repeats with those that are known get their
    /// answers.
    #[error(
        "idempotency keys take {kept_bytes} bytes of memory, and at most {limit_bytes} may be taken \
         (limits.idempotency_bytes_max), so that this one could not be remembered; nothing was changed; try again in {} s, \
         when some are forgotten", seconds(*retry_after)
    )]
    TooManyIdempotencyKeys {
        /// What they take now, over all topics.
        kept_bytes: u64,
        /// The limit.
        limit_bytes: u64,
        /// When the next one is forgotten.
        retry_after: Duration,
    },
    /// So much is remembered of producers that no further one is taken. Those that are known go on.
    #[error(
        "producers take {kept_bytes} bytes of memory, and at most {limit_bytes} may be taken \
         (limits.producer_bytes_max), so that what this one has sent could not be remembered; nothing was changed; \
         go on with the id of a producer that is known, or try again in {} s, when some are forgotten", seconds(*retry_after)
    )]
    TooManyProducers {
        /// What they take now, over all topics.
        kept_bytes: u64,
        /// The limit.
        limit_bytes: u64,
        /// When the next one is forgotten, if it stays silent.
        retry_after: Duration,
    },
    /// The group was deleted while something was asked of it.
    #[error("the group was deleted meanwhile")]
    GroupGone,
    /// A record that is needed cannot be read now.
    #[error("a record cannot be read: {detail}; try again")]
    ReadFailed {
        /// What the operating system said.
        detail: String,
    },
    /// The settings of a group changed while a lease was being settled.
    #[error("settlement {index}: the settings of its group changed meanwhile; try again")]
    GroupChanged {
        /// Which settlement, from 0.
        index: usize,
    },
    /// Too much is waiting to be written.
    #[error("{waiting_bytes} bytes wait to be written, the limit is {limit_bytes}; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// Queued now.
        waiting_bytes: u64,
        /// The limit.
        limit_bytes: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full. Nothing was lost; reading and deleting go on.
    #[error(
        "the data folder has {free_bytes} bytes free, {detail}; delete or shorten a topic, or add space"
    )]
    StorageFull {
        /// What the file system says.
        free_bytes: u64,
        /// What was needed, and for what.
        detail: String,
    },
    /// No more files can be opened. Nothing was lost.
    #[error("{detail}; then try again")]
    TooManyOpenFiles {
        /// What the operating system said, and which limit to raise.
        detail: String,
    },
    /// The shard met an I/O error and will not promise anything until it is restarted.
    #[error(
        "storage failed ({cause}): nothing is acknowledged any more; check the device, then restart"
    )]
    Poisoned {
        /// The first error.
        cause: String,
    },
    /// The data folder was opened read-only because of damage.
    #[error(
        "the log is damaged at position {position}: writes are refused until the loss is accepted (serve --accept-loss)"
    )]
    ReadOnly {
        /// The first damaged position.
        position: Position,
    },
    /// The broker is shutting down.
    #[error("the broker is shutting down; try again when it is back")]
    ShuttingDown,
}

impl CommitError {
    /// Of a record that is needed, and that cannot be read now.
    pub(crate) fn unreadable(error: &SegmentReadError) -> Self {
        match error {
            SegmentReadError::Io { source, .. } if is_too_many_open(source) => {
                Self::TooManyOpenFiles { detail: source.to_string() }
            }
            other => Self::ReadFailed { detail: other.to_string() },
        }
    }

    /// True when the same commit may succeed later without anyone changing it.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Overloaded { .. }
                | Self::TooManySchedules { .. }
                | Self::TooManyIdempotencyKeys { .. }
                | Self::TooManyProducers { .. }
                | Self::StorageFull { .. }
                | Self::TooManyOpenFiles { .. }
                | Self::GroupChanged { .. }
                | Self::KeyContended
                | Self::ReadFailed { .. }
                | Self::ShuttingDown
        )
    }
}

/// Whole seconds, not too few.
const fn seconds(time: Duration) -> u64 {
    time.as_secs() + (time.subsec_nanos() > 0) as u64
}

/// The latest record of a key is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key \"{}\" of {topic}/{}: {}, {}{}", key.escape_ascii(), partition.0, expected_text(*expected), actual_text(*actual), own_text(*own, *partition))]
pub struct KeyConflict {
    /// The topic.
    pub topic: TopicName,
    /// The partition that has the latest record, if any has one.
    pub partition: PartitionId,
    /// The one that the precondition speaks of: the key's own, or the one that was named.
    pub own: PartitionId,
    /// The key.
    pub key: Bytes,
    /// What the precondition said.
    pub expected: KeyExpectation,
    /// The offset of the latest record; `None`: there is none.
    pub actual: Option<Offset>,
}

fn expected_text(expected: KeyExpectation) -> String {
    match expected {
        KeyExpectation::Absent => "no record expected".to_owned(),
        KeyExpectation::Version(offset) => format!("version {offset} expected"),
    }
}

fn own_text(own: PartitionId, partition: PartitionId) -> String {
    if own == partition {
        return String::new();
    }
    let (own, partition) = (own.0, partition.0);
    format!(
        " there, and partition {own}, its own, has no record; name partition {partition} to go on there"
    )
}

fn actual_text(actual: Option<Offset>) -> String {
    actual.map_or_else(|| "has no record".to_owned(), |offset| format!("is {offset}"))
}

/// How there would be one.
fn creation_text(topic: &TopicName) -> String {
    if topic.is_reserved() {
        return ": names that begin with _ are the broker's own, and it makes them when it needs them"
            .to_owned();
    }
    format!("; create it with PUT /v1/topics/{topic}")
}

fn held_text(start: Offset, end: Offset) -> String {
    match end.0.checked_sub(1) {
        Some(last) if start < end => {
            format!("holds offsets {start} to {last}, and the next record gets {end}")
        }
        _ => format!("holds no records, and the next one gets {end}"),
    }
}

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such topic.
    #[error("there is no topic \"{topic}\"{}", creation_text(topic))]
    TopicNotFound {
        /// Its name.
        topic: TopicName,
    },
    /// The topic has fewer partitions.
    #[error("topic {topic} has {partitions} partitions, numbered from 0: there is no partition {}", partition.0)]
    PartitionNotFound {
        /// The topic.
        topic: TopicName,
        /// What was asked for.
        partition: PartitionId,
        /// How many there are.
        partitions: u32,
    },
    /// The records were deleted by retention.
    #[error("offset {from} was deleted: {topic}/{} {}", partition.0, held_text(*start, *end))]
    OffsetExpired {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What was asked for.
        from: Offset,
        /// The first that is there.
        start: Offset,
        /// One past the last.
        end: Offset,
    },
    /// The offset lies beyond the end.
    #[error("offset {from} is beyond the end: {topic}/{} {}", partition.0, held_text(*start, *end))]
    OffsetBeyondEnd {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What was asked for.
        from: Offset,
        /// The first that is there.
        start: Offset,
        /// One past the last.
        end: Offset,
    },
    /// The bytes on disk are not what was written. They are not served; what follows them is.
    #[error("offsets {first} to {next} of {topic}/{} are damaged: {detail}; records from offset {next} on can be read", partition.0)]
    DataLoss {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// The first offset that cannot be read.
        first: Offset,
        /// The first one behind the damage.
        next: Offset,
        /// File, position and reason.
        detail: String,
    },
    /// The key has no record, or none any more.
    #[error("{0}")]
    KeyNotFound(Box<NoKey>),
    /// A question that can never be right, with the reason.
    #[error("{detail}")]
    Invalid {
        /// What is wrong and what would be right.
        detail: String,
    },
    /// A file that has the records cannot be opened now.
    #[error("reading {topic}/{} needs one more file: {detail}; then try again", partition.0)]
    TooManyOpenFiles {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What the operating system said, and which limit to raise.
        detail: String,
    },
    /// The operating system refused.
    #[error("reading {topic}/{} failed: {detail}", partition.0)]
    Io {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// What it said.
        detail: String,
    },
    /// The broker is shutting down.
    #[error("the broker is shutting down; try again when it is back")]
    ShuttingDown,
}

impl ReadError {
    /// True when the same read may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::ShuttingDown | Self::TooManyOpenFiles { .. } | Self::Io { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_partition_holds_ends_before_its_end() {
        assert!(held_text(Offset(0), Offset(1)).starts_with("holds offsets 0 to 0, "));
        assert!(held_text(Offset(3), Offset(3)).starts_with("holds no records"));
        assert!(held_text(Offset(0), Offset(0)).ends_with("gets 0"));
    }
}
