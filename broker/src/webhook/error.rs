//! What can be wrong with a change of webhooks.

use embermq_protocol::names::GroupName;

use super::vault::VaultError;
use crate::consume::GroupTaken;
use crate::error::CommitError;

/// Why a webhook was not put, changed, tested or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// There is none of that name.
    #[error("there is no webhook \"{webhook}\"; PUT /v1/webhooks/{webhook} makes one")]
    NotFound {
        /// The name.
        webhook: GroupName,
    },
    /// The configuration is wrong.
    #[error("{what}")]
    Invalid {
        /// What is wrong, and what would be right.
        what: String,
    },
    /// It would call an address that webhooks do not call.
    #[error("{what}")]
    Forbidden {
        /// Which, and why.
        what: String,
    },
    /// Its secret can be neither made nor kept.
    #[error("{what}")]
    Secret {
        /// What is in the way.
        what: String,
    },
    /// Its secret cannot be read without the key that it was sealed with.
    #[error("{what}")]
    Locked {
        /// Which file is missing or another one, and what to do.
        what: String,
    },
    /// Its group would be somebody else's.
    #[error(transparent)]
    GroupTaken(#[from] GroupTaken),
    /// Something could not be committed, or a topic is not there.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<VaultError> for WebhookError {
    fn from(error: VaultError) -> Self {
        let what = error.to_string();
        match error {
            VaultError::Locked { .. } => Self::Locked { what },
            VaultError::Io { .. } => Self::Secret { what },
        }
    }
}
