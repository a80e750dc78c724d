//! The one thing that changes anything: a commit, all or nothing.

use bytes::Bytes;
use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Position, Timestamp};

use crate::consume::{Settled, Settlement};
use crate::schedule::ScheduleId;
use crate::topic::{Durability, PartitionId, Topic, TopicId};

/// Records for one partition of one topic, as the producer sent them.
///
/// `body` is the wire form of a `RecordBatch` behind its stamped head (protobuf fields 9 and up).
#[derive(Clone, Debug)]
pub struct Batch {
    /// The bytes, stored as they are.
    pub body: Bytes,
    /// CRC-32 of `body`, computed by the caller's task so that the committer does not have to.
    pub body_crc: u32,
    /// How many records it holds; at least 1.
    pub record_count: u32,
}

/// One append within a commit.
#[derive(Clone, Debug)]
pub struct Append {
    /// The topic.
    pub topic: TopicName,
    /// The partition, already chosen (`Broker::partition_for`).
    pub partition: PartitionId,
    /// The records.
    pub batch: Batch,
}

/// An append that takes effect later.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// What is to be appended, and where.
    pub append: Append,
    /// When. If this moment has come already, it is appended at once.
    pub deliver_at: Timestamp,
}

/// A scheduled append that is named, to cancel it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRef {
    /// The topic that it is for.
    pub topic: TopicName,
    /// Which one.
    pub id: ScheduleId,
}

/// Who produces, so that a repeat is recognised: the state is kept per topic of the first append and producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Chosen by the client; not 0.
    pub id: u64,
    /// A new epoch fences the older ones.
    pub epoch: u32,
    /// The number of the commit's first record; the first commit of an epoch has 0, each next one the sum of what came before.
    pub sequence: u64,
}

/// A name for the commit, so that a repeat within the window is recognised. Kept per topic of the first append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// 1 to 255 bytes.
    pub key: String,
    /// Of keys and values, not of headers: the same key with another fingerprint is refused.
    pub fingerprint: u64,
}

/// What must hold for the commit to take effect, as things are before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The next offset of a partition is exactly this.
    NextOffset {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionId,
        /// The offset that the next record must get.
        offset: Offset,
    },
    /// The latest record of a key is this one.
    Key {
        /// The topic.
        topic: TopicName,
        /// The partition; `None`: the key's own.
        partition: Option<PartitionId>,
        /// The topic as it was when the partitions of the appends were chosen; `None`: as it is when the commit comes.
        seen: Option<TopicSeen>,
        /// The key; not empty.
        key: Bytes,
        /// What must be.
        expected: KeyExpectation,
    },
}

/// A topic as it was seen: another one of its name is not meant, and a key's own partition is the one that it had then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSeen {
    /// Which topic.
    pub id: TopicId,
    /// How many partitions it had.
    pub partitions: u32,
}

impl TopicSeen {
    /// As this is.
    #[must_use]
    pub const fn of(topic: &Topic) -> Self {
        Self { id: topic.id, partitions: topic.settings.partitions }
    }
}

/// What is expected of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExpectation {
    /// There is no record of it, or in a topic with `compact` its latest one is a tombstone.
    Absent,
    /// Its latest record, which may be a tombstone, has this offset.
    Version(Offset),
}

/// A commit.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// All must hold.
    pub preconditions: Vec<Precondition>,
    /// All are appended, each partition's in this order.
    pub appends: Vec<Append>,
    /// Appended when their time has come, or at once if it has. Their stores have to be there, which [`Broker::commit`] sees to.
    ///
    /// [`Broker::commit`]: crate::Broker::commit
    pub scheduled: Vec<Scheduled>,
    /// Scheduled appends that are not to happen. One that is not pending refuses the whole commit.
    pub cancels: Vec<ScheduleRef>,
    /// Of any groups. One that is stale refuses the whole commit.
    pub settlements: Vec<Settlement>,
    /// Makes repeats harmless.
    pub producer: Option<ProducerStamp>,
    /// Makes repeats harmless.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Stronger than the topics' own, if set; never weaker.
    pub durability: Option<Durability>,
}

/// Where one append went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionId,
    /// The offset of its first record; the others follow without a gap.
    pub base_offset: Offset,
    /// How many records.
    pub count: u32,
}

/// A scheduled append that is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Names it; `id.due` is when it will be appended, or soon after.
    pub id: ScheduleId,
    /// The topic that it is for.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionId,
    /// How many records.
    pub count: u32,
}

/// What became of an append that was to be scheduled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arranged {
    /// It waits for its time.
    Scheduled(Schedule),
    /// Its time had come.
    Appended(Appended),
}

/// A commit that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where in the commit log; of the original for a repeat.
    pub position: Position,
    /// When, in log time.
    pub time: Timestamp,
    /// One for each append.
    pub appends: Vec<Appended>,
    /// One for each scheduled append; of the original for a repeat.
    pub scheduled: Vec<Arranged>,
    /// One for each settlement; none for a repeat.
    pub settled: Vec<Settled>,
    /// True when this was a repeat: nothing was appended now, these are the original results.
    pub repeated: bool,
    /// For a repeat: how many partitions the topic of each of `appends`, then of each of `scheduled`, had then. 0: not known.
    pub(crate) partitions: Vec<u32>,
    /// What this acknowledgement means.
    pub durability: Durability,
}
