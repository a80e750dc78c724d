//! Groups as a program sees them: lease, settle, seek, redrive, and how they are doing.
//!
//! The decisions are the pure core's (`group`), and the committer makes them. What is here reads the records (their keys,
//! what a filter looks at, what goes into a dead letter), waits, and makes tokens.
//!
//! ```text
//! lease:   turn -> read beyond the cursors -> Grant (committer, logged, not synced) -> records and tokens
//! settle:  tokens -> letters for those that may die -> Settle, or a commit (committer, logged, synced) -> outcomes
//! bury:    alarm -> letters -> Bury
//! ```

mod ahead;
mod alarm;
mod broker;
mod dead_letter;
mod desk;
pub mod filter;
mod info;
mod lease;
mod leasing;
mod redriving;
mod settings;
mod settling;
mod token;
pub(crate) mod undertaker;

pub(crate) use desk::Desks;
pub use info::{GroupInfo, GroupPartitionInfo, Redrive, Redriven, Sought};
pub use lease::{Lease, LeaseRequest, Settled, Settlement, Verdict};
pub use settings::{Backoff, GroupEdit, GroupSettings, Ordering};
use settling::released;
pub(crate) use settling::settled;

use embermq_protocol::batch::{StoredRecord, decode_batches};
use embermq_storage::Offset;

use crate::topic::Partition;

/// One record; may read from the device.
fn read_record(partition: &Partition, offset: Offset) -> Option<StoredRecord> {
    let slice = partition.reader.read(offset, 1).ok()?;
    let record = decode_batches(slice.pieces, offset.0).next()?.ok()?;
    (record.offset == offset.0).then_some(record)
}
