//! What can be said of a request.

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::{Offset, Timestamp};

use super::id::RequestId;
use crate::error::{CommitError, ReadError};
use crate::record::Record;
use crate::topic::PartitionId;

/// A request, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestView {
    /// Its id.
    pub id: RequestId,
    /// The topic of its record.
    pub topic: TopicName,
    /// Where its record is.
    pub partition: PartitionId,
    /// Where its record is.
    pub offset: Offset,
    /// The stage that is to answer.
    pub stage: GroupName,
    /// What it is at.
    pub state: RequestState,
}

/// What a request is at.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestState {
    /// The stage has not come to it.
    Queued,
    /// The stage works on it.
    Running {
        /// From 1.
        attempt: u32,
    },
    /// An attempt failed; it is tried again.
    Failed {
        /// How often it was tried.
        attempts: u32,
        /// When it is tried again, at the earliest.
        next_attempt: Timestamp,
    },
    /// There is an answer.
    Succeeded(Box<Found>),
    /// It has failed for good: this is its dead letter.
    DeadLettered(Box<Found>),
    /// The stage has gone past it and made nothing of it: its filter does not let it pass, or somebody else settled it or moved the
    /// group.
    PassedOver,
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset.
    pub offset: Offset,
    /// When it was appended.
    pub append_time: Timestamp,
    /// The record.
    pub record: Record,
}

impl RequestState {
    /// In a word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running { .. } => "running",
            Self::Failed { .. } => "failed",
            Self::Succeeded(_) => "succeeded",
            Self::DeadLettered(_) => "dead_lettered",
            Self::PassedOver => "passed_over",
        }
    }

    /// Whether nothing more is to be expected, unless somebody redrives or seeks.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Queued | Self::Running { .. } | Self::Failed { .. } => false,
            Self::Succeeded(_) | Self::DeadLettered(_) | Self::PassedOver => true,
        }
    }
}

/// Why nothing can be said of a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The id is none of this broker's, or what it is about is gone.
    #[error(
        "there is no such request: the id was changed, or is another broker's, or its topic or its stage's group was deleted"
    )]
    NotFound,
    /// No group of that name reads the topic.
    #[error(
        "stage {stage} has not begun to read topic {topic}; call again, GET /v1/stages/{stage} says what it waits for"
    )]
    NotReading {
        /// The topic.
        topic: TopicName,
        /// The stage.
        stage: GroupName,
    },
    /// It has ended, and what it ended with is not kept any more.
    #[error("what the request ended with is not kept any more: {what}")]
    Expired {
        /// What is gone.
        what: String,
    },
    /// What it ended with could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The dead letters could not be read.
    #[error(transparent)]
    Commit(#[from] CommitError),
}
