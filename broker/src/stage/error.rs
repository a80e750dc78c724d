//! What can be wrong with a change of stages.

use embermq_protocol::names::GroupName;

use crate::consume::GroupTaken;
use crate::error::CommitError;
use crate::models::ModelError;

/// Why a stage was not put, changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// There is none of that name.
    #[error("there is no stage \"{stage}\"; PUT /v1/stages/{stage} makes one")]
    NotFound {
        /// The name.
        stage: GroupName,
    },
    /// The configuration is wrong.
    #[error("{what}")]
    Invalid {
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Outputs or dead letters would come back over other stages.
    #[error(
        "what stage {stage} writes would come back to it, over {}; write elsewhere, or say that it may loop (loops: true)", path.join(" -> ")
    )]
    Cycle {
        /// The stage.
        stage: GroupName,
        /// All topics on the way, from its input to its input.
        path: Vec<String>,
    },
    /// Its group would be somebody else's.
    #[error(transparent)]
    GroupTaken(#[from] GroupTaken),
    /// Its model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Something could not be committed, or a topic is not there.
    #[error(transparent)]
    Commit(#[from] CommitError),
}
