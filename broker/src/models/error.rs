//! What can be wrong with a change of the registry.

use embermq_storage::Offset;

use super::name::{Alias, Digest, ModelName, ModelRef, Version};
use crate::error::CommitError;

/// Why a model was not registered, found, or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// There is no such model.
    #[error("there is no model \"{}\"; PUT /v1/models/{}/versions/.. registers one", reference.name, reference.name)]
    NotFound {
        /// What was asked for.
        reference: ModelRef,
    },
    /// The model is there, without such a version.
    #[error("model {model} has no version \"{version}\"; it has {}", versions.join(", "))]
    VersionNotFound {
        /// The model.
        model: ModelName,
        /// What was asked for.
        version: Version,
        /// Those that it has.
        versions: Vec<String>,
    },
    /// The model is there, and nothing is meant by what stands behind the `@`.
    #[error(
        "model {model} has neither a version nor an alias \"{name}\"; its versions are {}, its aliases {}; PUT /v1/models/{model}/aliases/{name} sets an alias",
        listed(versions),
        listed(aliases)
    )]
    Unmeant {
        /// The model.
        model: ModelName,
        /// What was asked for.
        name: String,
        /// The versions that it has.
        versions: Vec<String>,
        /// The aliases that it has.
        aliases: Vec<String>,
    },
    /// An alias and a version of one name: a reference could not tell them apart.
    #[error(
        "\"{name}\" is {is} of model {model} already, and {model}@{name} could mean either; use another name"
    )]
    NameTaken {
        /// The model.
        model: ModelName,
        /// The name.
        name: String,
        /// What has it.
        is: &'static str,
    },
    /// The version is there, with other files.
    #[error(
        "version {version} of model {model} is there with the digest {existing}, this one has {found}; versions never change: use another version"
    )]
    VersionExists {
        /// The model.
        model: ModelName,
        /// The version.
        version: Version,
        /// What is there.
        existing: Digest,
        /// What came.
        found: Digest,
    },
    /// What arrived is not what was announced.
    #[error("the files have the digest {found}, announced was {announced}; nothing was registered")]
    DigestMismatch {
        /// What the sender said.
        announced: Digest,
        /// What came.
        found: Digest,
    },
    /// It cannot be run: what is wrong, one by one.
    #[error("the model cannot be used: {}", problems.join("; "))]
    Unusable {
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// A stage wants what it does not have.
    #[error(
        "model {model} does not take the overrides: {}; give the stage others, or another model",
        problems.join("; ")
    )]
    Overrides {
        /// The model and its version.
        model: String,
        /// Everything that is wrong, by key.
        problems: Vec<String>,
    },
    /// The upload is no model.
    #[error("{what}")]
    Upload {
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Something still uses it.
    #[error("version {version} of model {model} is used by {by}; nothing was removed")]
    InUse {
        /// The model.
        model: ModelName,
        /// The version.
        version: Version,
        /// What uses it.
        by: String,
    },
    /// Aliases mean it.
    #[error(
        "version {version} of model {model} is what {by} means; first let that mean another version (PUT /v1/models/{model}/aliases/..), or delete it (DELETE); nothing was removed"
    )]
    Meant {
        /// The model.
        model: ModelName,
        /// The version.
        version: Version,
        /// What means it.
        by: String,
    },
    /// Stages name it.
    #[error(
        "alias {alias} of model {model} is named by {by}, which would have no model; nothing was removed"
    )]
    AliasInUse {
        /// The model.
        model: ModelName,
        /// The alias.
        alias: Alias,
        /// What names it.
        by: String,
    },
    /// There is no such alias.
    #[error(
        "model {model} has no alias \"{alias}\"; PUT /v1/models/{model}/aliases/{alias} sets it"
    )]
    AliasNotFound {
        /// The model.
        model: ModelName,
        /// The alias.
        alias: Alias,
    },
    /// Nothing has that offset yet in the topic of events.
    #[error("as_of is {offset}, the topic _models ends at {end}: nothing has happened there yet")]
    NotYet {
        /// What was asked for.
        offset: Offset,
        /// The next one.
        end: Offset,
    },
    /// The files could not be kept or read.
    #[error("the files of a model cannot be used: {what}")]
    Storage {
        /// What the system said.
        what: String,
    },
    /// An event of the registry cannot be read.
    #[error("event {offset} of the registry cannot be read: {what}")]
    Event {
        /// Its offset.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The event could not be committed, or read.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl ModelError {
    /// True when the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Commit(error) => error.retryable(),
            Self::Storage { .. } => true,
            _ => false,
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
