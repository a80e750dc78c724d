//! What a request failed with. Every failure of every route goes through here: a problem with a code of the one enum, a
//! detail for people, facts for programs. It travels in the response's extensions and is rendered once, at the edge,
//! as problem+json (REST) or as a Connect error.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use embermq_protocol::batch::FormError;
use embermq_protocol::code::Code;
use embermq_protocol::problem::Problem;
use serde_json::Value;

use crate::{CommitError, KeyExpectation, ReadError};

/// When to try again after a failure that says no time of its own.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A failure. Boxed: it is the rare case.
#[derive(Clone, Debug)]
pub(super) struct Failure(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    problem: Problem,
    /// A header that belongs to the answer, such as `Allow`.
    header: Option<(HeaderName, HeaderValue)>,
}

impl Failure {
    /// A failure with a code and a detail that says what happened, the limit, and what to do.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let mut problem = Problem::new(code, detail);
        if code.retryable() {
            problem = problem.with_retry_after(RETRY_AFTER);
        }
        Self(Box::new(Inner { problem, header: None }))
    }

    /// A request that is wrong in itself.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, detail)
    }

    /// A body that is wrong in itself.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::MalformedBody, detail)
    }

    /// Adds a fact for programs.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.problem.details.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the key that it is about, as records show theirs.
    fn with_key(self, key: &[u8]) -> Self {
        match std::str::from_utf8(key) {
            Ok(text) => self.with("key", text),
            Err(_) => self.with("key", STANDARD.encode(key)).with("key_encoding", "base64"),
        }
    }

    /// Adds a header to the answer.
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.problem = self.0.problem.with_retry_after(after);
        self
    }

    /// What is known.
    pub(super) fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// The header that belongs to the answer.
    pub(super) fn header(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.0.header.as_ref()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<FormError> for Failure {
    fn from(error: FormError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error {
            FormError::RecordTooLarge { record, limit, .. } => {
                failure.with("index", record).with("limit_bytes", limit)
            }
            FormError::TooManyHeaders { record } | FormError::HeaderName { record } => {
                failure.with("index", record)
            }
            _ => failure,
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        let failure = Self::new(code_of_commit(&error), error.to_string());
        match error {
            CommitError::TopicNotFound { topic } => failure.with("topic", topic.as_str()),
            CommitError::PartitionNotFound { topic, partitions, .. } => {
                failure.with("topic", topic.as_str()).with("partitions", partitions)
            }
            CommitError::GroupNotFound { topic, group } => {
                failure.with("topic", topic.as_str()).with("group", group.as_str())
            }
            CommitError::InvalidLeaseToken { index, .. } | CommitError::LeaseLost { index, .. } => {
                failure.with("index", index)
            }
            CommitError::ScheduleNotFound { topic, schedule } => {
                failure.with("topic", topic.as_str()).with("schedule", schedule)
            }
            CommitError::TooManySchedules { pending, limit } => {
                failure.with("pending", pending).with("limit", limit)
            }
            CommitError::TooManyIdempotencyKeys { kept_bytes, limit_bytes, retry_after }
            | CommitError::TooManyProducers { kept_bytes, limit_bytes, retry_after } => failure
                .with("kept_bytes", kept_bytes)
                .with("limit_bytes", limit_bytes)
                .with_retry_after(retry_after),
            CommitError::TooLarge { limit, .. } => failure.with("limit_bytes", limit),
            CommitError::OffsetConflict { topic, partition, expected, actual } => failure
                .with("topic", topic.as_str())
                .with("partition", partition.0)
                .with("expected_next_offset", expected.0)
                .with("next_offset", actual.0),
            CommitError::KeyConflict(conflict) => {
                let expected = match conflict.expected {
                    KeyExpectation::Absent => Value::Null,
                    KeyExpectation::Version(offset) => offset.0.into(),
                };
                let actual = conflict.actual.map(|offset| offset.0);
                failure
                    .with("topic", conflict.topic.as_str())
                    .with("partition", conflict.partition.0)
                    .with("own_partition", conflict.own.0)
                    .with_key(&conflict.key)
                    .with("expected_key_version", expected)
                    .with("key_version", actual)
            }
            CommitError::Fenced { current, .. } => failure.with("current_epoch", current),
            CommitError::SequenceGap { expected, received, .. } => {
                failure.with("expected_sequence", expected).with("received_sequence", received)
            }
            CommitError::Overloaded { retry_after, .. } => failure.with_retry_after(retry_after),
            CommitError::StorageFull { free_bytes, .. } => failure.with("free_bytes", free_bytes),
            _ => failure,
        }
    }
}

const fn code_of_commit(error: &CommitError) -> Code {
    match error {
        CommitError::TopicNotFound { .. } => Code::TopicNotFound,
        CommitError::PartitionNotFound { .. } => Code::PartitionNotFound,
        CommitError::Empty | CommitError::Invalid { .. } => Code::InvalidArgument,
        CommitError::TooLarge { .. } => Code::BodyTooLarge,
        CommitError::OffsetConflict { .. } => Code::OffsetConflict,
        CommitError::KeyConflict(_) => Code::KeyConflict,
        CommitError::IdempotencyKeyReused { .. } => Code::IdempotencyKeyReused,
        CommitError::Fenced { .. } => Code::Fenced,
        CommitError::SequenceGap { .. } => Code::SeqGap,
        CommitError::TopicExists { .. } => Code::TopicExists,
        CommitError::Overloaded { .. }
        | CommitError::TooManyOpenFiles { .. }
        | CommitError::GroupChanged { .. }
        | CommitError::KeyContended => Code::Overloaded,
        CommitError::StorageFull { .. } => Code::StorageFull,
        CommitError::Poisoned { .. } | CommitError::ReadFailed { .. } => Code::StorageFailed,
        CommitError::ReadOnly { .. } | CommitError::KeyUnknown { .. } => Code::DataDamaged,
        CommitError::GroupNotFound { .. } | CommitError::GroupGone => Code::GroupNotFound,
        CommitError::GroupExists { .. } => Code::GroupExists,
        CommitError::InvalidLeaseToken { .. } => Code::InvalidLeaseToken,
        CommitError::LeaseLost { .. } => Code::LeaseLost,
        CommitError::ScheduleNotFound { .. } => Code::ScheduleNotFound,
        CommitError::TooManySchedules { .. } => Code::TooManySchedules,
        CommitError::TooManyIdempotencyKeys { .. } => Code::TooManyIdempotencyKeys,
        CommitError::TooManyProducers { .. } => Code::TooManyProducers,
        CommitError::ShuttingDown => Code::ShuttingDown,
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::TopicNotFound { .. } => Code::TopicNotFound,
            ReadError::PartitionNotFound { .. } => Code::PartitionNotFound,
            ReadError::OffsetExpired { .. } => Code::OffsetExpired,
            ReadError::OffsetBeyondEnd { .. } => Code::OffsetOutOfRange,
            ReadError::DataLoss { .. } => Code::DataDamaged,
            ReadError::KeyNotFound(_) => Code::KeyNotFound,
            ReadError::Invalid { .. } => Code::InvalidArgument,
            ReadError::TooManyOpenFiles { .. } => Code::Overloaded,
            ReadError::Io { .. } => Code::StorageFailed,
            ReadError::ShuttingDown => Code::ShuttingDown,
        };
        let failure = Self::new(code, error.to_string());
        match error {
            ReadError::OffsetExpired { start, end, .. }
            | ReadError::OffsetBeyondEnd { start, end, .. } => {
                failure.with("start_offset", start.0).with("end_offset", end.0)
            }
            ReadError::DataLoss { first, next, .. } => {
                failure.with("first_lost_offset", first.0).with("next_offset", next.0)
            }
            ReadError::PartitionNotFound { partitions, .. } => {
                failure.with("partitions", partitions)
            }
            ReadError::KeyNotFound(gone) => {
                let mut failure = failure
                    .with("topic", gone.topic.as_str())
                    .with("partition", gone.partition.0)
                    .with_key(&gone.key);
                if let Some(offset) = gone.tombstone {
                    failure = failure.with("tombstone_offset", offset.0);
                }
                if let Some(start) = gone.kept_from {
                    failure = failure.with("start_offset", start.0);
                }
                failure
            }
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_said_as_records_show_it() {
        let details = |key| Failure::invalid("x").with_key(key).problem().details.clone();
        assert_eq!(details("ü\"".as_bytes())["key"], "ü\"");
        let bytes = details(&[0xff, 0x00]);
        assert_eq!((&bytes["key"], &bytes["key_encoding"]), (&"/wA=".into(), &"base64".into()));
    }
}
