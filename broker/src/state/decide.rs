//! From a request to a frame, or to a refusal: every rule that a commit must satisfy is here.

use std::time::Duration;

use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Position, Timestamp};

use super::endings::{Ended, Endings, note_letters};
use super::groups::GroupId;
use super::producers::Arrival;
use super::schedule_decide::fits_store;
use super::{State, StoredAppend, Sums, TopicState};
use crate::commit::{Append, Appended, Arranged, Commit, Committed, Precondition, Schedule};
use crate::error::CommitError;
use crate::frame::{
    CatalogChange, FrameAppend, FrameHead, FrameKey, FrameProducer, PartitionTrimmed,
    StoredSettings, TopicCreated, TopicDeleted, TopicEdited,
};
use crate::topic::{Cleanup, Durability, PartitionId, TopicEdit, TopicId, TopicSettings};

/// The most partitions of a topic.
const PARTITIONS_MAX: u32 = 1_024;

/// What decisions are bound by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long repeats are recognised.
    pub(crate) idempotency: Duration,
    pub(crate) producer: Duration,
    /// How many schedules may be pending.
    pub(crate) schedules_max: u32,
    /// How many bytes idempotency keys and producers may take.
    pub(crate) idempotency_bytes_max: u64,
    pub(crate) producer_bytes_max: u64,
}

/// What was decided on a new commit, beside its frame.
#[derive(Debug)]
pub(crate) struct Decided {
    /// What its acknowledgement means.
    pub(crate) durability: Durability,
    /// What becomes of the leases that it settles.
    pub(crate) ended: Ended,
}

/// What a frame gave out so far.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Records, by topic and partition.
    records: Sums<(u32, u32)>,
    /// Schedules, by topic.
    pub(super) schedules: Sums<u32>,
}

/// What becomes of a commit.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The frame was made. It says nothing when all that the commit settles is stale.
    Frame(Decided),
    /// It was committed before: this is the answer it got then.
    Repeat(Committed),
}

impl State {
    /// Decides on a commit at `now`; a new one is written into `head`.
    pub(crate) fn decide(
        &self,
        (commit, endings, seed): (&Commit, &Endings, u64),
        now: Timestamp,
        bounds: Bounds,
        head: &mut FrameHead,
    ) -> Result<Decision, CommitError> {
        let time = self.time.max(now);
        let keeper = self.keeper(commit, endings)?;
        if let Some(repeat) = self.repeat(keeper, commit, time)? {
            return Ok(Decision::Repeat(repeat));
        }
        self.check(&commit.preconditions)?;
        head.clear_for(time);
        let ended = if endings.items.is_empty() {
            Ended::default()
        } else {
            self.decide_endings(endings, seed, time, head)?
        };
        // An acknowledgement of a lease is as durable as what its topic holds.
        let mut durability = commit.durability.unwrap_or(Durability::Os);
        let strict = |group| self.durability_of_group(group) == Durability::Fsync;
        if endings.items.iter().any(|ending| strict(ending.group)) {
            durability = Durability::Fsync;
        }
        let own = commit.appends.len() + commit.scheduled.len();
        let mut given = Given::default();
        for (index, append) in Self::sources(commit, endings, &ended).enumerate() {
            let topic =
                if append.topic == keeper.name { keeper } else { self.find(&append.topic)? };
            if index < own {
                self.check_no_store(topic)?;
            }
            match index.checked_sub(commit.appends.len()) {
                Some(index) if index < commit.scheduled.len() => {
                    let scheduled = &commit.scheduled[index];
                    self.decide_scheduled(topic, scheduled, time, head, &mut given)?;
                }
                _ => Self::give_offsets(topic, append, head, &mut given)?,
            }
            if topic.settings.durability == Durability::Fsync {
                durability = Durability::Fsync;
            }
        }
        self.decide_cancels(&commit.cancels, head)?;
        // One that is cancelled must not happen after all, so that is as durable as the schedule was.
        for cancel in &commit.cancels {
            if self.find(&cancel.topic)?.settings.durability == Durability::Fsync {
                durability = Durability::Fsync;
            }
        }
        self.check_schedules(head, bounds.schedules_max)?;
        note_letters(endings, &ended, own, head);
        self.decide_repeats(keeper, commit, bounds, head)?;
        Ok(Decision::Frame(Decided { durability, ended }))
    }

