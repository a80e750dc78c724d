//! Grants, settlements and offers folded in. Whatever contradicts the group is an error and never a panic.

use embermq_storage::{Offset, Timestamp};

use super::event::{
    GrantedAgain, GrantedFresh, GroupGranted, GroupOffered, GroupSettled, SettledPartition,
};
use super::open::{GrantEpoch, KeyHash, MemberId, Open, OpenState, Place, later};
use super::{Group, Ordering, runs};
use crate::frame::FrameMalformed;
use crate::topic::PartitionId;

impl Group {
    /// Folds in a grant made at `time`.
    ///
    /// # Errors
    /// When it contradicts the group; then part of it may have been folded in.
    pub(crate) fn apply_granted(
        &mut self,
        event: &GroupGranted,
        time: Timestamp,
    ) -> Result<(), FrameMalformed> {
        if event.epoch < self.epoch_next.0 {
            return Err(FrameMalformed(format!(
                "grant {} of a group comes after grant {}",
                event.epoch, self.epoch_next.0
            )));
        }
        self.epoch_next = GrantEpoch(event.epoch.saturating_add(1));
        let leased = OpenState::Leased {
            deadline: later(time, event.lease_us),
            epoch: GrantEpoch(event.epoch),
            member: MemberId(event.member),
        };
        for again in &event.again {
            self.lease_again(again, leased, time)?;
            self.begin_batch(PartitionId(again.partition), event);
        }
        for fresh in &event.fresh {
            self.open_fresh(fresh, leased, time)?;
            if !fresh.leased.is_empty() {
                self.begin_batch(PartitionId(fresh.partition), event);
            }
        }
        Ok(())
    }

    fn lease_again(
        &mut self,
        again: &GrantedAgain,
        leased: OpenState,
        time: Timestamp,
    ) -> Result<(), FrameMalformed> {
        let partition = PartitionId(again.partition);
        for offset in runs::unpack(&again.offsets, Offset(0))? {
            let place = Place { partition, offset };
            let open = self.opened(place)?;
            if open.state == OpenState::Held {
                return Err(contradiction(place, "is granted ahead of its key"));
            }
            let first_granted =
                if open.first_granted == Timestamp(0) { time } else { open.first_granted };
            let attempts = open.attempts.saturating_add(1);
            self.put(place, Some(Open { attempts, first_granted, state: leased, ..open }));
        }
        Ok(())
    }

    fn open_fresh(
        &mut self,
        fresh: &GrantedFresh,
        state: OpenState,
        time: Timestamp,
    ) -> Result<(), FrameMalformed> {
        let partition = PartitionId(fresh.partition);
        let cursor = self.cursor_mut(partition)?;
        let start = cursor.next;
        let end = start.0.checked_add(fresh.moved).map(Offset);
        let end = end.ok_or_else(|| FrameMalformed("a cursor leaves all bounds".to_owned()))?;
        cursor.next = end;
        let leased = Open { attempts: 1, key: KeyHash::NONE, first_granted: time, state };
        let held =
            Open { attempts: 0, first_granted: Timestamp(0), state: OpenState::Held, ..leased };
        let lists =
            [(&fresh.leased, &fresh.leased_keys, leased), (&fresh.held, &fresh.held_keys, held)];
        for (packed, keys, open) in lists {
            let offsets = runs::unpack(packed, start)?;
            for (offset, key) in offsets.iter().zip(self.keys_of(&offsets, keys)?) {
                let place = Place { partition, offset: *offset };
                if *offset >= end || self.open.contains_key(&place) {
                    return Err(contradiction(place, "is opened twice, or beyond the cursor"));
                }
                let queues = key != KeyHash::NONE && self.keys.is_taken(key);
                if queues != (open.state == OpenState::Held) {
                    return Err(contradiction(place, "is opened out of the order of its key"));
                }
                self.put(place, Some(Open { key, ..open }));
            }
        }
        Ok(())
    }

    /// The key of each offset: as listed with order by key, none otherwise.
    fn keys_of(
        &self,
        offsets: &[Offset],
        keys: &[u64],
    ) -> Result<impl Iterator<Item = KeyHash> + use<>, FrameMalformed> {
        let by_key = self.settings.ordering == Ordering::Key;
        if keys.len() != if by_key { offsets.len() } else { 0 } {
            return Err(FrameMalformed(format!(
                "{} records of a group come with {} keys",
                offsets.len(),
                keys.len()
            )));
        }
        let keys: Vec<KeyHash> = keys.iter().copied().map(KeyHash).collect();
        Ok(keys.into_iter().chain(std::iter::repeat(KeyHash::NONE)))
    }

