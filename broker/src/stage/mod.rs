//! Stages: what runs inside the broker on the records of a topic.
//!
//! A stage is a group like any other, whose only member is the broker. [`Lane`](lane)s lease batches, [`Instances`](instances) run a
//! [`Processor`] over them on threads of their own, and each batch ends with one commit {outputs, acks, retries, dead
//! letters}: an output exists if and only if its input is settled.
//!
//! - Order: with [`Ordering::Partition`](crate::Ordering) outputs appear in the order of their inputs, whatever the number of
//!   instances, because a partition's batch is split among them and committed as a whole. A record that is retried is passed by those behind it.
//! - A batch that fails as a whole (a panic, a timeout) is halved until the culprit is found: it alone is retried.
//! - A processor that does not return in time is given up with its thread; another one takes its place, a bounded
//!   number of times.

#[cfg(feature = "server")]
mod config;
mod instances;
mod lane;
mod output;
mod pointing;
mod processor;
#[cfg(feature = "server")]
mod roster;
mod running;
mod settings;
mod status;

#[cfg(feature = "server")]
pub use config::{BackoffConfig, Span, StageConfig};
#[cfg(feature = "server")]
pub(crate) use output::PROVENANCE;
pub(crate) use output::{input_text, is_output_of};
pub use processor::{Fault, Identity, Output, Processor};
#[cfg(feature = "server")]
pub use roster::{Roster, StageError, StageView};
pub use running::Stage;
pub use settings::{OnNonfinite, StageInvalid, StageSettings};
pub use status::{StageState, StageStatus};
