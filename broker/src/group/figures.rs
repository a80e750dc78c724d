//! How a group stands: what is in flight, what waits, how far it is behind, and when to look again.

use embermq_storage::{Offset, Timestamp};

use super::Group;
use super::open::Place;
use crate::topic::PartitionId;

/// The open records by what they wait for. `in_flight + ready + waiting + held + exhausted == open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Live leases.
    pub(crate) in_flight: u64,
    /// Due now: not taken up yet, or leased and lapsed.
    pub(crate) ready: u64,
    /// Due later.
    pub(crate) waiting: u64,
    /// Behind another record of their key.
    pub(crate) held: u64,
    /// On their last lease, which has lapsed: about to be dead.
    pub(crate) exhausted: u64,
    pub(crate) open: u64,
}

/// How far a group is with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionFigures {
    pub(crate) partition: PartitionId,
    /// The first offset never looked at.
    pub(crate) next: Offset,
    /// The first offset that is not done; `next` if none below it is open.
    pub(crate) first_not_done: Offset,
    /// How many below `next` are open.
    pub(crate) open: u64,
}

impl PartitionFigures {
    /// How many records are not done in a partition whose next record gets offset `end`.
    pub(crate) fn behind(&self, end: Offset) -> u64 {
        self.open + end.0.saturating_sub(self.next.0)
    }
}

impl Group {
    /// The open records counted at `now`; takes as long as there are records due.
    pub(crate) fn figures(&self, now: Timestamp) -> Figures {
        let (waiting, ready) = self.due.waiting_and_ready(now);
        let leased = self.due.leased();
        let lapsed = self.due.lapsed(now, leased);
        let exhausted = self.due.exhausted(now).count();
        Figures {
            in_flight: (leased - lapsed) as u64,
            ready: (ready + lapsed - exhausted) as u64,
            waiting: waiting as u64,
            held: self.keys.held() as u64,
            exhausted: exhausted as u64,
            open: self.open.len() as u64,
        }
    }

    /// How far it is with each partition.
    pub(crate) fn partition_figures(&self) -> impl Iterator<Item = PartitionFigures> {
        (0..).map(PartitionId).zip(&self.cursors).map(|(partition, cursor)| {
            let first = self.open_in(partition).next();
            PartitionFigures {
                partition,
                next: cursor.next,
                first_not_done: first.map_or(cursor.next, |(Place { offset, .. }, _)| offset),
                open: cursor.open,
            }
        })
    }

    /// When the first of the records that are on their last attempt is exhausted, if it is not settled before.
    pub(crate) fn next_exhausted(&self) -> Option<Timestamp> {
        self.due.next_exhausted()
    }

    /// The first moment after `now` at which more can be delivered, or a record is exhausted, although nothing is said
    /// or appended. A timer at this moment is enough. With order by partition it may come too early, and the shell
    /// takes [`Members::next_absence`](super::Members::next_absence) into account as well.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.due.next(now)
    }
}