    /// Notes how a repeat of a new commit is recognised, if there is room to remember it.
    fn decide_repeats(
        &self,
        keeper: &TopicState,
        commit: &Commit,
        bounds: Bounds,
        head: &mut FrameHead,
    ) -> Result<(), CommitError> {
        let time = Timestamp(head.time_us);
        let appends = commit.appends.len() + commit.scheduled.len();
        if let Some(producer) = commit.producer {
            let limit = bounds.producer_bytes_max;
            let forget = self.room_for_producer(keeper, (producer, appends), time, limit)?;
            head.producer = Some(FrameProducer {
                id: producer.id,
                epoch: producer.epoch,
                sequence: producer.sequence,
                expires_us: later(time, bounds.producer).0,
                forget,
            });
        }
        if let Some(key) = &commit.idempotency_key {
            self.check_room_for_key(&key.key, appends, time, bounds.idempotency_bytes_max)?;
            head.key = Some(FrameKey {
                key: key.key.clone(),
                fingerprint: key.fingerprint,
                expires_us: later(time, bounds.idempotency).0,
            });
        }
        Ok(())
    }

    /// The topic that remembers a commit.
    fn keeper(&self, commit: &Commit, endings: &Endings) -> Result<&TopicState, CommitError> {
        let first = commit.appends.first();
        let first = first.or(commit.scheduled.first().map(|scheduled| &scheduled.append));
        // Of groups the first by number, as a frame has them.
        let group = endings.items.iter().map(|ending| ending.group).min();
        match (first, group, commit.cancels.first()) {
            (Some(first), _, _) => self.find(&first.topic),
            (None, Some(group), _) => self.topic_of_group(group),
            (None, None, Some(first)) => self.find(&first.topic),
            (None, None, None) => Err(CommitError::Empty),
        }
    }

    /// The answer that a commit got before, if it is a repeat.
    pub(crate) fn repeat_of(
        &self,
        (commit, endings): (&Commit, &Endings),
        now: Timestamp,
    ) -> Result<Option<Committed>, CommitError> {
        self.repeat(self.keeper(commit, endings)?, commit, self.time.max(now))
    }

    /// Puts an append into `head`, with the offsets behind those that were given so far.
    pub(super) fn give_offsets(
        topic: &TopicState,
        append: &Append,
        head: &mut FrameHead,
        given: &mut Given,
    ) -> Result<(), CommitError> {
        let state = partition_of(topic, append.partition)?;
        let place = (topic.id.0, append.partition.0);
        let before = given
            .records
            .of(&place, &head.appends, |other| (other.place(), u64::from(other.record_count)));
        if append.batch.record_count == 0 {
            return Err(CommitError::Empty);
        }
        head.appends.push(FrameAppend {
            topic: topic.id.0,
            partition: append.partition.0,
            base_offset: state.next.plus(before).0,
            record_count: append.batch.record_count,
            body_bytes: append.batch.body.len() as u64,
        });
        Ok(())
    }

    fn topic_of_group(&self, group: GroupId) -> Result<&TopicState, CommitError> {
        let found = self.group(group).and_then(|state| self.topic(state.topic));
        let detail = "its group was deleted".to_owned();
        found.ok_or(CommitError::LeaseLost { index: 0, detail })
    }

    fn repeat(
        &self,
        keeper: &TopicState,
        commit: &Commit,
        now: Timestamp,
    ) -> Result<Option<Committed>, CommitError> {
        if let Some(key) = &commit.idempotency_key
            && let Some(used) = keeper.keys.get(&key.key, now)
        {
            if used.fingerprint != key.fingerprint {
                let (topic, key) = (keeper.name.clone(), key.key.clone());
                return Err(CommitError::IdempotencyKeyReused { topic, key });
            }
            let answer = (used.position, used.time, &*used.appends);
            return Ok(Some(self.original(answer, commit, keeper)));
        }
        let Some(producer) = &commit.producer else { return Ok(None) };
        if producer.id == 0 {
            return Err(CommitError::Invalid {
                detail: "a producer id is a number from 1 on; 0 means none".to_owned(),
            });
        }
        let scheduled = commit.scheduled.iter().map(|scheduled| &scheduled.append);
        let appends = commit.appends.iter().chain(scheduled);
        let count: u64 = appends.map(|append| u64::from(append.batch.record_count)).sum();
        match keeper.producers.arrival(*producer, count, now) {
            Arrival::Next => Ok(None),
            Arrival::Repeat(sent) => {
                let answer = (sent.position, sent.time, &*sent.appends);
                Ok(Some(self.original(answer, commit, keeper)))
            }
            Arrival::Fenced { current } => {
                Err(CommitError::Fenced { producer: producer.id, epoch: producer.epoch, current })
            }
            Arrival::Gap { expected } => Err(CommitError::SequenceGap {
                producer: producer.id,
                expected,
                received: producer.sequence,
            }),
        }
    }

