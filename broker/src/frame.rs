//! What a commit looks like in the commit log.
//!
//! A frame's payload is
//!
//! ```text
//! head length u32 LE | head: FrameHead (protobuf) | the bodies of its appends, one behind the other
//! ```
//!
//! A head holds all that a decision produced (log time, offsets, who produced): replaying it needs no clock, no
//! randomness and no file. Bodies are stored as the producer sent them; the stamped head of each batch follows from
//! the frame's. These messages are the broker's own: field numbers stay, new ones may be added.

use bytes::{Buf, Bytes};
use embermq_storage::batch::{BATCH_HEAD_BYTES, BatchHead};
use embermq_storage::commit_log::Group;
use embermq_storage::{Offset, Timestamp};
use prost::Message;

use crate::group::{GroupGranted, GroupOffered, GroupSettled, GroupSought, StoredGroupSettings};
use crate::schedule::ScheduleId;
use crate::state::GroupId;

/// The decided part of a commit.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FrameHead {
    /// Log time: never less than that of an earlier frame.
    #[prost(sfixed64, tag = "1")]
    pub(crate) time_us: i64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) appends: Vec<FrameAppend>,
    #[prost(message, optional, tag = "3")]
    pub(crate) producer: Option<FrameProducer>,
    #[prost(message, optional, tag = "4")]
    pub(crate) key: Option<FrameKey>,
    #[prost(oneof = "CatalogChange", tags = "5, 6, 7, 8")]
    pub(crate) catalog: Option<CatalogChange>,
    /// What happened to groups, in this order, after the appends.
    #[prost(message, repeated, tag = "9")]
    pub(crate) groups: Vec<GroupChange>,
    /// Which appends are put off: they went into a store.
    #[prost(message, repeated, tag = "10")]
    pub(crate) schedules: Vec<FrameSchedule>,
    /// What was put off, and is delivered or cancelled now.
    #[prost(message, repeated, tag = "11")]
    pub(crate) schedule_ends: Vec<FrameScheduleEnd>,
}

/// Something that happened to a group.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupChange {
    #[prost(oneof = "GroupEvent", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub(crate) event: Option<GroupEvent>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum GroupEvent {
    #[prost(message, tag = "1")]
    Create(GroupCreated),
    #[prost(message, tag = "2")]
    Edit(GroupEdited),
    #[prost(message, tag = "3")]
    Delete(GroupDeleted),
    #[prost(message, tag = "4")]
    Granted(GroupGranted),
    #[prost(message, tag = "5")]
    Settled(GroupSettled),
    #[prost(message, tag = "6")]
    Sought(GroupSought),
    #[prost(message, tag = "7")]
    Offered(GroupOffered),
    #[prost(message, tag = "8")]
    Letters(GroupLetters),
}

impl GroupEvent {
    /// The group that it happened to.
    pub(crate) const fn group(&self) -> GroupId {
        GroupId(match self {
            Self::Create(event) => event.group,
            Self::Edit(event) => event.group,
            Self::Delete(event) => event.group,
            Self::Granted(event) => event.group,
            Self::Settled(event) => event.group,
            Self::Sought(event) => event.group,
            Self::Offered(event) => event.group,
            Self::Letters(event) => event.group,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupCreated {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) topic: u32,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(message, required, tag = "4")]
    pub(crate) settings: StoredGroupSettings,
    /// Where it begins, one for each partition.
    #[prost(uint64, repeated, tag = "5")]
    pub(crate) starts: Vec<u64>,
    /// Makes its lease tokens.
    #[prost(fixed64, tag = "6")]
    pub(crate) secret: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupEdited {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    #[prost(message, required, tag = "2")]
    pub(crate) settings: StoredGroupSettings,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct GroupDeleted {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
}

/// Dead letters of a group: offsets in its dead-letter topic.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GroupLetters {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    /// Written by this frame.
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) written: Vec<u64>,
    /// Redriven or dropped by this frame.
    #[prost(uint64, repeated, tag = "3")]
    pub(crate) ended: Vec<u64>,
}

/// Records for one partition.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FrameAppend {
    #[prost(uint32, tag = "1")]
    pub(crate) topic: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) partition: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) base_offset: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) record_count: u32,
    #[prost(uint64, tag = "5")]
    pub(crate) body_bytes: u64,
}

/// An append that is to take effect later: what it holds lies in the store of its topic until then.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct FrameSchedule {
    /// The topic that it is for.
    #[prost(uint32, tag = "1")]
    pub(crate) topic: u32,
    #[prost(sfixed64, tag = "2")]
    pub(crate) due_us: i64,
    #[prost(uint64, tag = "3")]
    pub(crate) seq: u64,
    /// Which of the frame's appends, from 0.
    #[prost(uint32, tag = "4")]
    pub(crate) append: u32,
}

