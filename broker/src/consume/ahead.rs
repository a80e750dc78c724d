//! What was read of a group's topic beyond its cursors, for the callers to come.
//!
//! A batch is decoded once, however few of its records each caller takes.

use std::collections::{BTreeMap, VecDeque};

use embermq_protocol::batch::{StoredRecord, decode_batches};
use embermq_storage::Offset;
use embermq_storage::reader::ReadSlice;

use crate::topic::PartitionId;

/// By partition.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    partitions: BTreeMap<PartitionId, Stretch>,
}

/// What was read of one partition: everything from `from` to before `end`.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    pub(super) from: Offset,
    pub(super) records: VecDeque<StoredRecord>,
    pub(super) end: Offset,
}

impl Ahead {
    /// What is there of a partition from `next` on; what lies before is let go.
    pub(super) fn stretch(&mut self, partition: PartitionId, next: Offset) -> &mut Stretch {
        let stretch = self.partitions.entry(partition).or_default();
        if next < stretch.from || next >= stretch.end {
            *stretch = Stretch { from: next, records: VecDeque::new(), end: next };
        }
        while stretch.records.front().is_some_and(|record| record.offset < next.0) {
            stretch.records.pop_front();
        }
        stretch.from = next;
        stretch
    }

    /// A record, if it was read; it is let go.
    pub(super) fn take(&mut self, partition: PartitionId, offset: Offset) -> Option<StoredRecord> {
        let stretch = self.partitions.get_mut(&partition)?;
        let at = stretch.records.binary_search_by_key(&offset.0, |record| record.offset).ok()?;
        // Those before it are held or passed, or granted to somebody else: whoever gets them reads them again. So does
        // who is sent back by a seek: what is let go here must not count as read.
        stretch.records.drain(..at);
        stretch.from = offset.plus(1);
        stretch.records.pop_front()
    }

    /// Lets everything go.
    pub(super) fn clear(&mut self) {
        self.partitions.clear();
    }
}

impl Stretch {
    /// Takes in what was read from its end on. What cannot be decoded, which nothing is that the broker has checked, is
    /// passed over.
    pub(super) fn extend(&mut self, slice: &ReadSlice) {
        for record in decode_batches(slice.pieces.iter().cloned(), self.end.0) {
            match record {
                Ok(record) => self.records.push_back(record),
                Err(error) => {
                    tracing::error!(%error, "a stored batch cannot be read as records: it is passed over");
                    break;
                }
            }
        }
        self.end = self.end.max(slice.next);
    }

    /// What lies before `next` cannot be read.
    pub(super) fn pass(&mut self, next: Offset) {
        self.end = self.end.max(next);
    }
}