    fn original(
        &self,
        (position, time, appends): (Position, Timestamp, &[StoredAppend]),
        commit: &Commit,
        keeper: &TopicState,
    ) -> Committed {
        let name =
            |id: TopicId| self.topic(id).map_or_else(|| keeper.name.clone(), |t| t.name.clone());
        let appended = |append: &StoredAppend| Appended {
            topic: name(append.topic),
            partition: append.partition,
            base_offset: append.base,
            count: append.count,
        };
        let arranged = |append: &StoredAppend| match append.schedule {
            Some(id) => Arranged::Scheduled(Schedule {
                id,
                topic: name(append.topic),
                partition: append.partition,
                count: append.count,
            }),
            None => Arranged::Appended(appended(append)),
        };
        // There may be more or fewer of them than the repeat has, when the topic got partitions since.
        let (own, scheduled): (Vec<_>, Vec<_>) = if commit.appends.is_empty() {
            (Vec::new(), appends.iter().collect())
        } else {
            // What was put off then has no offset now, whatever the repeat asks for.
            appends.iter().partition(|append| append.schedule.is_none())
        };
        let partitions = own.iter().chain(&scheduled).map(|append| append.partitions).collect();
        // The shell answers a repeat only when everything before it is durable.
        Committed {
            position,
            time,
            appends: own.into_iter().map(appended).collect(),
            scheduled: scheduled.into_iter().map(arranged).collect(),
            settled: Vec::new(),
            repeated: true,
            partitions,
            durability: Durability::Fsync,
        }
    }

    fn check(&self, preconditions: &[Precondition]) -> Result<(), CommitError> {
        for precondition in preconditions {
            // Those on keys are the shard's: the state knows no keys.
            let Precondition::NextOffset { topic, partition: number, offset } = precondition else {
                continue;
            };
            let actual = partition_of(self.find(topic)?, *number)?.next;
            if actual != *offset {
                return Err(CommitError::OffsetConflict {
                    topic: topic.clone(),
                    partition: *number,
                    expected: *offset,
                    actual,
                });
            }
        }
        Ok(())
    }

    /// Decides on a new topic. `Ok(None)`: it is there already, with these settings.
    pub(crate) fn decide_create(
        &self,
        name: &TopicName,
        settings: &TopicSettings,
        now: Timestamp,
    ) -> Result<Option<FrameHead>, CommitError> {
        check_settings(settings)?;
        if let Some(there) = self.named(name) {
            return match difference(&there.settings, settings) {
                None => Ok(None),
                Some(detail) => Err(CommitError::TopicExists { topic: name.clone(), detail }),
            };
        }
        Ok(Some(self.catalog_frame(
            now,
            CatalogChange::Create(TopicCreated {
                topic: self.topic_next,
                name: name.to_string(),
                settings: StoredSettings::of(settings),
            }),
        )))
    }

    /// Decides on a change of settings. `Ok(None)`: nothing changes.
    pub(crate) fn decide_edit(
        &self,
        name: &TopicName,
        edit: &TopicEdit,
        now: Timestamp,
    ) -> Result<Option<FrameHead>, CommitError> {
        let topic = self.find(name)?;
        let settings = edit.on(&topic.settings);
        check_settings(&settings)?;
        if settings.partitions < topic.settings.partitions {
            return Err(CommitError::Invalid {
                detail: format!(
                    "topic {name} has {} partitions, {} were asked for: partitions can be added, not taken away",
                    topic.settings.partitions, settings.partitions
                ),
            });
        }
        if settings == topic.settings {
            return Ok(None);
        }
        if fits_store(name, &settings).is_err() {
            self.check_not_in_use(topic, "it has to keep whatever it holds")?;
        }
        let (topic, settings) = (topic.id.0, StoredSettings::of(&settings));
        Ok(Some(self.catalog_frame(now, CatalogChange::Edit(TopicEdited { topic, settings }))))
    }

    /// Decides on a deletion.
    pub(crate) fn decide_delete(
        &self,
        name: &TopicName,
        now: Timestamp,
    ) -> Result<FrameHead, CommitError> {
        let topic = self.find(name)?;
        self.check_not_in_use(topic, "it cannot be deleted alone")?;
        let store = self.store_to_delete(topic).map(|store| store.0);
        let topic = topic.id.0;
        Ok(self.catalog_frame(now, CatalogChange::Delete(TopicDeleted { topic, store })))
    }

