//! Why there is no answer.

use std::fmt;

use crate::byte_count::ByteCount;
use crate::error::RunError;

/// Where a panic was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// While the payload was made ready.
    Pre,
    /// While the answer was made of the outputs.
    Post,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pre => "preparing the payload",
            Self::Post => "making the answer",
        })
    }
}

/// Why a payload has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The payload is not what the model reads.
    #[error("{what}")]
    Payload {
        /// What is wrong with it.
        what: String,
    },
    /// The model did not run.
    #[error(transparent)]
    Run(RunError),
    /// The inputs of the rows that would run together are too large. Fewer may run.
    #[error(
        "the inputs of {rows} rows together need {}, the limit {limit} is {}; fewer rows may run together: see [batch] of model.toml",
        ByteCount(*.needed_bytes),
        ByteCount(*.limit_bytes)
    )]
    Batch {
        /// Rows along the batch axis, those that fill it up among them.
        rows: usize,
        /// Bytes that would be taken; saturated.
        needed_bytes: u64,
        /// What the limit is for.
        limit: &'static str,
        /// `Limits::run_bytes_max` for one input, `Limits::live_bytes_max` for all together.
        limit_bytes: u64,
    },
    /// The outputs are not what the manifest takes them for.
    #[error("the model's outputs: {what}")]
    Outputs {
        /// What is wrong with them.
        what: String,
    },
    /// The manifest says what does not go with the model, as a run with made-up inputs shows: no payload would have an answer.
    #[error("{key}: {what}")]
    Manifest {
        /// The key, with its section.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// Something outside of the model panicked.
    #[error("{stage} panicked: {message}")]
    Panicked {
        /// What was being done.
        stage: Stage,
        /// What the panic said.
        message: String,
    },
    /// The instances were stopped before it was this payload's turn.
    #[error("the model was stopped")]
    Stopped,
}

impl InferError {
    /// Whether the same payload may be answered later. A panic may have come of the payload or of the process; whoever tries again bounds
    /// how often.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Panicked { .. } | Self::Stopped => true,
            Self::Run(error) => error.is_retryable(),
            Self::Payload { .. }
            | Self::Batch { .. }
            | Self::Outputs { .. }
            | Self::Manifest { .. } => false,
        }
    }

    /// A word for logs and metrics.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Run(RunError::Panicked { .. }) | Self::Panicked { .. } => "panic",
            Self::Run(_) => "run",
            Self::Batch { .. } => "batch",
            Self::Outputs { .. } => "outputs",
            Self::Manifest { .. } => "manifest",
            Self::Stopped => "stopped",
        }
    }
}
