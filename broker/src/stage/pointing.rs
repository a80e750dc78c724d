//! What a commit of a stage does for those who want the answer to a record: pointers in it, and word to those who wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::instances::Outcome;
use super::output::Planned;
use super::settings::StageSettings;
use crate::broker::Broker;
use crate::commit::{Append, Batch, Committed};
use crate::consume::{Desk, Lease, Settled, Verdict};
use crate::error::CommitError;
use crate::group::Place;
use crate::record::Record;
use crate::requests::{Ended, Ending, ensure_topic, pointer_of, wants_answer};
use crate::topic::PartitionId;

/// Who may have asked for the answers of a stage.
pub(super) struct Asked<'a> {
    broker: &'a Broker,
    /// `None`: its group was deleted, and nothing can be committed.
    desk: Option<Arc<Desk>>,
}

const fn place_of(lease: &Lease) -> Place {
    Place { partition: lease.partition, offset: lease.offset }
}

impl<'a> Asked<'a> {
    pub(super) fn of(broker: &'a Broker, settings: &StageSettings) -> Self {
        Self { broker, desk: broker.desks().get(&settings.input, &settings.name) }
    }

    /// Adds pointers for the records that are called for.
    pub(super) async fn point(
        &self,
        settings: &StageSettings,
        ended: &[(Lease, Outcome)],
        planned: &mut Planned,
    ) -> Result<(), CommitError> {
        let Some(desk) = &self.desk else { return Ok(()) };
        let mut pointers = Vec::new();
        let outcomes = planned.commit.settlements.iter().zip(&planned.outputs);
        for ((lease, _), (settlement, output)) in ended.iter().zip(outcomes) {
            if !wants_answer(&lease.record, settings.name.as_str()) {
                continue;
            }
            let last = lease.attempt >= settings.attempts_max;
            let ended = match (&settlement.verdict, output) {
                (Verdict::Ack, Some((partition, _))) => {
                    Ended { dead: false, topic: settings.output.clone(), partition: *partition }
                }
                (Verdict::Reject { .. }, _) => Self::dead(settings)?,
                (Verdict::Nack { .. }, _) if last => Self::dead(settings)?,
                _ => continue,
            };
            pointers.push(pointer_of(desk.id, place_of(lease), &ended));
        }
        if pointers.is_empty() {
            return Ok(());
        }
        let name = ensure_topic(self.broker).await?;
        let topic = self.broker.topic(&name);
        let topic = topic.ok_or_else(|| CommitError::TopicNotFound { topic: name.clone() })?;
        let mut by_partition: BTreeMap<PartitionId, Vec<Record>> = BTreeMap::new();
        for pointer in pointers {
            let partition = self.broker.partition_for(&topic, pointer.key.as_deref());
            by_partition.entry(partition).or_default().push(pointer);
        }
        // Behind the outputs, so that those are found by their number.
        planned.commit.appends.extend(by_partition.into_iter().map(|(partition, records)| {
            Append { topic: name.clone(), partition, batch: Batch::of(&records) }
        }));
        Ok(())
    }

    fn dead(settings: &StageSettings) -> Result<Ended, CommitError> {
        let topic = settings.group().dead_letter_topic(&settings.input, &settings.name)?;
        Ok(Ended { dead: true, topic, partition: PartitionId(0) })
    }

    /// Tells those who wait for these records where they ended.
    pub(super) fn tell(
        &self,
        ended: &[(Lease, Outcome)],
        outputs: &[Option<(PartitionId, u64)>],
        committed: &Committed,
    ) {
        let Some(desk) = self.desk.as_ref().filter(|desk| !desk.notices.is_empty()) else { return };
        for ((lease, _), (settled, output)) in
            ended.iter().zip(committed.settled.iter().zip(outputs))
        {
            let ending = match (settled, output) {
                (Settled::Acked, Some((partition, index))) => {
                    // Outputs come first among the appends, one for each partition.
                    let appended = committed.appends.iter().find(|a| a.partition == *partition);
                    appended.map(|appended| Ending {
                        dead: false,
                        topic: appended.topic.clone(),
                        partition: *partition,
                        offset: appended.base_offset.plus(*index),
                    })
                }
                (Settled::Dead { letter }, _) => Some(Ending {
                    dead: true,
                    topic: letter.topic.clone(),
                    partition: letter.partition,
                    offset: letter.base_offset,
                }),
                _ => None,
            };
            if let Some(ending) = ending {
                desk.notices.tell(place_of(lease), ending);
            }
        }
    }
}