    fn begin_batch(&mut self, partition: PartitionId, event: &GroupGranted) {
        if self.settings.ordering != Ordering::Partition {
            return;
        }
        if let Ok(cursor) = self.cursor_mut(partition) {
            cursor.batch = GrantEpoch(event.epoch);
            cursor.member = MemberId(event.member);
        }
        self.refresh_turn(partition);
    }

    /// Folds in the end of leases, at `time`.
    ///
    /// # Errors
    /// When it contradicts the group; then part of it may have been folded in.
    pub(crate) fn apply_settled(
        &mut self,
        event: &GroupSettled,
        time: Timestamp,
    ) -> Result<(), FrameMalformed> {
        for settled in &event.partitions {
            let partition = PartitionId(settled.partition);
            for offset in unpack_both(&settled.acked, &settled.dead)? {
                let place = Place { partition, offset };
                self.leased(place)?;
                self.close(place, time);
            }
            self.change_leases(settled, time)?;
            self.refresh_turn(partition);
        }
        Ok(())
    }

    fn change_leases(
        &mut self,
        settled: &SettledPartition,
        time: Timestamp,
    ) -> Result<(), FrameMalformed> {
        let partition = PartitionId(settled.partition);
        for (offset, delay) in with_times(&settled.nacked, &settled.delays_us)? {
            let place = Place { partition, offset };
            let (open, ..) = self.leased(place)?;
            let state = OpenState::Waiting { until: later(time, delay) };
            self.put(place, Some(Open { state, ..open }));
        }
        for (offset, lease) in with_times(&settled.extended, &settled.leases_us)? {
            let place = Place { partition, offset };
            let (open, epoch, member) = self.leased(place)?;
            let deadline = later(time, lease);
            let state = OpenState::Leased { deadline, epoch, member };
            self.put(place, Some(Open { state, ..open }));
        }
        for offset in runs::unpack(&settled.released, Offset(0))? {
            let place = Place { partition, offset };
            let (open, ..) = self.leased(place)?;
            let attempts = open.attempts.saturating_sub(1);
            let state = OpenState::Waiting { until: time };
            self.put(place, Some(Open { attempts, state, ..open }));
        }
        Ok(())
    }

    /// Folds in that records are offered once more, at `time`.
    ///
    /// # Errors
    /// When it contradicts the group; then part of it may have been folded in.
    pub(crate) fn apply_offered(
        &mut self,
        event: &GroupOffered,
        time: Timestamp,
    ) -> Result<(), FrameMalformed> {
        for offered in &event.partitions {
            let partition = PartitionId(offered.partition);
            let next = self.cursor_mut(partition)?.next;
            let offsets = runs::unpack(&offered.offsets, Offset(0))?;
            for (offset, key) in offsets.iter().zip(self.keys_of(&offsets, &offered.keys)?) {
                let place = Place { partition, offset: *offset };
                if *offset >= next || self.open.contains_key(&place) {
                    return Err(contradiction(place, "is offered once more and is not done"));
                }
                let state = if self.keys.is_taken(key) {
                    OpenState::Held
                } else {
                    OpenState::Waiting { until: time }
                };
                let first_granted = Timestamp(0);
                self.put(place, Some(Open { attempts: 0, key, first_granted, state }));
            }
            self.refresh_turn(partition);
        }
        Ok(())
    }

    fn opened(&self, place: Place) -> Result<Open, FrameMalformed> {
        self.open(place).copied().ok_or_else(|| contradiction(place, "is not open"))
    }

    fn leased(&self, place: Place) -> Result<(Open, GrantEpoch, MemberId), FrameMalformed> {
        let open = self.opened(place)?;
        match open.state {
            OpenState::Leased { epoch, member, .. } => Ok((open, epoch, member)),
            OpenState::Waiting { .. } | OpenState::Held => {
                Err(contradiction(place, "is not leased"))
            }
        }
    }
}

fn unpack_both(one: &[u64], other: &[u64]) -> Result<Vec<Offset>, FrameMalformed> {
    let mut offsets = runs::unpack(one, Offset(0))?;
    offsets.extend(runs::unpack(other, Offset(0))?);
    Ok(offsets)
}

fn with_times(
    packed: &[u64],
    times: &[u64],
) -> Result<impl Iterator<Item = (Offset, u64)>, FrameMalformed> {
    let offsets = runs::unpack(packed, Offset(0))?;
    if offsets.len() != times.len() {
        return Err(FrameMalformed(format!(
            "{} records of a group come with {} times",
            offsets.len(),
            times.len()
        )));
    }
    Ok(offsets.into_iter().zip(times.iter().copied()))
}

fn contradiction(place: Place, what: &str) -> FrameMalformed {
    let Place { partition, offset } = place;
    FrameMalformed(format!("record {offset} of partition {} of a group {what}", partition.0))
}