    /// A frame that makes a partition begin at `start`.
    pub(crate) fn decide_trim(
        &self,
        topic: TopicId,
        partition: PartitionId,
        start: Offset,
        now: Timestamp,
    ) -> FrameHead {
        let (topic, partition, start) = (topic.0, partition.0, start.0);
        self.catalog_frame(now, CatalogChange::Trim(PartitionTrimmed { topic, partition, start }))
    }

    /// The same, if it is there and begins earlier.
    pub(crate) fn decide_trim_to(
        &self,
        topic: TopicId,
        partition: PartitionId,
        start: Offset,
        now: Timestamp,
    ) -> Option<FrameHead> {
        let there = self.topic(topic)?.partitions.get(partition.0 as usize)?;
        (there.start < start).then(|| self.decide_trim(topic, partition, start, now))
    }

    fn catalog_frame(&self, now: Timestamp, change: CatalogChange) -> FrameHead {
        let time_us = self.time.max(now).0;
        FrameHead { time_us, catalog: Some(change), ..FrameHead::default() }
    }

    pub(super) fn find(&self, name: &TopicName) -> Result<&TopicState, CommitError> {
        self.named(name).ok_or_else(|| CommitError::TopicNotFound { topic: name.clone() })
    }
}

impl FrameHead {
    pub(super) fn clear_for(&mut self, time: Timestamp) {
        self.time_us = time.0;
        self.appends.clear();
        self.groups.clear();
        self.schedules.clear();
        self.schedule_ends.clear();
        (self.producer, self.key, self.catalog) = (None, None, None);
    }
}

impl TopicEdit {
    fn on(&self, settings: &TopicSettings) -> TopicSettings {
        TopicSettings {
            partitions: self.partitions.unwrap_or(settings.partitions),
            retention_age: self.retention_age.unwrap_or(settings.retention_age),
            retention_bytes: self.retention_bytes.unwrap_or(settings.retention_bytes),
            cleanup: self.cleanup.unwrap_or(settings.cleanup),
            tombstone_retention: self.tombstone_retention.unwrap_or(settings.tombstone_retention),
            durability: self.durability.unwrap_or(settings.durability),
            record_bytes_max: self.record_bytes_max.unwrap_or(settings.record_bytes_max),
        }
    }
}

pub(super) fn partition_of(
    topic: &TopicState,
    number: PartitionId,
) -> Result<super::PartitionState, CommitError> {
    topic.partitions.get(number.0 as usize).copied().ok_or_else(|| CommitError::PartitionNotFound {
        topic: topic.name.clone(),
        partition: number,
        partitions: topic.settings.partitions,
    })
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

fn check_settings(settings: &TopicSettings) -> Result<(), CommitError> {
    let invalid = |detail: String| Err(CommitError::Invalid { detail });
    if !(1..=PARTITIONS_MAX).contains(&settings.partitions) {
        return invalid(format!(
            "{} partitions were asked for; a topic has 1 to {PARTITIONS_MAX}",
            settings.partitions
        ));
    }
    let limit = embermq_protocol::limits::REQUEST_BYTES_MAX;
    if settings.record_bytes_max == 0 || u64::from(settings.record_bytes_max) > limit as u64 {
        return invalid(format!(
            "record_bytes_max is {}; it must be 1 to {limit}, the limit of a request",
            settings.record_bytes_max
        ));
    }
    Ok(())
}

fn difference(there: &TopicSettings, asked: &TopicSettings) -> Option<String> {
    let mut found = Vec::new();
    let mut compare = |name: &str, there: String, asked: String| {
        if there != asked {
            found.push(format!("{name} is {there}, not {asked}"));
        }
    };
    let shown = |value: &dyn std::fmt::Debug| format!("{value:?}");
    compare("partitions", there.partitions.to_string(), asked.partitions.to_string());
    let age = |settings: &TopicSettings| match settings.retention_age {
        Some(age) => format!("{age:?}"),
        None => "unbounded".to_owned(),
    };
    let bytes = |settings: &TopicSettings| match settings.retention_bytes {
        Some(bytes) => bytes.to_string(),
        None => "unbounded".to_owned(),
    };
    let compact = |settings: &TopicSettings| (settings.cleanup == Cleanup::Compact).to_string();
    compare("retention.age", age(there), age(asked));
    compare("retention.bytes", bytes(there), bytes(asked));
    compare("compact", compact(there), compact(asked));
    compare(
        "tombstone_retention",
        shown(&there.tombstone_retention),
        shown(&asked.tombstone_retention),
    );
    compare("durability", shown(&there.durability), shown(&asked.durability));
    compare(
        "record_bytes_max",
        there.record_bytes_max.to_string(),
        asked.record_bytes_max.to_string(),
    );
    (!found.is_empty()).then(|| found.join("; "))
}
