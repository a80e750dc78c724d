//! Keeps stores small: what lies below the lowest pending offset of a partition is trimmed, and stragglers that hold back much move
//! to the end.
//!
//! To find the lowest offset all schedules of a topic are looked at, on a clone and outside of the committer; so that is done only when
//! enough was delivered to be worth it. A trim is an ordinary frame, and files go when it is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use embermq_storage::{Offset, Timestamp};

use super::ScheduleId;
use super::agenda::{Agenda, Shown};
use super::delivery::{AT_ONCE, AT_ONCE_BYTES, deliver, find, later};
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
}

#[derive(Clone, Copy, Debug)]
struct Tidied {
    /// How many schedules had ended.
    ended: u64,
    at: Timestamp,
}

impl Tidying {
    /// Tidies a store if it is time, or sets the alarm for that.
    pub(super) fn tidy(&mut self, broker: &Broker, agenda: &Agenda) -> Result<(), CommitError> {
        let shown = agenda.shown();
        let (count, ended) = (shown.schedules.count(), shown.schedules.ended());
        let before = self.done.get(&agenda.id).copied();
        let before = before.unwrap_or(Tidied { ended: 0, at: Timestamp(i64::MIN) });
        let since = ended - before.ended.min(ended);
        let patience_us = match since {
            0 => return Ok(()),
            since if since >= ENDED.max(count / ENDED_PART) => 0,
            _ if count == 0 => EMPTY_US,
            _ => REST_US,
        };
        let (now, due) = (broker.group_time(), later(before.at, patience_us));
        if now < due {
            broker.agendas().alarm.at(due);
            return Ok(());
        }
        if let Some(store) = broker.store_of(agenda, &shown.schedules) {
            trim(broker, &store, &shown)?;
            if move_stragglers(broker, agenda, &store, &shown)? {
                trim(broker, &store, &agenda.shown())?;
            }
        }
        self.done.insert(agenda.id, Tidied { ended, at: now });
        Ok(())
    }

    /// Forgets topics that are gone.
    pub(super) fn forget_all_but(&mut self, agendas: &[Arc<Agenda>]) {
        if self.done.len() > agendas.len() {
            self.done.retain(|id, _| agendas.iter().any(|agenda| agenda.id == *id));
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

/// Appends stragglers to the store anew, under their ids. True when there were any.
fn move_stragglers(
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
        if holds_back(extent.records, span, partition.reader.bytes()) {
            move_partition(broker, agenda, store, shown, number)?;
            moved = true;
        }
    }
    Ok(moved)
}

fn move_partition(
    broker: &Broker,
    agenda: &Agenda,
    store: &Topic,
    shown: &Shown,
    number: PartitionId,
) -> Result<(), CommitError> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    let send = |items: &mut Vec<(ScheduleId, _)>| {
        let items = std::mem::take(items);
        deliver(broker, Delivery { topic: agenda.id, purpose: Purpose::Move, items }).map(|_| ())
    };
    let here = shown.schedules.behind(None).filter(|(_, held)| held.partition == number);
    for (id, held) in here {
        // What cannot be read stays where it is.
        let Found::Batch(append) = find(agenda, Some(store), held) else { continue };
        bytes += append.batch.body.len();
        items.push((id, Some(append)));
        if bytes > AT_ONCE_BYTES || items.len() == AT_ONCE {
            send(&mut items)?;
            bytes = 0;
        }
    }
    if items.is_empty() { Ok(()) } else { send(&mut items) }
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
