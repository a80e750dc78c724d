//! Delivers what is due.
//!
//! A thread of its own, which sleeps until the first schedule of any topic is due. It reads the batches from the stores and asks the
//! committer for one commit that appends them and ends their schedules; what was cancelled meanwhile is passed over. If that
//! fails, as on a full disk, nothing has happened, and it is tried again.

use std::collections::BTreeMap;
use std::sync::Arc;

use embermq_storage::Timestamp;

use super::ScheduleId;
use super::agenda::Agenda;
use super::store::{self, Found};
use super::tidy::Tidying;
use crate::broker::Broker;
use crate::commit::Append;
use crate::error::CommitError;
use crate::state::{Delivery, GroupRequest, Held, Made, Purpose};
use crate::topic::{Topic, TopicId};

/// Schedules of one commit, and bytes of their batches, of which one alone may have more.
const AT_ONCE: usize = 1_000;
const AT_ONCE_BYTES: usize = 4 << 20;

/// What is tried again after a failure.
const RETRY_US: i64 = 1_000_000;
/// When a batch should be readable that is not yet.
const SOON_US: i64 = 20_000;
/// When it is tried again to read what could not be read, or to commit what is not for want of space or patience.
const HOPELESS_RETRY_US: i64 = 60_000_000;

/// What the thread remembers.
#[derive(Debug, Default)]
pub(crate) struct Deliverer {
    /// Topics of which some or all has to wait, though it is due.
    pauses: BTreeMap<TopicId, Pause>,
    tidying: Tidying,
}

/// What of a topic is left alone for a while.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Timestamp,
    /// Everything up to this one. None: all.
    up_to: Option<ScheduleId>,
}

impl Deliverer {
    /// Delivers what there is, tidies the stores, and sets the alarm for what comes.
    pub(crate) fn work(&mut self, broker: &Broker) {
        let mut any = true;
        while any && !broker.is_shutting_down() {
            any = false;
            // In turns, so that no topic waits for all that another has, and anew each time: others have fallen due.
            let agendas = broker.agendas().all();
            for agenda in &agendas {
                any |= self.deliver_some(broker, agenda).unwrap_or_else(|error| {
                    self.pause_for(broker, agenda, &error);
                    false
                });
                self.tidying.tidy(broker, agenda);
            }
            self.forget_all_but(&agendas);
        }
    }

    /// Delivers some of what is due. True when there may be more.
    fn deliver_some(&mut self, broker: &Broker, agenda: &Agenda) -> Result<bool, CommitError> {
        let shown = agenda.shown();
        let now = broker.group_time();
        let after = match self.pauses.get(&agenda.id).copied() {
            Some(pause) if now < pause.until => {
                broker.agendas().alarm.at(pause.until);
                if pause.up_to.is_none() {
                    return Ok(false);
                }
                pause.up_to
            }
            _ => {
                self.pauses.remove(&agenda.id);
                None
            }
        };
        let store = broker.store_of(agenda, &shown.schedules);
        let (mut load, mut unreadable) = (Load::default(), None);
        for (id, held) in shown.schedules.due(now, after) {
            match find(agenda, store.as_deref(), held) {
                Found::Batch(append) if !load.has_room_for(&append) => break,
                Found::Batch(append) => load.add(id, Some(append)),
                Found::Gone => {
                    tracing::error!(topic = %agenda.topic, schedule = %id, "what was scheduled is lost: its store does not have it");
                    load.add(id, None);
                }
                Found::NotYet => broker.agendas().alarm.at(later(now, SOON_US)),
                Found::Unreadable(detail) => {
                    unreadable.get_or_insert((id, detail));
                    let until = later(now, HOPELESS_RETRY_US);
                    self.pauses.insert(agenda.id, Pause { until, up_to: Some(id) });
                }
            }
            if load.items.len() == AT_ONCE {
                break;
            }
        }
        if let Some((id, detail)) = &unreadable {
            tracing::error!(topic = %agenda.topic, schedule = %id, %detail, "what is scheduled cannot be read, from this schedule on; it stays pending");
        }
        if load.items.is_empty() {
            if let Some((id, _)) = shown.schedules.behind(after).find(|(id, _)| id.due > now) {
                broker.agendas().alarm.at(id.due);
            }
            return Ok(unreadable.is_some());
        }
        let delivery = Delivery { topic: agenda.id, purpose: Purpose::Deliver, items: load.items };
        agenda.note_delivered(deliver(broker, delivery)?);
        Ok(true)
    }

    /// Leaves a topic alone for a while: nothing of it can be delivered now.
    fn pause_for(&mut self, broker: &Broker, agenda: &Agenda, error: &CommitError) {
        let until = later(broker.group_time(), retry_us(error));
        if error.retryable() {
            tracing::debug!(%error, topic = %agenda.topic, "what is scheduled waits to be delivered");
        } else {
            tracing::warn!(%error, topic = %agenda.topic, "what is scheduled could not be delivered");
        }
        self.pauses.insert(agenda.id, Pause { until, up_to: None });
        broker.agendas().alarm.at(until);
    }

    fn forget_all_but(&mut self, agendas: &[Arc<Agenda>]) {
        let there = |id: &TopicId| agendas.iter().any(|agenda| agenda.id == *id);
        self.pauses.retain(|id, _| there(id));
        self.tidying.forget_all_but(agendas);
    }
}

/// What one commit takes.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) items: Vec<(ScheduleId, Option<Append>)>,
    bytes: usize,
}

impl Load {
    /// Whether one more still fits. One alone always does: it was taken in as it is.
    pub(super) fn has_room_for(&self, append: &Append) -> bool {
        let bytes = self.bytes + append.batch.body.len();
        self.items.is_empty() || (self.items.len() < AT_ONCE && bytes <= AT_ONCE_BYTES)
    }

    pub(super) fn add(&mut self, id: ScheduleId, append: Option<Append>) {
        self.bytes += append.as_ref().map_or(0, |append| append.batch.body.len());
        self.items.push((id, append));
    }
}

/// How long to leave it alone after an error.
pub(super) fn retry_us(error: &CommitError) -> i64 {
    if error.retryable() { RETRY_US } else { HOPELESS_RETRY_US }
}

/// The append of a schedule, as far as the store has it.
pub(crate) fn find(agenda: &Agenda, store: Option<&Topic>, held: Held) -> Found<Append> {
    let Some(store) = store else { return Found::NotYet };
    store::find(store, held).map(|batch| Append {
        topic: agenda.topic.clone(),
        partition: held.partition,
        batch,
    })
}

/// Asks for it and waits. Gives how many records it was.
pub(super) fn deliver(broker: &Broker, delivery: Delivery) -> Result<u64, CommitError> {
    let answered = broker.submit_group(GroupRequest::Deliver(delivery))?;
    match answered.blocking_recv().unwrap_or(Err(CommitError::ShuttingDown))? {
        Made::Delivered(records) => Ok(records),
        _ => Ok(0),
    }
}

pub(super) const fn later(time: Timestamp, by_us: i64) -> Timestamp {
    Timestamp(time.0.saturating_add(by_us))
}
