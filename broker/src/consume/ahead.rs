//! What was read of a group's topic beyond its cursors, for the callers to come.
//!
//! A batch is decoded once, however few of its records each caller takes.

use std::collections::{BTreeMap, VecDeque};

use embermq_protocol::batch::{StoredRecord, decode_batches};
use embermq_storage::Offset;
use embermq_storage::reader::ReadSlice;

use super::leasing::record_bytes;
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
    promised: Option<Promised>,
}

/// Records that the committer is being asked for: whoever looks meanwhile begins behind them. If it grants less than
/// that, what is asked for behind them is in vain, and the promise is taken back. Once nobody asks for anything any more it
/// means nothing either: where the cursor is then counts.
#[derive(Clone, Copy, Debug)]
struct Promised {
    /// Where the group's cursor was seen when the first of them was asked for.
    from: Offset,
    end: Offset,
}

impl Ahead {
    /// What is there of a partition from its cursor on, behind what is promised; what lies before is let go.
    pub(super) fn stretch(&mut self, partition: PartitionId, cursor: Offset) -> &mut Stretch {
        let stretch = self.partitions.entry(partition).or_default();
        // A cursor before them was set back, one behind them has passed them.
        stretch.promised =
            stretch.promised.filter(|promised| promised.from <= cursor && cursor < promised.end);
        let next = stretch.promised.map_or(cursor, |promised| promised.end);
        if next < stretch.from || next >= stretch.end {
            let promised = stretch.promised;
            *stretch = Stretch { from: next, end: next, promised, ..Stretch::default() };
        }
        while stretch.records.front().is_some_and(|record| record.offset < next.0) {
            stretch.records.pop_front();
        }
        stretch.from = next;
        stretch
    }

    /// Takes all promises back; what was read stays.
    pub(super) fn forget_promises(&mut self) {
        for stretch in self.partitions.values_mut() {
            stretch.promised = None;
        }
    }

    /// Takes all promises back, and lets everything go.
    pub(super) fn clear(&mut self) {
        self.partitions.clear();
    }
}

impl Stretch {
    /// Of its records.
    pub(super) fn bytes(&self) -> usize {
        self.records.iter().map(|stored| record_bytes(&stored.record)).sum()
    }

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

    /// Promises what lies before `end`, with the group's cursor as it is seen now; gives its records.
    pub(super) fn promise(&mut self, cursor: Offset, end: Offset) -> Vec<StoredRecord> {
        let from = self.promised.map_or(cursor, |promised| promised.from);
        self.promised = Some(Promised { from, end });
        let count = self.records.partition_point(|record| record.offset < end.0);
        self.from = end;
        self.records.drain(..count).collect()
    }

    /// What lies before `next` cannot be read.
    pub(super) fn pass(&mut self, next: Offset) {
        self.end = self.end.max(next);
    }
}
