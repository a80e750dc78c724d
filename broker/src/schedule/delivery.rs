//! Delivers what is due.
//!
//! A thread of its own, which sleeps until the first schedule of any topic is due. It reads the batches from the stores and asks the
//! committer for one commit that appends them and ends their schedules; what was cancelled meanwhile is passed over. If that
//! fails, as on a full disk, nothing has happened, and it is tried again.

use std::collections::BTreeSet;
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

/// Schedules of one commit, and bytes of their batches, of which the last one may have more.
pub(super) const AT_ONCE: usize = 1_000;
pub(super) const AT_ONCE_BYTES: usize = 4 << 20;

/// What is tried again after a failure.
const RETRY_US: i64 = 1_000_000;
/// When a batch should be readable that is not yet.
const SOON_US: i64 = 20_000;
/// When it is tried again to read what could not be read, or to commit what is not for want of space or patience.
const HOPELESS_RETRY_US: i64 = 60_000_000;

/// Unreadable schedules that are remembered, so that each is reported once.
const REPORTED_MAX: usize = 1_000;

/// What the thread remembers.
#[derive(Debug, Default)]
pub(crate) struct Deliverer {
    reported: BTreeSet<(TopicId, ScheduleId)>,
    tidying: Tidying,
}

impl Deliverer {
    /// Delivers what there is, tidies the stores, and sets the alarm for what comes.
    pub(crate) fn work(&mut self, broker: &Broker) {
        let agendas = broker.agendas().all();
        // In turns, so that no topic waits for all that another has.
        let mut busy: Vec<(&Arc<Agenda>, Option<ScheduleId>)> =
            agendas.iter().map(|agenda| (agenda, None)).collect();
        while !busy.is_empty() && !broker.is_shutting_down() {
            busy.retain_mut(|(agenda, after)| match self.deliver_some(broker, agenda, *after) {
                Ok(last) => {
                    *after = last;
                    last.is_some()
                }
                Err(error) => {
                    try_again(broker, agenda, &error);
                    false
                }
            });
        }
        for agenda in &agendas {
            if let Err(error) = self.tidying.tidy(broker, agenda) {
                try_again(broker, agenda, &error);
            }
        }
        self.tidying.forget_all_but(&agendas);
    }

    /// Delivers some of what is due behind `after`. Gives the last that was looked at, or none when nothing is due.
    fn deliver_some(
        &mut self,
        broker: &Broker,
        agenda: &Agenda,
        after: Option<ScheduleId>,
    ) -> Result<Option<ScheduleId>, CommitError> {
        let shown = agenda.shown();
        let now = broker.group_time();
        let store = broker.store_of(agenda, &shown.schedules);
        let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
        for (id, held) in shown.schedules.due(now, after).take(AT_ONCE) {
            last = Some(id);
            match find(agenda, store.as_deref(), held) {
                Found::Batch(append) => {
                    bytes += append.batch.body.len();
                    items.push((id, Some(append)));
                }
                Found::Gone => {
                    tracing::error!(topic = %agenda.topic, schedule = %id, "what was scheduled is lost: its store does not have it");
                    items.push((id, None));
                }
                Found::NotYet => broker.agendas().alarm.at(later(now, SOON_US)),
                Found::Unreadable(detail) => self.report(broker, agenda, id, &detail),
            }
            if bytes > AT_ONCE_BYTES {
                break;
            }
        }
        if last.is_none()
            && let Some((id, _)) = shown.schedules.behind(after).next()
        {
            broker.agendas().alarm.at(id.due);
        }
        if !items.is_empty() {
            let delivery = Delivery { topic: agenda.id, purpose: Purpose::Deliver, items };
            agenda.note_delivered(deliver(broker, delivery)?);
        }
        Ok(last)
    }

    fn report(&mut self, broker: &Broker, agenda: &Agenda, id: ScheduleId, detail: &str) {
        if self.reported.insert((agenda.id, id)) {
            tracing::error!(topic = %agenda.topic, schedule = %id, %detail, "what is scheduled cannot be read; it stays pending");
        }
        if self.reported.len() > REPORTED_MAX {
            self.reported.pop_first();
        }
        broker.agendas().alarm.at(later(broker.group_time(), HOPELESS_RETRY_US));
    }
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

fn try_again(broker: &Broker, agenda: &Agenda, error: &CommitError) {
    let now = broker.group_time();
    if error.retryable() {
        tracing::debug!(%error, topic = %agenda.topic, "what is scheduled waits to be delivered");
        broker.agendas().alarm.again_at(later(now, RETRY_US));
    } else {
        tracing::warn!(%error, topic = %agenda.topic, "what is scheduled could not be delivered");
        broker.agendas().alarm.at(later(now, HOPELESS_RETRY_US));
    }
}

pub(super) const fn later(time: Timestamp, by_us: i64) -> Timestamp {
    Timestamp(time.0.saturating_add(by_us))
}
