//! What a handler leaves: records to append, or why it failed.

use std::{error::Error, fmt, time::Duration};

use crate::v1::Record;

/// Records that a handler returns; they are appended in the same commit as the ack. Made from `()`, a [`Record`], an
/// `Option` or a `Vec` of them, which go to the worker's out topic, or with [`Outputs::to`] for any topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// None: to the worker's out topic.
    pub(super) records: Vec<(Option<String>, Record)>,
}

impl Outputs {
    /// No records.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The same with one more record, for this topic.
    #[must_use]
    pub fn to(mut self, topic: impl Into<String>, record: Record) -> Self {
        self.records.push((Some(topic.into()), record));
        self
    }
}

impl From<()> for Outputs {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<Record> for Outputs {
    fn from(record: Record) -> Self {
        Self { records: vec![(None, record)] }
    }
}

impl From<Option<Record>> for Outputs {
    fn from(record: Option<Record>) -> Self {
        record.map_or_else(Self::default, Into::into)
    }
}

impl From<Vec<Record>> for Outputs {
    fn from(records: Vec<Record>) -> Self {
        Self { records: records.into_iter().map(|record| (None, record)).collect() }
    }
}

/// Why a handler failed, and what becomes of the record. Any error becomes one that is tried again, so that `?` works;
/// for the same reason it is no [`Error`] itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub(super) verdict: Verdict,
    pub(super) error: String,
}

/// What becomes of a record whose handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry(Option<Duration>),
    Reject,
    Release,
}

impl Failed {
    /// To be tried again as the group's backoff says; on its last attempt the record goes to the dead-letter topic.
    #[must_use]
    pub fn retry(error: impl Into<String>) -> Self {
        Self { verdict: Verdict::Retry(None), error: error.into() }
    }

    /// To be tried again after this time.
    #[must_use]
    pub fn retry_after(delay: Duration, error: impl Into<String>) -> Self {
        Self { verdict: Verdict::Retry(Some(delay)), error: error.into() }
    }

    /// It can never succeed: to the dead-letter topic now.
    #[must_use]
    pub fn reject(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Reject, error: reason.into() }
    }

    /// It was not tried: to somebody else at once, and this was no attempt.
    #[must_use]
    pub fn release() -> Self {
        Self { verdict: Verdict::Release, error: "given back untried".to_owned() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl<E: Error> From<E> for Failed {
    /// With the error and its causes in words.
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            let deeper_text = deeper.to_string();
            // Many errors repeat their cause.
            if !text.ends_with(&deeper_text) {
                text = format!("{text}: {deeper_text}");
            }
            cause = deeper.source();
        }
        Self::retry(text)
    }
}
