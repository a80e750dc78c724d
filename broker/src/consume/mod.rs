//! Groups as a program sees them: lease, settle, seek, redrive, and how they are doing.
//!
//! The decisions are the pure core's (`group`); what is here reads the records, waits, and talks to the committer.

mod broker;
mod info;
mod lease;
mod settings;

pub use info::{GroupInfo, GroupPartitionInfo, Redrive, Redriven, Sought};
pub use lease::{Lease, LeaseRequest, Settled, Settlement, Verdict};
pub use settings::{Backoff, GroupEdit, GroupSettings, Ordering};
