//! Buries records whose last lease has lapsed: whoever had them died with them, and nobody else will say so.
//!
//! A thread of its own, which sleeps until the first of them may be due. It needs no runtime, and nobody has to ask for records
//! to make dead letters appear.

use std::sync::Arc;

use embermq_storage::Timestamp;

use super::dead_letter::Reason;
use super::desk::Desk;
use super::settling::dead_letter_topic;
use crate::broker::Broker;
use crate::error::CommitError;
use crate::group::{self, GrantEpoch, LeaseRef};
use crate::state::{Ending, Endings, GroupRequest, GroupState};

/// Records that are buried in one commit, and bytes of their letters, of which the last one may have more.
const BURIED_AT_ONCE: usize = 64;
const BURIED_BYTES: usize = 4 << 20;

/// What is tried again after a failure.
const RETRY_US: i64 = 1_000_000;

/// Buries what there is, and sets the alarm for what comes.
pub(crate) fn bury(broker: &Broker) {
    for desk in broker.desks().all() {
        if let Err(error) = bury_all(broker, &desk) {
            if error.retryable() {
                tracing::debug!(%error, group = %desk.name, "dead records wait to be buried");
            } else {
                tracing::warn!(%error, topic = %desk.topic, group = %desk.name, "dead records could not be buried");
            }
            let again = Timestamp(broker.group_time().0.saturating_add(RETRY_US));
            broker.desks().alarm.again_at(again);
        }
    }
}

fn bury_all(broker: &Broker, desk: &Arc<Desk>) -> Result<(), CommitError> {
    loop {
        let state = desk.state();
        let Some(endings) = burial(broker, desk, &state)? else {
            if let Some(due) = state.group.next_exhausted() {
                broker.desks().alarm.at(due);
            }
            return Ok(());
        };
        broker.ensure_dead_letter_topic_blocking(&dead_letter_topic(desk, &state)?)?;
        broker
            .submit_group(GroupRequest::Bury { endings })?
            .blocking_recv()
            .unwrap_or(Err(CommitError::ShuttingDown))?;
    }
}

/// What is to be buried now, as much as goes into one commit.
pub(super) fn burial(
    broker: &Broker,
    desk: &Desk,
    state: &GroupState,
) -> Result<Option<Endings>, CommitError> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    for dead in state.group.exhausted(broker.group_time()).take(BURIED_AT_ONCE) {
        let letter = broker.letter(desk, state, &dead, (Reason::Lapsed, ""))?;
        let lease = LeaseRef { place: dead.place, attempt: dead.attempts, epoch: GrantEpoch(0) };
        let settlement = group::Settlement { lease, verdict: group::Verdict::Reject };
        bytes += letter.batch.body.len();
        items.push(Ending { group: desk.id, settlement, letter: Some(letter) });
        if bytes > BURIED_BYTES {
            break;
        }
    }
    Ok((!items.is_empty()).then_some(Endings { items, all_or_nothing: false }))
}
