//! An attempt that failed, as whoever makes attempts shows its last one: a stage, a webhook.

use embermq_storage::{Offset, Timestamp};

use crate::topic::PartitionId;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// When.
    pub time: Timestamp,
    /// Of which record.
    pub partition: PartitionId,
    /// Of which record.
    pub offset: Offset,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What happened.
    pub error: String,
}
