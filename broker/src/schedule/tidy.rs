//! Keeps stores small: what lies below the lowest pending offset of a partition is trimmed, and stragglers that hold back much move
//! to the end.
//!
//! To find the lowest offset all schedules of a topic are looked at, on a clone and outside of the committer; so that is done only when
//! enough was delivered to be worth it. A trim is an ordinary frame, and files go when it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use embermq_storage::{Offset, Timestamp};

use super::agenda::{Agenda, Shown};
use super::delivery::{Load, deliver, find, later, retry_us};
use super::store::Found;
use crate::broker::Broker;
use crate::error::CommitError;
use crate::shard::CatalogRequest;
use crate::state::{Delivery, Purpose};
use crate::topic::{PartitionId, Topic, TopicId};

/// So many ended since the last time are worth a look, if they are also this part of what is pending.
const ENDED: u64 = 1_000;
const ENDED_PART: u64 = 8;
/// A store from which everything was delivered is tidied no more often than this.
const EMPTY_US: i64 = 1_000_000;
/// A store from which little was delivered is tidied after this.
const REST_US: i64 = 60_000_000;

/// Stragglers move when they hold back at least so many bytes of a partition ...
const HELD_BACK_BYTES: u64 = 64 << 20;
/// ... of which they are less than this part.
const HELD_BACK_PART: u64 = 8;

/// When each store was last tidied.
#[derive(Debug, Default)]
pub(super) struct Tidying {
    done: BTreeMap<TopicId, Tidied>,
    /// Partitions of their stores with something that cannot be read, which nothing moves out of the way.
    pinned: BTreeSet<(TopicId, PartitionId)>,
}

#[derive(Clone, Copy, Debug)]
struct Tidied {
    /// How many schedules had ended.
    ended: u64,
    at: Timestamp,
    /// It failed: it is not tried again before this.
    not_before: Timestamp,
}

impl Tidied {
    const NEVER: Self = Self { ended: 0, at: Timestamp(i64::MIN), not_before: Timestamp(i64::MIN) };
}

impl Tidying {
    /// Tidies a store if it is time, or sets the alarm for that.
    pub(super) fn tidy(&mut self, broker: &Broker, agenda: &Agenda) {
        let shown = agenda.shown();
        let (count, ended) = (shown.schedules.count(), shown.schedules.ended());
        let before = self.done.get(&agenda.id).copied().unwrap_or(Tidied::NEVER);
        let since = ended - before.ended.min(ended);
        let patience_us = match since {
            0 => return,
            since if since >= ENDED.max(count / ENDED_PART) => 0,
            _ if count == 0 => EMPTY_US,
            _ => REST_US,
        };
        let now = broker.group_time();
        let due = later(before.at, patience_us).max(before.not_before);
        if now < due {
            broker.agendas().alarm.at(due);
            return;
        }
        let tidied = match self.tidy_now(broker, agenda, &shown) {
            Ok(()) => Tidied { ended, at: now, not_before: now },
            Err(error) => {
                tracing::debug!(%error, topic = %agenda.topic, "a store waits to be tidied");
                let not_before = later(now, retry_us(&error));
                broker.agendas().alarm.at(not_before);
                Tidied { not_before, ..before }
            }
        };
        self.done.insert(agenda.id, tidied);
    }

    fn tidy_now(
        &mut self,
        broker: &Broker,
        agenda: &Agenda,
        shown: &Shown,
    ) -> Result<(), CommitError> {
        let Some(store) = broker.store_of(agenda, &shown.schedules) else { return Ok(()) };
        trim(broker, &store, shown)?;
        if self.move_stragglers(broker, agenda, &store, shown)? {
            trim(broker, &store, &agenda.shown())?;
        }
        Ok(())
    }

    /// Appends stragglers to the store anew, under their ids. True when there were any.
    fn move_stragglers(
        &mut self,
        broker: &Broker,
        agenda: &Agenda,
        store: &Topic,
        shown: &Shown,
    ) -> Result<bool, CommitError> {
        let mut moved = false;
        for (number, extent) in shown.schedules.extents() {
            let at = number.0 as usize;
            let (Some(partition), Some(end)) = (store.partitions.get(at), shown.store_ends.get(at))
            else {
                continue;
            };
            let span = end.0.saturating_sub(extent.lowest);
            let place = (agenda.id, number);
            if self.pinned.contains(&place)
                || !holds_back(extent.records, span, partition.reader.bytes())
            {
                continue;
            }
            if !move_partition(broker, agenda, store, shown, number)? {
                // What is there holds all of it back, however much is moved.
                self.pinned.insert(place);
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Forgets topics that are gone.
    pub(super) fn forget_all_but(&mut self, agendas: &[Arc<Agenda>]) {
        if self.done.len() > agendas.len() {
            let there = |id: &TopicId| agendas.iter().any(|agenda| agenda.id == *id);
            self.done.retain(|id, _| there(id));
            self.pinned.retain(|(id, _)| there(id));
        }
    }
}

/// Trims the store's partitions as far as nothing is pending there.
fn trim(broker: &Broker, store: &Topic, shown: &Shown) -> Result<(), CommitError> {
    for (partition, (number, start)) in store.partitions.iter().zip(starts(shown)) {
        if partition.start() < start {
            broker.change_blocking(CatalogRequest::Trim(store.id, number, start))?;
        }
    }
    Ok(())
}

/// Where each partition of the store may begin: what is pending lies at or behind that, and so does all that is scheduled later.
pub(crate) fn starts(shown: &Shown) -> Vec<(PartitionId, Offset)> {
    let extents = shown.schedules.extents();
    let starts = (0..).map(PartitionId).zip(&shown.store_ends).map(|(number, end)| {
        (number, extents.get(&number).map_or(*end, |extent| Offset(extent.lowest)))
    });
    starts.collect()
}

/// Whether what is pending in a partition of the store is so little of it that it had better move.
const fn holds_back(records: u64, span: u64, bytes: u64) -> bool {
    records > 0 && bytes >= HELD_BACK_BYTES && records < span / HELD_BACK_PART
}

/// False when something there cannot be read; it stays where it is.
fn move_partition(
    broker: &Broker,
    agenda: &Agenda,
    store: &Topic,
    shown: &Shown,
    number: PartitionId,
) -> Result<bool, CommitError> {
    let (mut load, mut whole) = (Load::default(), true);
    let send = |load: Load| {
        let delivery = Delivery { topic: agenda.id, purpose: Purpose::Move, items: load.items };
        deliver(broker, delivery).map(|_| ())
    };
    let here = shown.schedules.behind(None).filter(|(_, held)| held.partition == number);
    for (id, held) in here {
        let Found::Batch(append) = find(agenda, Some(store), held) else {
            whole = false;
            continue;
        };
        if !load.has_room_for(&append) {
            send(std::mem::take(&mut load))?;
        }
        load.add(id, Some(append));
    }
    if !load.items.is_empty() {
        send(load)?;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stragglers_move_when_they_are_few_in_much() {
        let much = HELD_BACK_BYTES;
        assert!(holds_back(1, 1_000, much));
        assert!(!holds_back(0, 1_000, much), "nothing is held back");
        assert!(!holds_back(125, 1_000, much), "an eighth is worth keeping");
        assert!(!holds_back(1, 1_000, much - 1), "little is held back");
    }
}
