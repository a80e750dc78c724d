//! The state as a stream of records, and back.
//!
//! Order: one `Clock`, then for each topic its `Topic`, its `Partition`s in order, its `Producer`s, its `Key`s and its `Schedules`; then
//! for each group its `Group` and the records that the group keeps of itself. Each
//! record is a protobuf message of its own; storage frames and checks them.

use std::sync::Arc;

use bytes::Bytes;
use embermq_storage::partition::{PartitionManifest, SegmentMeta};
use embermq_storage::{Offset, Position, Timestamp};
use prost::Message;

use super::groups::{GroupId, GroupState};
use super::kept_schedules::KeptSchedules;
use super::keys::Used;
use super::letters::Letters;
use super::producers::{Producer, Sent};
use super::{Keys, PartitionState, Producers, Schedules, State, StoredAppend, TopicState};
use crate::frame::{FrameMalformed, StoredSettings};
use crate::group::{Group, GroupSettings, KeptGroupRecord};
use crate::schedule::ScheduleId;
use crate::topic::{PartitionId, TopicId};

/// One record of a snapshot.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SnapshotRecord {
    #[prost(oneof = "Kept", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub(crate) kept: Option<Kept>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Kept {
    #[prost(message, tag = "1")]
    Clock(KeptClock),
    #[prost(message, tag = "2")]
    Topic(KeptTopic),
    #[prost(message, tag = "3")]
    Partition(KeptPartition),
    #[prost(message, tag = "4")]
    Producer(KeptProducer),
    #[prost(message, tag = "5")]
    Key(KeptKey),
    #[prost(message, tag = "6")]
    Group(KeptGroup),
    #[prost(message, tag = "7")]
    GroupRecord(KeptGroupRecord),
    #[prost(message, tag = "8")]
    Schedules(KeptSchedules),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct KeptClock {
    #[prost(sfixed64, tag = "1")]
    time_us: i64,
    #[prost(uint32, tag = "2")]
    topic_next: u32,
    #[prost(uint32, tag = "3")]
    group_next: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptTopic {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, required, tag = "3")]
    settings: StoredSettings,
    #[prost(sfixed64, tag = "4")]
    created_us: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptPartition {
    #[prost(uint32, tag = "1")]
    topic: u32,
    #[prost(uint64, tag = "3")]
    start: u64,
    #[prost(uint64, tag = "4")]
    next: u64,
    #[prost(message, repeated, tag = "5")]
    segments: Vec<KeptSegment>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct KeptSegment {
    #[prost(uint64, tag = "1")]
    base: u64,
    #[prost(uint64, tag = "2")]
    next: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
    #[prost(sfixed64, tag = "4")]
    first_time_us: i64,
    #[prost(sfixed64, tag = "5")]
    last_time_us: i64,
    #[prost(bool, tag = "6")]
    sealed: bool,
}

/// A group, but for what its own records say, which follow it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptGroup {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint32, tag = "2")]
    topic: u32,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(sfixed64, tag = "4")]
    created_us: i64,
    #[prost(fixed64, tag = "5")]
    secret: u64,
    /// Runs of dead letters: the first of each, and the one behind its last.
    #[prost(uint64, repeated, tag = "6")]
    letters: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptProducer {
    #[prost(uint32, tag = "1")]
    topic: u32,
    #[prost(fixed64, tag = "2")]
    id: u64,
    #[prost(uint32, tag = "3")]
    epoch: u32,
    #[prost(uint64, tag = "4")]
    next: u64,
    #[prost(sfixed64, tag = "5")]
    expires_us: i64,
    #[prost(message, repeated, tag = "6")]
    recent: Vec<KeptAnswer>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptKey {
    #[prost(uint32, tag = "1")]
    topic: u32,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(fixed64, tag = "3")]
    fingerprint: u64,
    #[prost(sfixed64, tag = "4")]
    expires_us: i64,
    #[prost(message, required, tag = "5")]
    answer: KeptAnswer,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptAnswer {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(sfixed64, tag = "3")]
    time_us: i64,
    #[prost(message, repeated, tag = "4")]
    appends: Vec<KeptAppend>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct KeptAppend {
    #[prost(uint32, tag = "1")]
    topic: u32,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(uint64, tag = "3")]
    base: u64,
    #[prost(uint32, tag = "4")]
    count: u32,
    /// Both or neither: it was put off.
    #[prost(sfixed64, optional, tag = "5")]
    due_us: Option<i64>,
    #[prost(uint64, optional, tag = "6")]
    seq: Option<u64>,
    /// 0 in snapshots of earlier versions.
    #[prost(uint32, tag = "7")]
    partitions: u32,
}