/// A scheduled append that is pending no more.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct FrameScheduleEnd {
    #[prost(uint32, tag = "1")]
    pub(crate) topic: u32,
    #[prost(sfixed64, tag = "2")]
    pub(crate) due_us: i64,
    #[prost(uint64, tag = "3")]
    pub(crate) seq: u64,
    /// By one of the frame's appends. Else it was cancelled.
    #[prost(bool, tag = "4")]
    pub(crate) delivered: bool,
}

/// The producer of the frame's appends, remembered with the topic of the first.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct FrameProducer {
    #[prost(fixed64, tag = "1")]
    pub(crate) id: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) epoch: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) sequence: u64,
    /// Until when it is remembered if it falls silent now.
    #[prost(sfixed64, tag = "4")]
    pub(crate) expires_us: i64,
    /// How many of its commits, the oldest ones, cannot be repeated any more, for want of room.
    #[prost(uint32, tag = "5")]
    pub(crate) forget: u32,
}

/// The idempotency key of the frame, remembered with the topic of the first append.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FrameKey {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(fixed64, tag = "2")]
    pub(crate) fingerprint: u64,
    #[prost(sfixed64, tag = "3")]
    pub(crate) expires_us: i64,
}

/// A change of the catalog.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum CatalogChange {
    #[prost(message, tag = "5")]
    Create(TopicCreated),
    #[prost(message, tag = "6")]
    Edit(TopicEdited),
    #[prost(message, tag = "7")]
    Delete(TopicDeleted),
    #[prost(message, tag = "8")]
    Trim(PartitionTrimmed),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicCreated {
    #[prost(uint32, tag = "1")]
    pub(crate) topic: u32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(message, required, tag = "3")]
    pub(crate) settings: StoredSettings,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TopicEdited {
    #[prost(uint32, tag = "1")]
    pub(crate) topic: u32,
    #[prost(message, required, tag = "2")]
    pub(crate) settings: StoredSettings,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct TopicDeleted {
    #[prost(uint32, tag = "1")]
    pub(crate) topic: u32,
    /// The topic with its scheduled records, which goes with it.
    #[prost(uint32, optional, tag = "2")]
    pub(crate) store: Option<u32>,
}

/// Records below `start` are gone.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PartitionTrimmed {
    #[prost(uint32, tag = "1")]
    pub(crate) topic: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) partition: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) start: u64,
}

/// A topic's settings as stored.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct StoredSettings {
    #[prost(uint32, tag = "1")]
    pub(crate) partitions: u32,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) retention_age_us: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) retention_bytes: Option<u64>,
    #[prost(bool, tag = "4")]
    pub(crate) compact: bool,
    #[prost(uint64, tag = "5")]
    pub(crate) tombstone_retention_us: u64,
    #[prost(bool, tag = "6")]
    pub(crate) durability_os: bool,
    #[prost(uint32, tag = "7")]
    pub(crate) record_bytes_max: u32,
}

/// Why a frame could not be understood, although its checksum was right.
#[derive(Debug, thiserror::Error)]
#[error("a frame of the commit log does not hold together: {0}")]
pub(crate) struct FrameMalformed(pub(crate) String);

impl FrameHead {
    /// Puts the frame into `group`; `bodies` in the order of the appends, with their CRC-32.
    pub(crate) fn encode<'a>(
        &self,
        scratch: &mut Vec<u8>,
        bodies: impl Iterator<Item = (&'a Bytes, u32)>,
        group: &mut Group,
    ) {
        scratch.clear();
        let head_bytes = u32::try_from(self.encoded_len()).unwrap_or(u32::MAX);
        scratch.extend_from_slice(&head_bytes.to_le_bytes());
        self.encode_raw(scratch);
        group.begin_frame();
        group.put(scratch);
        for (body, crc) in bodies {
            group.put_body(body, crc);
        }
        group.end_frame();
    }

    /// Takes a frame's payload apart: its head, and the body of each append.
    pub(crate) fn decode(mut payload: Bytes) -> Result<(Self, Vec<Bytes>), FrameMalformed> {
        let short = || FrameMalformed("it ends too early".to_owned());
        let head_bytes = payload.try_get_u32_le().map_err(|_| short())? as usize;
        if payload.len() < head_bytes {
            return Err(short());
        }
        let head = Self::decode_head(payload.split_to(head_bytes))?;
        let mut bodies = Vec::with_capacity(head.appends.len());
        for append in &head.appends {
            let bytes = usize::try_from(append.body_bytes).map_err(|_| short())?;
            if payload.len() < bytes {
                return Err(short());
            }
            bodies.push(payload.split_to(bytes));
        }
        if payload.has_remaining() {
            return Err(FrameMalformed(format!("{} bytes are left over", payload.remaining())));
        }
        Ok((head, bodies))
    }

    fn decode_head(bytes: Bytes) -> Result<Self, FrameMalformed> {
        <Self as Message>::decode(bytes).map_err(|error| FrameMalformed(error.to_string()))
    }

