//! What can be wrong with a configuration. Every message names the place, so that it can be mended without a search.

use std::path::PathBuf;

use super::Origin;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: not valid TOML: {message}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        message: String,
    },
    /// A key stands outside of any section, or a section is not a table.
    #[error("{}:{line}: {key:?} {problem}", path.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key or section.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no such key.
    #[error("{origin}: there is no setting {key:?}{}", hint(suggestion.as_deref()))]
    UnknownKey {
        /// What was written.
        key: String,
        /// The nearest key that exists, when one is near.
        suggestion: Option<&'static str>,
        /// Where.
        origin: Origin,
    },
    /// The value does not fit the key.
    #[error("{origin}: {key} cannot be {value:?}: {reason}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What was written.
        value: String,
        /// What would be right.
        reason: String,
        /// Where.
        origin: Origin,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; `embermq config show` lists them all".to_owned(),
        |key| format!("; did you mean {key:?}?"),
    )
}