impl State {
    /// Gives every record to `emit`. `manifest` tells the segments of a partition.
    pub(crate) fn save<E>(
        &self,
        manifest: &dyn Fn(TopicId, PartitionId) -> Option<Arc<PartitionManifest>>,
        emit: &mut dyn FnMut(&SnapshotRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut put = |kept: Kept| emit(&SnapshotRecord { kept: Some(kept) });
        put(Kept::Clock(KeptClock {
            time_us: self.time.0,
            topic_next: self.topic_next,
            group_next: self.group_next,
        }))?;
        for topic in self.topics() {
            put(Kept::Topic(KeptTopic {
                id: topic.id.0,
                name: topic.name.to_string(),
                settings: StoredSettings::of(&topic.settings),
                created_us: topic.created.0,
            }))?;
            for (number, partition) in (0..).zip(&topic.partitions) {
                let segments = manifest(topic.id, PartitionId(number));
                put(Kept::Partition(KeptPartition {
                    topic: topic.id.0,
                    start: partition.start.0,
                    next: partition.next.0,
                    segments: segments
                        .iter()
                        .flat_map(|m| &m.segments)
                        .map(KeptSegment::of)
                        .collect(),
                }))?;
            }
            for (id, producer) in topic.producers.iter() {
                put(Kept::Producer(KeptProducer::of(topic.id, id, producer)))?;
            }
            for (key, used) in topic.keys.iter() {
                put(Kept::Key(KeptKey::of(topic.id, key, used)))?;
            }
            for kept in KeptSchedules::of(topic.id, &topic.schedules) {
                put(Kept::Schedules(kept))?;
            }
        }
        for group in self.groups() {
            put(Kept::Group(KeptGroup::of(group)))?;
            for record in group.group.kept(group.id.0) {
                put(Kept::GroupRecord(record))?;
            }
        }
        Ok(())
    }

    /// Takes in one record of a snapshot, in the order in which they were saved. A partition's segments are returned.
    pub(crate) fn load(
        &mut self,
        record: Bytes,
    ) -> Result<Option<(TopicId, PartitionId, PartitionManifest)>, FrameMalformed> {
        let malformed =
            |error: &dyn std::fmt::Display| FrameMalformed(format!("snapshot: {error}"));
        let record = SnapshotRecord::decode(record).map_err(|error| malformed(&error))?;
        match record.kept {
            Some(Kept::Clock(clock)) => {
                self.time = Timestamp(clock.time_us);
                self.topic_next = clock.topic_next;
                self.group_next = clock.group_next;
            }
            Some(Kept::Topic(topic)) => {
                let id = TopicId(topic.id);
                let name: embermq_protocol::names::TopicName =
                    topic.name.parse().map_err(|error| malformed(&error))?;
                self.names.insert(name.clone(), id);
                let topic = TopicState {
                    id,
                    name,
                    settings: topic.settings.to_settings(),
                    created: Timestamp(topic.created_us),
                    partitions: Vec::new(),
                    producers: Producers::default(),
                    keys: Keys::default(),
                    groups: imbl::OrdMap::new(),
                    schedules: Schedules::default(),
                };
                self.topics.insert(id, Arc::new(topic));
            }
            Some(Kept::Partition(kept)) => {
                let topic = self.topic_mut(kept.topic)?;
                let number = PartitionId(u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX));
                let (start, next) = (Offset(kept.start), Offset(kept.next));
                topic.partitions.push(PartitionState { start, next });
                let segments = kept.segments.iter().map(|kept| kept.to_meta()).collect();
                return Ok(Some((topic.id, number, PartitionManifest { start, segments })));
            }
            Some(Kept::Producer(kept)) => {
                let topic = self.topic_mut(kept.topic)?.id;
                self.change_producers(topic, |all| all.restore(kept.id, kept.to_producer()));
            }
            Some(Kept::Key(kept)) => {
                let topic = self.topic_mut(kept.topic)?.id;
                self.change_keys(topic, |keys| keys.note(&kept.key, kept.to_used()));
            }
            Some(Kept::Schedules(kept)) => {
                self.change_schedules(kept.topic(), |schedules| kept.put_back(schedules))?;
            }
            Some(Kept::Group(kept)) => self.restore_group(kept.to_state()?),
            Some(Kept::GroupRecord(kept)) => {
                let state = self.group_mut(kept.group)?;
                let mut loading = Some(std::mem::replace(&mut state.group, no_group()));
                Group::load(&mut loading, &kept)?;
                state.group = loading.unwrap_or_else(no_group);
            }
            None => return Err(malformed(&"a record of an unknown kind")),
        }
        Ok(None)
    }
}

