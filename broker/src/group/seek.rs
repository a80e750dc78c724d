//! Reading on from elsewhere, by wish (seek) or because the beginning is gone (trim).

use embermq_storage::{Offset, Timestamp};

use super::event::{GroupSought, SoughtPartition};
use super::open::{OpenState, Place};
use super::{Cursor, Group};
use crate::frame::FrameMalformed;
use crate::topic::PartitionId;

/// What a seek would do to one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeekPreview {
    pub(crate) partition: PartitionId,
    /// Where the group stands, and where it would.
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    /// Offsets that are done and would be read again.
    pub(crate) read_again: u64,
    /// Offsets that are not done and would never be read.
    pub(crate) skipped: u64,
    /// Leases that would become void.
    pub(crate) leases_lost: u64,
}

impl Group {
    /// What a seek would do; `end` is the next offset that a record of the partition gets.
    pub(crate) fn preview_seek(
        &self,
        partition: PartitionId,
        to: Offset,
        end: Offset,
    ) -> Option<SeekPreview> {
        let from = self.cursor(partition)?.next;
        let (mut behind, mut ahead, mut leases_lost) = (0, 0, 0);
        for (place, open) in self.open_in(partition) {
            *(if place.offset < to { &mut behind } else { &mut ahead }) += 1;
            leases_lost += u64::from(matches!(open.state, OpenState::Leased { .. }));
        }
        let read_again = from.0.saturating_sub(to.0).saturating_sub(ahead);
        let skipped = behind + to.min(end).0.saturating_sub(from.0);
        Some(SeekPreview { partition, from, to, read_again, skipped, leases_lost })
    }

    /// Lets the group read on from these offsets. The shell has brought them between the partition's start and end.
    pub(crate) fn decide_seek(
        &self,
        group: u32,
        to: impl IntoIterator<Item = (PartitionId, Offset)>,
    ) -> GroupSought {
        let known = to.into_iter().filter(|(partition, _)| self.cursor(*partition).is_some());
        let partitions =
            known.map(|(partition, to)| SoughtPartition { partition: partition.0, next: to.0 });
        GroupSought { group, partitions: partitions.collect() }
    }

    /// Folds in that the group reads on from elsewhere: what was open there is forgotten, leases are void, attempts
    /// begin anew, no member has a partition.
    ///
    /// # Errors
    /// When it names a partition that the group does not read.
    pub(crate) fn apply_sought(
        &mut self,
        event: &GroupSought,
        time: Timestamp,
    ) -> Result<(), FrameMalformed> {
        for sought in &event.partitions {
            let partition = PartitionId(sought.partition);
            self.cursor_mut(partition)?;
            self.drop_below(partition, Offset(u64::MAX), time);
            *self.cursor_mut(partition)? =
                Cursor { next: Offset(sought.next), ..Cursor::default() };
        }
        Ok(())
    }

    /// Folds in that a partition begins at `start` now: what was open below is dropped. Says how many that were.
    ///
    /// There is no event of its own: this follows from the one by which the topic loses its beginning.
    ///
    /// # Errors
    /// When the group does not read the partition.
    pub(crate) fn trim(
        &mut self,
        partition: PartitionId,
        start: Offset,
        time: Timestamp,
    ) -> Result<u64, FrameMalformed> {
        let cursor = self.cursor_mut(partition)?;
        cursor.next = cursor.next.max(start);
        Ok(self.drop_below(partition, start, time))
    }

    fn drop_below(&mut self, partition: PartitionId, end: Offset, time: Timestamp) -> u64 {
        let places = Place::first_of(partition)..Place { partition, offset: end };
        let dropped: Vec<(Place, bool)> = self
            .open
            .range(places)
            .map(|(place, open)| (*place, open.state == OpenState::Held))
            .collect();
        // Those that are held first, so that none of them becomes the head of its key on the way out.
        for (place, _) in dropped.iter().filter(|(_, held)| *held) {
            self.put(*place, None);
        }
        for (place, _) in dropped.iter().filter(|(_, held)| !*held) {
            self.close(*place, time);
        }
        self.refresh_turn(partition);
        dropped.len() as u64
    }
}
