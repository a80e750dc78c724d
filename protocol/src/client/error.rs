//! Why a call of the client failed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{batch::FormError, code::Code, names::NameError, problem::Problem};

/// Why a call failed, after all the tries that its policy allows.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The broker refused.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The broker could not be reached, or the connection broke before the answer was there.
    #[error("no answer from the broker: {reason}")]
    Transport {
        /// The innermost cause, in words.
        reason: String,
        /// The whole chain.
        source: Arc<reqwest::Error>,
    },
    /// Something that is no broker answered, perhaps a proxy.
    #[error("unexpected answer with status {status}: {body:?}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The start of its body.
        body: String,
        /// How long to wait, from its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The broker's answer makes no sense to this version.
    #[error("the broker's answer cannot be understood: {0}")]
    Answer(String),
    /// What was to be sent, or what was fetched, is no well-formed batch.
    #[error(transparent)]
    Form(#[from] FormError),
    /// No topic can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The URL is none that this client can use.
    #[error("{url:?} is no URL of a broker: {reason}; use one such as http://127.0.0.1:7400")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that was to be sent cannot be read.
    #[error("{} cannot be read: {reason}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A record is larger than its producer lets through.
    #[error("a record of {bytes} bytes is larger than this producer's limit of {limit}")]
    RecordTooLarge {
        /// Its length as encoded.
        bytes: usize,
        /// The producer's limit.
        limit: usize,
    },
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
}

impl ClientError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.retryable,
            Self::Transport { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// The broker's code, if the broker refused with one that this version knows.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        if let Self::Problem(problem) = self { problem.known_code() } else { None }
    }

    /// How long the other side wants us to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after_ms.map(Duration::from_millis),
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<reqwest::Error> for ClientError {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        Self::Transport { reason: cause.to_string(), source: Arc::new(error) }
    }
}

impl From<Problem> for ClientError {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}
