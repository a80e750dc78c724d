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
mod broker;
mod dead_letter;
mod delivery;
mod desk;
mod ensuring;
pub mod filter;
mod gathering;
mod info;
mod lease;
mod leasing;
#[cfg(feature = "server")]
mod left;
mod letters;
mod listing;
mod orphans;
mod redriving;
mod settings;
mod settling;
#[cfg(test)]
mod simulation;
mod token;
pub(crate) mod undertaker;

#[cfg(feature = "server")]
pub(crate) use dead_letter::ONLY_FOR;
pub(crate) use dead_letter::is_letter_of;
pub(crate) use desk::{Desk, Desks};
pub(crate) use gathering::Gathering;
pub use info::{
    DeadLetter, DeadLetterPage, DeadLetterQuery, GroupInfo, GroupPartitionInfo, Redrive, Redriven,
    Sought,
};
pub use lease::{Lease, LeaseRequest, Settled, Settlement, Verdict};
#[cfg(feature = "server")]
pub use left::GroupTaken;
#[cfg(feature = "server")]
pub(crate) use left::LeftGroups;
#[cfg(feature = "server")]
pub(crate) use letters::says;
pub use settings::{Backoff, GroupEdit, GroupSettings, Ordering};
pub(crate) use settling::{dead_letter_topic, settled};
pub(crate) use token::seal;

use std::collections::VecDeque;

use embermq_protocol::batch::{StoredRecord, decode_batches};
use embermq_storage::Offset;
use embermq_storage::segment::ReadError;

use crate::error::CommitError;
use crate::topic::Partition;

/// One record; may read from the device. None: it is not there any more, or is damaged.
fn read_record(partition: &Partition, offset: Offset) -> Result<Option<StoredRecord>, CommitError> {
    let found = read_batch(partition, offset)?.into_iter().next();
    Ok(found.filter(|record| record.offset == offset.0))
}

/// The records of one batch from `offset` on.
fn read_batch(
    partition: &Partition,
    offset: Offset,
) -> Result<VecDeque<StoredRecord>, CommitError> {
    let slice = match partition.reader.read(offset, 1) {
        Ok(slice) => slice,
        Err(error @ ReadError::Io { .. }) => return Err(CommitError::unreadable(&error)),
        Err(_) => return Ok(VecDeque::new()),
    };
    Ok(decode_batches(slice.pieces, offset.0).map_while(Result::ok).collect())
}
