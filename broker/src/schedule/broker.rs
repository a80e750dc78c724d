//! What a program can ask of schedules.

use std::sync::Arc;

use embermq_protocol::batch::decode_batches;
use embermq_storage::Offset;

use super::ScheduleId;
use super::agenda::Agenda;
use crate::TopicName;
use crate::broker::Broker;
use crate::commit::{Commit, Schedule, ScheduleRef};
use crate::error::CommitError;
use crate::record::Record;
use crate::shard::CatalogRequest;
use crate::state::{Held, Schedules, fits_store, store_name, store_settings};
use crate::topic::{Topic, TopicEdit};

/// What a topic has scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduleCounts {
    /// Schedules that are pending.
    pub pending: u64,
    /// Records in them.
    pub pending_records: u64,
    /// Records that were delivered since the process started.
    pub delivered_records: u64,
}

impl Broker {
    /// What is scheduled for a topic, in the order of its delivery: at most `limit`, those behind `after`.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`].
    pub fn schedules(
        &self,
        topic: &TopicName,
        after: Option<ScheduleId>,
        limit: usize,
    ) -> Result<Vec<Schedule>, CommitError> {
        let Some(agenda) = self.agenda(topic)? else { return Ok(Vec::new()) };
        let shown = agenda.shown();
        let some = shown.schedules.behind(after).take(limit);
        Ok(some.map(|(id, held)| schedule(topic, id, held)).collect())
    }

    /// One of them, with its records.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::ScheduleNotFound`], or [`CommitError::ReadFailed`].
    pub async fn schedule(
        &self,
        topic: &TopicName,
        id: ScheduleId,
    ) -> Result<(Schedule, Vec<Record>), CommitError> {
        let not_found = || {
            let (topic, schedule) = (topic.clone(), id.to_string());
            CommitError::ScheduleNotFound { topic, schedule }
        };
        let agenda = self.agenda(topic)?.ok_or_else(not_found)?;
        let shown = agenda.shown();
        let held = shown.schedules.get(id).ok_or_else(not_found)?;
        let store = self.store_of(&agenda, &shown.schedules).ok_or_else(not_found)?;
        let read = tokio::task::spawn_blocking(move || records(&store, held)).await;
        let records = read.map_err(|_| CommitError::ShuttingDown)??;
        // It may have been delivered, and its store trimmed, between the two looks.
        Ok((schedule(topic, id, held), records.ok_or_else(not_found)?))
    }

    /// Cancels something that is scheduled: it will not happen. Together with other things, atomically: [`Commit::cancels`].
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::ScheduleNotFound`], or what can befall any commit.
    pub async fn cancel_schedule(
        &self,
        topic: &TopicName,
        id: ScheduleId,
    ) -> Result<(), CommitError> {
        let cancels = vec![ScheduleRef { topic: topic.clone(), id }];
        self.commit(Commit { cancels, ..Commit::default() }).await.map(|_| ())
    }

    /// How many there are for a topic; none when there never was one.
    #[must_use]
    pub fn schedule_counts(&self, topic: &Topic) -> Option<ScheduleCounts> {
        let agenda = self.agendas().get(topic.id)?;
        let shown = agenda.shown();
        Some(ScheduleCounts {
            pending: shown.schedules.count(),
            pending_records: shown.schedules.records(),
            delivered_records: agenda.delivered(),
        })
    }

    fn agenda(&self, topic: &TopicName) -> Result<Option<Arc<Agenda>>, CommitError> {
        let found = self.topic(topic);
        let found = found.ok_or_else(|| CommitError::TopicNotFound { topic: topic.clone() })?;
        Ok(self.agendas().get(found.id))
    }

    /// The topic with the batches.
    pub(super) fn store_of(&self, agenda: &Agenda, schedules: &Schedules) -> Option<Arc<Topic>> {
        let store = self.topic(&store_name(&agenda.topic).ok()?)?;
        (Some(store.id) == schedules.store()).then_some(store)
    }

    /// Makes sure of the stores of what a commit schedules.
    pub(crate) async fn ensure_stores(&self, commit: &Commit) -> Result<(), CommitError> {
        for change in self.missing_stores(commit)? {
            self.change(change).await?;
        }
        Ok(())
    }

    /// The same for a thread that may block.
    pub(crate) fn ensure_stores_blocking(&self, commit: &Commit) -> Result<(), CommitError> {
        self.missing_stores(commit)?
            .into_iter()
            .try_for_each(|change| self.change_blocking(change).map(|_| ()))
    }

    fn missing_stores(&self, commit: &Commit) -> Result<Vec<CatalogRequest>, CommitError> {
        let mut changes = Vec::new();
        if commit.scheduled.is_empty() {
            return Ok(changes);
        }
        let now = self.group_time();
        let mut topics: Vec<&TopicName> = commit
            .scheduled
            .iter()
            .filter(|scheduled| scheduled.deliver_at > now)
            .map(|scheduled| &scheduled.append.topic)
            .collect();
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            // The decision refuses what is for no topic.
            let Some(target) = self.topic(topic) else { continue };
            let name = store_name(topic)?;
            match self.topic(&name) {
                None => {
                    changes.push(CatalogRequest::Create(name, store_settings(&target.settings)));
                }
                Some(store) => {
                    fits_store(&name, &store.settings)?;
                    if store.settings.partitions < target.settings.partitions {
                        let partitions = Some(target.settings.partitions);
                        let edit = TopicEdit { partitions, ..TopicEdit::default() };
                        changes.push(CatalogRequest::Edit(name, edit));
                    }
                }
            }
        }
        Ok(changes)
    }
}

fn schedule(topic: &TopicName, id: ScheduleId, held: Held) -> Schedule {
    Schedule { id, topic: topic.clone(), partition: held.partition, count: held.count }
}

/// The records of a schedule; none when they are not there any more.
fn records(store: &Topic, held: Held) -> Result<Option<Vec<Record>>, CommitError> {
    use embermq_storage::segment::ReadError;
    let Some(partition) = store.partitions.get(held.partition.0 as usize) else { return Ok(None) };
    let slice = match partition.reader.read(Offset(held.offset), 1) {
        Ok(slice) => slice,
        Err(ReadError::OutOfRange { .. }) => return Ok(None),
        Err(error) => return Err(CommitError::unreadable(&error)),
    };
    let records = decode_batches(slice.pieces, held.offset).take(held.count as usize);
    let records: Result<Vec<Record>, _> =
        records.map(|stored| stored.map(|one| one.record)).collect();
    records.map(Some).map_err(|error| CommitError::ReadFailed { detail: error.to_string() })
}
