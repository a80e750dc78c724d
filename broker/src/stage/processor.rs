//! What a stage runs.

use std::fmt;
#[cfg(feature = "server")]
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::record::Record;

/// What makes outputs, as each of them says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of what it was loaded from, in hexadecimal.
    pub digest: String,
    /// What tells its overrides from others; `None`: it is as its manifest says.
    pub overrides: Option<String>,
}

/// What becomes of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The value of the output record.
    pub value: Bytes,
    /// Its content type.
    pub content_type: String,
    /// Whether there are numbers in it that are none: NaN or an infinity.
    pub nonfinite: bool,
    /// How long it took to make it, of what it shared with others the whole.
    pub took: Duration,
    /// With how many records the model ran to make it, itself among them; 0: it was known without the model. `None`: with all of the
    /// call.
    pub batch_size: Option<usize>,
}

impl Output {
    /// Of a record without a value, which was given to no model.
    pub(super) const fn of_tombstone() -> Self {
        Self {
            value: Bytes::new(),
            content_type: String::new(),
            nonfinite: false,
            took: Duration::ZERO,
            batch_size: Some(0),
        }
    }
}

/// Why there is no output for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whether the same record may succeed later. If not, it goes to the dead-letter topic at once.
    pub retryable: bool,
    /// A stable word for the kind: `decode`, `shape`, `timeout`.
    pub code: String,
    /// What happened, for people.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Turns records into outputs. Called by several threads at once, never by one of the async runtime; it may panic, and it may take
/// longer than the stage lets it: neither harms the stage. It gets no tombstones: those of the input are tombstones of the output.
pub trait Processor: Send + Sync + fmt::Debug + 'static {
    /// What it is.
    fn identity(&self) -> &Identity;

    /// How long a record is to the model, if records of one length are better processed together: then a stage takes more records than are
    /// processed at a time, and puts those of like length into one call. Outputs stay in the order of their inputs.
    fn length(&self) -> Option<fn(&Record) -> usize> {
        None
    }

    /// What it counts, if it does.
    #[cfg(feature = "server")]
    fn meter(&self) -> Option<Arc<crate::models::ModelMeter>> {
        None
    }

    /// The same model with tensors in and out, for those who ask it directly. `None`: it has no such side.
    #[cfg(feature = "server")]
    fn tensors(&self) -> Option<&dyn crate::models::TensorModel> {
        None
    }

    /// The same under another identity, with some of what prepares records and makes answers otherwise; what is large is shared. Blocks
    /// while it is made.
    ///
    /// # Errors
    /// Everything that is wrong with the overrides, by key.
    #[cfg(feature = "server")]
    fn overridden(
        self: Arc<Self>,
        _overrides: &crate::models::Overrides,
        _identity: Identity,
    ) -> Result<Arc<dyn Processor>, Vec<String>> {
        Err(vec!["it takes no overrides".to_owned()])
    }

    /// One result for each record, in order.
    fn process(&self, batch: &[Record]) -> Vec<Result<Output, Fault>>;
}
