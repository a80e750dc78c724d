//! What can be wrong with a bundle.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::LoadError;

/// One thing that is wrong in a `model.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleProblem {
    /// The file; for a bare model, a place within it.
    pub file: PathBuf,
    /// Its line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The key, with its section (`pre.resize`); empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl BundleProblem {
    pub(crate) fn of_file(file: &Path, what: &str) -> Self {
        Self { file: file.to_owned(), line: 0, key: String::new(), what: what.to_owned() }
    }
}

impl fmt::Display for BundleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Why a model was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model's graph was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The manifest has problems: all of them.
    #[error("{}", lines(.0))]
    Problems(Vec<BundleProblem>),
}

fn lines(problems: &[BundleProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
