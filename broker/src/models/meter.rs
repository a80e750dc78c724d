//! What a model counts wherever it is used: in stages, and where it is asked directly.

use crate::metrics::Histogram;
use crate::stage::Identity;

/// What a loaded model counts.
#[derive(Debug)]
pub struct ModelMeter {
    /// Payloads of each run.
    pub batch_size: Histogram,
    /// Making a payload ready.
    pub pre_seconds: Histogram,
    /// The run that a payload was part of.
    pub compute_seconds: Histogram,
    /// Making an answer of the outputs.
    pub post_seconds: Histogram,
}

impl Default for ModelMeter {
    fn default() -> Self {
        Self {
            batch_size: Histogram::of_counts(),
            pre_seconds: Histogram::of_long_seconds(),
            compute_seconds: Histogram::of_long_seconds(),
            post_seconds: Histogram::of_long_seconds(),
        }
    }
}

/// A model that is loaded.
#[derive(Debug)]
pub struct LoadedModel {
    /// What it is.
    pub identity: Identity,
    /// How long it took to load it and warm it up.
    pub took: std::time::Duration,
    /// What it counts, if it does.
    pub meter: Option<std::sync::Arc<ModelMeter>>,
}