    /// How many of its appends, the last ones, are dead letters.
    pub(crate) fn letters(&self) -> usize {
        let written = self.groups.iter().map(|change| match &change.event {
            Some(GroupEvent::Letters(letters)) => letters.written.len(),
            _ => 0,
        });
        written.sum()
    }

    /// Bytes of the records that they hold.
    pub(crate) fn letter_bytes(&self) -> u64 {
        let letters = self.appends.iter().rev().take(self.letters());
        letters.map(|append| append.body_bytes).sum()
    }

    /// The schedule that puts off the append with this index.
    pub(crate) fn schedule_of(&self, append: usize) -> Option<&FrameSchedule> {
        // They are in the order of their appends.
        let at = self.schedules.binary_search_by_key(&append, |one| one.append as usize);
        at.ok().and_then(|at| self.schedules.get(at))
    }

    /// The bytes that this frame takes in the log, at most.
    pub(crate) fn payload_bytes(&self) -> u64 {
        4 + self.encoded_len() as u64
            + self.appends.iter().map(|append| append.body_bytes).sum::<u64>()
    }

    /// The stamped head of one of its batches.
    pub(crate) fn batch_head(&self, append: &FrameAppend) -> BatchHead {
        let producer = self.producer.unwrap_or_default();
        BatchHead {
            base_offset: Offset(append.base_offset),
            append_time: Timestamp(self.time_us),
            record_count: append.record_count,
            offset_span: append.record_count,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.sequence,
        }
    }
}

impl FrameSchedule {
    pub(crate) const fn id(&self) -> ScheduleId {
        ScheduleId { due: Timestamp(self.due_us), seq: self.seq }
    }
}

impl FrameScheduleEnd {
    pub(crate) const fn id(&self) -> ScheduleId {
        ScheduleId { due: Timestamp(self.due_us), seq: self.seq }
    }
}

impl FrameAppend {
    /// The numbers of its topic and its partition.
    pub(crate) const fn place(&self) -> (u32, u32) {
        (self.topic, self.partition)
    }

    /// The bytes of the batch in its segment.
    pub(crate) const fn batch_bytes(&self) -> u64 {
        BATCH_HEAD_BYTES as u64 + self.body_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> (FrameHead, Bytes) {
        let body = Bytes::from_static(b"\x52\x03\x12\x01v");
        let append = FrameAppend {
            topic: 3,
            partition: 1,
            base_offset: 40,
            record_count: 1,
            body_bytes: body.len() as u64,
        };
        let producer = FrameProducer { id: 7, epoch: 2, sequence: 5, expires_us: 9, forget: 0 };
        let head = FrameHead {
            time_us: 1_000,
            appends: vec![append],
            producer: Some(producer),
            ..FrameHead::default()
        };
        (head, body)
    }

    /// A frame's payload, as a file of the log holds it.
    fn payload(head: &FrameHead, body: &Bytes) -> Bytes {
        let mut bytes = (u32::try_from(head.encoded_len()).unwrap()).to_le_bytes().to_vec();
        head.encode_raw(&mut bytes);
        bytes.extend_from_slice(body);
        bytes.into()
    }

    #[test]
    fn a_frame_comes_back_as_it_was_put() {
        let (head, body) = frame();
        let (decoded, bodies) = FrameHead::decode(payload(&head, &body)).unwrap();
        assert_eq!((decoded, bodies), (head, vec![body]));
    }

    #[test]
    fn the_bytes_of_a_frame_stay_the_same() {
        let (head, body) = frame();
        let golden = "2d00000009e803000000000000120a0803100118282001\
                      2805 1a16 0907000000000000001002180521 09000000000000005203120176";
        let golden: String = golden.split_whitespace().collect();
        let hex: String = payload(&head, &body).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn the_bytes_of_schedules_stay_the_same() {
        let put_off = FrameSchedule { topic: 3, due_us: 2_000, seq: 5, append: 0 };
        let end = FrameScheduleEnd { topic: 3, due_us: 1_500, seq: 4, delivered: true };
        let head = FrameHead {
            time_us: 1_000,
            schedules: vec![put_off],
            schedule_ends: vec![end],
            ..FrameHead::default()
        };
        let golden = "29000000 09e803000000000000 520d 0803 11d007000000000000 1805\
                      5a0f 0803 11dc05000000000000 1804 2001";
        let golden: String = golden.split_whitespace().collect();
        let bytes = payload(&head, &Bytes::new());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        let deleted = TopicDeleted { topic: 3, store: None };
        assert_eq!(deleted.encode_to_vec(), [0x08, 3], "as before there were stores");
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused() {
        let (head, body) = frame();
        let whole = payload(&head, &body);
        for len in 0..whole.len() {
            assert!(FrameHead::decode(whole.slice(..len)).is_err(), "{len} bytes");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert!(FrameHead::decode(longer.into()).is_err());
    }
}