/// Stands in for a group whose own records have not been read yet.
fn no_group() -> Group {
    Group::new(GroupSettings::default(), [])
}

impl KeptGroup {
    fn of(group: &GroupState) -> Self {
        Self {
            id: group.id.0,
            topic: group.topic.0,
            name: group.name.to_string(),
            created_us: group.created.0,
            secret: group.secret,
            letters: group.letters.runs().flat_map(|(first, end)| [first, end]).collect(),
        }
    }

    fn to_state(&self) -> Result<GroupState, FrameMalformed> {
        let name = self
            .name
            .parse()
            .map_err(|error| FrameMalformed(format!("snapshot: group {:?}: {error}", self.name)))?;
        let mut letters = Letters::default();
        for run in self.letters.chunks_exact(2) {
            letters.restore(run[0], run[1]);
        }
        Ok(GroupState {
            id: GroupId(self.id),
            topic: TopicId(self.topic),
            name,
            created: Timestamp(self.created_us),
            secret: self.secret,
            group: no_group(),
            letters,
        })
    }
}

impl KeptSegment {
    fn of(meta: &SegmentMeta) -> Self {
        Self {
            base: meta.base.0,
            next: meta.next.0,
            bytes: meta.bytes,
            first_time_us: meta.first_time.0,
            last_time_us: meta.last_time.0,
            sealed: meta.sealed,
        }
    }

    fn to_meta(self) -> SegmentMeta {
        SegmentMeta {
            base: Offset(self.base),
            next: Offset(self.next),
            bytes: self.bytes,
            first_time: Timestamp(self.first_time_us),
            last_time: Timestamp(self.last_time_us),
            sealed: self.sealed,
        }
    }
}

impl KeptProducer {
    fn of(topic: TopicId, id: u64, producer: &Producer) -> Self {
        Self {
            topic: topic.0,
            id,
            epoch: producer.epoch,
            next: producer.next,
            expires_us: producer.expires.0,
            recent: producer
                .recent
                .iter()
                .map(|sent| KeptAnswer::of(sent.sequence, sent.position, sent.time, &sent.appends))
                .collect(),
        }
    }

    fn to_producer(&self) -> Producer {
        let recent = self.recent.iter().map(|answer| Sent {
            sequence: answer.sequence,
            position: Position(answer.position),
            time: Timestamp(answer.time_us),
            appends: answer.to_appends(),
        });
        Producer {
            epoch: self.epoch,
            next: self.next,
            expires: Timestamp(self.expires_us),
            recent: recent.collect(),
        }
    }
}

impl KeptKey {
    fn of(topic: TopicId, key: &str, used: &Used) -> Self {
        Self {
            topic: topic.0,
            key: key.to_owned(),
            fingerprint: used.fingerprint,
            expires_us: used.expires.0,
            answer: KeptAnswer::of(0, used.position, used.time, &used.appends),
        }
    }

    fn to_used(&self) -> Used {
        Used {
            fingerprint: self.fingerprint,
            expires: Timestamp(self.expires_us),
            position: Position(self.answer.position),
            time: Timestamp(self.answer.time_us),
            appends: self.answer.to_appends(),
        }
    }
}

impl KeptAnswer {
    fn of(sequence: u64, position: Position, time: Timestamp, appends: &[StoredAppend]) -> Self {
        let appends = appends
            .iter()
            .map(|append| KeptAppend {
                topic: append.topic.0,
                partition: append.partition.0,
                base: append.base.0,
                count: append.count,
                partitions: append.partitions,
                due_us: append.schedule.map(|id| id.due.0),
                seq: append.schedule.map(|id| id.seq),
            })
            .collect();
        Self { sequence, position: position.0, time_us: time.0, appends }
    }

    fn to_appends(&self) -> Arc<[StoredAppend]> {
        let kept = self.appends.iter().map(|append| StoredAppend {
            topic: TopicId(append.topic),
            partition: PartitionId(append.partition),
            base: Offset(append.base),
            count: append.count,
            partitions: append.partitions,
            schedule: append
                .due_us
                .zip(append.seq)
                .map(|(due, seq)| ScheduleId { due: Timestamp(due), seq }),
        });
        kept.collect()
    }
}
