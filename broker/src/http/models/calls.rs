//! What all requests about models need.

use std::sync::Arc;

use embermq_protocol::code::Code;

use crate::http::failure::Failure;
use crate::http::query::percent_decode;
use crate::http::shared::Shared;
use crate::models::{ModelError, Models, NameInvalid};

/// The registry, if the server has one.
pub(in crate::http) fn models_of(shared: &Shared) -> Result<&Arc<Models>, Failure> {
    let none = || Failure::new(Code::Unimplemented, "this server was started without models");
    shared.serving.as_ref().map(|serving| &serving.models).ok_or_else(none)
}

/// A part of the path, as it was meant. The first is 0: `v1`.
pub(in crate::http) fn part(path: &str, at: usize) -> String {
    let part = path.split('/').nth(at + 1).unwrap_or_default();
    String::from_utf8_lossy(&percent_decode(part)).into_owned()
}

/// A name of a path.
pub(in crate::http) fn name<T: std::str::FromStr<Err = NameInvalid>>(
    path: &str,
    at: usize,
) -> Result<T, Failure> {
    part(path, at).parse().map_err(Failure::from)
}

impl From<NameInvalid> for Failure {
    fn from(error: NameInvalid) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        let text = error.to_string();
        match error {
            ModelError::NotFound { reference } => {
                Self::new(Code::ModelNotFound, text).with("model", reference.to_string())
            }
            ModelError::VersionNotFound { versions, .. } => {
                Self::new(Code::ModelNotFound, text).with("versions", versions)
            }
            ModelError::Unmeant { versions, aliases, .. } => Self::new(Code::ModelNotFound, text)
                .with("versions", versions)
                .with("aliases", aliases),
            ModelError::NameTaken { .. } => Self::new(Code::ModelNameTaken, text),
            ModelError::AliasNotFound { alias, .. } => {
                Self::new(Code::ModelNotFound, text).with("alias", alias.to_string())
            }
            ModelError::NotYet { end, .. } => {
                Self::new(Code::OffsetOutOfRange, text).with("end_offset", end.0)
            }
            ModelError::VersionExists { existing, found, .. } => Self::new(Code::ModelExists, text)
                .with("existing_digest", existing.to_string())
                .with("digest", found.to_string()),
            ModelError::DigestMismatch { announced, found } => {
                Self::new(Code::DigestMismatch, text)
                    .with("announced_digest", announced.to_string())
                    .with("digest", found.to_string())
            }
            ModelError::Unusable { problems } => {
                Self::new(Code::ModelUnusable, text).with("problems", problems)
            }
            ModelError::Overrides { problems, .. } => {
                Self::invalid(text).with("problems", problems)
            }
            ModelError::Upload { .. } => Self::malformed(text),
            ModelError::InUse { by, .. }
            | ModelError::AliasInUse { by, .. }
            | ModelError::Meant { by, .. } => Self::new(Code::ModelInUse, text).with("by", by),
            ModelError::Storage { .. } => Self::new(Code::StorageFull, text),
            ModelError::Event { .. } => Self::new(Code::DataDamaged, text),
            ModelError::Commit(error) => Self::from(error),
        }
    }
}
