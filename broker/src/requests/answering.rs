//! Saying what a request is at, and waiting for its end.

use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::{Offset, Timestamp};

use super::id::RequestId;
use super::notices::Ending;
use super::pointer::{self, Ended, RESULT_AGE, TOPIC, key_of};
use super::state::{Found, RequestError, RequestState, RequestView};
use crate::broker::Broker;
use crate::consume::{Desk, dead_letter_topic, is_letter_of};
use crate::error::ReadError;
use crate::group::{Group, OpenState, Place};
use crate::keys::KeyQuery;
use crate::read::{From, ReadRequest};
use crate::record::{ReadRecord, Record};
use crate::stage::{input_text, is_output_of};
use crate::topic::PartitionId;

/// What ends a record without a word (a dead letter by the undertaker, a deleted group) is noticed this late.
const RECHECK: Duration = Duration::from_secs(1);
/// A settlement may be seen before what it ended with can be read, which is a sync later: pauses between looks, doubling.
const UNSYNCED_PAUSE_MIN: Duration = Duration::from_millis(10);
const UNSYNCED_PAUSE_MAX: Duration = Duration::from_millis(640);
/// Bytes that are looked through for one record.
const LOOK_BYTES_MAX: u64 = 64 << 20;

impl Broker {
    /// The id of the request that a record is to a stage. For its end to be found later, the record has to have the header
    /// [`CALL_HEADER`](super::CALL_HEADER) with the stage's name.
    ///
    /// # Errors
    /// [`RequestError::NotReading`].
    pub fn request_id(
        &self,
        topic: &TopicName,
        stage: &GroupName,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<RequestId, RequestError> {
        let not_reading =
            || RequestError::NotReading { topic: topic.clone(), stage: stage.clone() };
        let desk = self.desks().get(topic, stage).ok_or_else(not_reading)?;
        Ok(RequestId::new(desk.id, desk.state().secret, Place { partition, offset }))
    }

    /// Whether a stage's filter lets a record pass.
    #[cfg(feature = "server")]
    pub(crate) fn would_read(
        &self,
        topic: &TopicName,
        stage: &GroupName,
        record: &Record,
    ) -> Result<bool, RequestError> {
        let not_reading =
            || RequestError::NotReading { topic: topic.clone(), stage: stage.clone() };
        let desk = self.desks().get(topic, stage).ok_or_else(not_reading)?;
        Ok(desk.filter().as_ref().as_ref().is_none_or(|filter| filter.passes(record)))
    }

    /// What a request is at: at its end, or as it is after this long.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(
        &self,
        id: RequestId,
        wait: Duration,
    ) -> Result<RequestView, RequestError> {
        let desk = self.desks().by_id(id.group).ok_or(RequestError::NotFound)?;
        if !id.is_genuine(desk.state().secret) {
            return Err(RequestError::NotFound);
        }
        let view = |state| RequestView {
            id,
            topic: desk.topic.clone(),
            partition: id.place.partition,
            offset: id.place.offset,
            stage: desk.name.clone(),
            state,
        };
        if wait.is_zero() {
            return self.state_of(&desk, id.place).await.map(view);
        }
        // Before the first look, so that no end falls in between.
        let mut waiter = desk.notices.wait_for(id.place);
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            if desk.is_gone() {
                return Err(RequestError::NotFound);
            }
            let state = self.state_of(&desk, id.place).await?;
            if state.is_final() || self.is_shutting_down() {
                return Ok(view(state));
            }
            tokio::select! {
                ending = waiter.ended() => return self.read_ending(&ending).await.map(view),
                () = &mut deadline => return Ok(view(state)),
                () = tokio::time::sleep(RECHECK) => {}
            }
        }
    }

    async fn state_of(&self, desk: &Desk, place: Place) -> Result<RequestState, RequestError> {
        let mut pause = UNSYNCED_PAUSE_MIN;
        loop {
            if let Some(state) = under_way(&desk.state().group, place) {
                return Ok(state);
            }
            if let Some(state) = self.pointed_at(desk, place).await? {
                return Ok(state);
            }
            if pause > UNSYNCED_PAUSE_MAX {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        if let Some(state) = self.buried(desk, place).await? {
            return Ok(state);
        }
        let input = self.input(desk, place).await?;
        if self.now().0.saturating_sub(input.append_time.0) > micros(RESULT_AGE) {
            let what = format!("results can be found for {} hours", RESULT_AGE.as_secs() / 3600);
            return Err(RequestError::Expired { what });
        }
        Ok(RequestState::PassedOver)
    }

    /// What the pointer of a record leads to.
    async fn pointed_at(
        &self,
        desk: &Desk,
        place: Place,
    ) -> Result<Option<RequestState>, RequestError> {
        let Ok(topic) = TOPIC.parse::<TopicName>() else { return Ok(None) };
        let key = key_of(desk.id, place);
        let found = match self.read_key(&topic, key.as_bytes(), KeyQuery::default()).await {
            Ok(found) => found,
            Err(ReadError::KeyNotFound(_) | ReadError::TopicNotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(ended) = pointer::read(&found.record) else { return Ok(None) };
        let until = Some(found.append_time);
        let there = self.look(&ended, found.append_time, until, is_end(desk, place, ended.dead));
        let gone =
            || RequestError::Expired { what: format!("it is in topic {} no more", ended.topic) };
        let found = match there.await {
            Ok(found) => found.ok_or_else(gone)?,
            Err(ReadError::TopicNotFound { .. }) => return Err(gone()),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(state_with(ended.dead, found)))
    }

    /// The dead letter of a record that ended without a pointer.
    async fn buried(
        &self,
        desk: &Desk,
        place: Place,
    ) -> Result<Option<RequestState>, RequestError> {
        let topic = dead_letter_topic(desk, &desk.state())?;
        if self.topic(&topic).is_none() {
            return Ok(None);
        }
        let input = self.input(desk, place).await?;
        let ended = Ended { dead: true, topic, partition: PartitionId(0) };
        let found = self.look(&ended, input.append_time, None, is_end(desk, place, true)).await?;
        Ok(found.map(|found| state_with(true, found)))
    }

    /// The record itself.
    async fn input(&self, desk: &Desk, place: Place) -> Result<ReadRecord, RequestError> {
        let gone = || RequestError::Expired { what: "the record itself was removed".to_owned() };
        match self.record_at(&desk.topic, place.partition, place.offset).await {
            Ok(found) => found.ok_or_else(gone),
            Err(ReadError::OffsetExpired { .. }) => Err(gone()),
            Err(ReadError::TopicNotFound { .. }) => Err(RequestError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    async fn record_at(
        &self,
        topic: &TopicName,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<ReadRecord>, ReadError> {
        let from = From::Offset(offset);
        let request = ReadRequest { bytes_max: 1, ..ReadRequest::new(topic, from) };
        let read = self.read(request.of_partition(partition)).await?;
        let records = read.records().map_err(|error| malformed(topic, partition, &error))?;
        Ok(records.into_iter().next().filter(|record| record.offset == offset))
    }

    async fn read_ending(&self, ending: &Ending) -> Result<RequestState, RequestError> {
        let Ending { dead, topic, partition, offset } = ending;
        let found = self.record_at(topic, *partition, *offset).await?;
        let gone = || RequestError::Expired { what: format!("it is in topic {topic} no more") };
        let found = found.ok_or_else(gone)?;
        Ok(state_with(*dead, found_in(topic, *partition, found)))
    }

    /// The first record that is wanted, among those appended from one moment to another, in a bounded part of them.
    async fn look(
        &self,
        at: &Ended,
        from: Timestamp,
        until: Option<Timestamp>,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Option<Found>, ReadError> {
        let (mut from, mut looked) = (From::Time(from), 0_u64);
        while looked < LOOK_BYTES_MAX {
            let request = ReadRequest::new(&at.topic, from).of_partition(at.partition);
            let read = self.read(request).await?;
            let bytes: usize = read.pieces.iter().map(bytes::Bytes::len).sum();
            let records =
                read.records().map_err(|error| malformed(&at.topic, at.partition, &error))?;
            if records.is_empty() {
                return Ok(None);
            }
            for record in records {
                if until.is_some_and(|until| record.append_time > until) {
                    return Ok(None);
                }
                if wanted(&record.record) {
                    return Ok(Some(found_in(&at.topic, at.partition, record)));
                }
            }
            looked += bytes as u64;
            from = From::Offset(read.next);
        }
        Ok(None)
    }
}

/// What a record is at, as long as its group is not done with it.
fn under_way(group: &Group, place: Place) -> Option<RequestState> {
    if group.next(place.partition).is_none_or(|next| place.offset >= next) {
        return Some(RequestState::Queued);
    }
    let open = group.open(place)?;
    Some(match open.state {
        OpenState::Leased { .. } => RequestState::Running { attempt: open.attempts },
        OpenState::Waiting { until } if open.attempts > 0 => {
            RequestState::Failed { attempts: open.attempts, next_attempt: until }
        }
        OpenState::Waiting { .. } | OpenState::Held => RequestState::Queued,
    })
}

fn is_end(desk: &Desk, place: Place, dead: bool) -> impl Fn(&Record) -> bool {
    let input = input_text(&desk.topic, place.partition, place.offset);
    move |record| {
        if dead {
            let names = (desk.topic.as_str(), desk.name.as_str());
            is_letter_of(record, names, (place.partition, place.offset))
        } else {
            is_output_of(record, desk.name.as_str(), &input)
        }
    }
}

fn state_with(dead: bool, found: Found) -> RequestState {
    let found = Box::new(found);
    if dead { RequestState::DeadLettered(found) } else { RequestState::Succeeded(found) }
}

fn found_in(topic: &TopicName, partition: PartitionId, found: ReadRecord) -> Found {
    let ReadRecord { offset, append_time, record } = found;
    Found { topic: topic.clone(), partition, offset, append_time, record }
}

fn malformed(
    topic: &TopicName,
    partition: PartitionId,
    error: &embermq_protocol::batch::FormError,
) -> ReadError {
    let detail = format!("a stored batch cannot be read: {error}");
    ReadError::Io { topic: topic.clone(), partition, detail }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
