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
//! - Leases that an earlier process held are ended at the start, and their records processed apart (`suspects`): one of them may have
//!   ended the process.
//! - A lane that panics begins anew in the same way: what it held counts an attempt, and is processed apart.
//! - A swap of the processor holds from a certain record on, which is noted (`takeover`).

mod answer;
#[cfg(feature = "server")]
mod config;
#[cfg(feature = "server")]
mod cycle;
#[cfg(feature = "server")]
mod error;
#[cfg(feature = "server")]
mod following;
mod instances;
#[cfg(feature = "server")]
mod kept;
mod lane;
mod meter;
mod output;
mod pace;
mod pointing;
mod processor;
#[cfg(feature = "server")]
mod roster;
mod running;
#[cfg(feature = "server")]
mod sample;
mod settings;
mod status;
mod suspects;
mod takeover;
#[cfg(feature = "server")]
mod turns;

#[cfg(feature = "server")]
pub(crate) use answer::header_names;
#[cfg(feature = "server")]
pub use config::{BackoffConfig, Span, StageConfig};
#[cfg(feature = "server")]
pub use error::StageError;
pub use meter::StageMeter;
#[cfg(feature = "server")]
pub(crate) use output::PROVENANCE;
pub(crate) use output::{input_text, is_output_of};
pub use processor::{Fault, Identity, Output, Processor};
#[cfg(feature = "server")]
pub use roster::{Roster, StagePut, StageView};
pub use running::Stage;
#[cfg(feature = "server")]
pub use sample::StageSample;
pub use settings::{AnswerIn, OnNonfinite, StageInvalid, StageSettings};
pub use status::{StageState, StageStatus};
pub use takeover::Takeover;
