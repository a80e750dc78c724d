//! Waiting a moment for more records, for whoever takes them in batches and would rather have full ones.
//!
//! Nobody waits while there is a full batch, nor for records that are due again, nor longer than was said from the first record on.

use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::Timestamp;

use super::desk::Desk;
use super::leasing::member_id;
use crate::broker::Broker;
use crate::error::CommitError;
use crate::topic::Topic;

/// Who waits, and for how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gathering<'a> {
    pub(crate) topic: &'a TopicName,
    pub(crate) group: &'a GroupName,
    /// The name under which the records are going to be leased.
    pub(crate) member: &'a str,
    /// As many as are a full batch.
    pub(crate) records: u64,
    /// How long the first record waits for others.
    pub(crate) delay: Duration,
}

/// What there is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heap {
    Nothing,
    Some,
    Enough,
}

impl Broker {
    /// Returns when there is a full batch, when the first record has waited long enough, or when records are due again.
    pub(crate) async fn gather(&self, gathering: Gathering<'_>) -> Result<(), CommitError> {
        let mut patience = None;
        loop {
            let topic = self.known_topic(gathering.topic)?;
            let desk = self.desk(gathering.topic, gathering.group)?;
            // From here on no wake-up is missed.
            let mut changed = std::pin::pin!(desk.changed.notified());
            let mut grown = std::pin::pin!(topic.grown.notified());
            changed.as_mut().enable();
            grown.as_mut().enable();
            if desk.is_gone() || self.is_shutting_down() {
                return Ok(());
            }
            match self.heap(&desk, &topic, &gathering) {
                Heap::Enough => return Ok(()),
                // Others may have taken what there was.
                Heap::Nothing => patience = None,
                Heap::Some => {
                    patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(gathering.delay)));
                }
            }
            let due = self.until_due_again(&desk);
            let enough_waited = async {
                match &mut patience {
                    Some(sleep) => sleep.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut changed => {}
                () = &mut grown => {}
                () = due => {}
                () = enough_waited => return Ok(()),
            }
        }
    }

    fn heap(&self, desk: &Arc<Desk>, topic: &Topic, gathering: &Gathering<'_>) -> Heap {
        let state = desk.state();
        let now = self.group_time();
        if state.group.has_deliverable(now) {
            return Heap::Enough;
        }
        let member = member_id(gathering.member);
        let members = desk.members.lock().clone();
        let free = state.group.partition_figures().zip(&topic.partitions);
        let free = free.filter(|(figures, _)| {
            state.group.takes_fresh(figures.partition, member, &members, now)
        });
        let fresh: u64 =
            free.map(|(figures, partition)| partition.end().0.saturating_sub(figures.next.0)).sum();
        match fresh {
            0 => Heap::Nothing,
            fresh if fresh >= gathering.records => Heap::Enough,
            _ => Heap::Some,
        }
    }

    /// Sleeps until something is due although nothing happens.
    async fn until_due_again(&self, desk: &Arc<Desk>) {
        let now = self.group_time();
        match desk.state().group.next_due(now) {
            // A little late rather than a little early, which would be in vain.
            Some(Timestamp(due)) => {
                let micros = u64::try_from(due.saturating_sub(now.0)).unwrap_or(0);
                tokio::time::sleep(Duration::from_micros(micros) + Duration::from_millis(1)).await;
            }
            None => std::future::pending().await,
        }
    }
}
