//! Finding the records of a key in a partition. Blocks.

use std::sync::Arc;

use embermq_protocol::batch::StoredRecord;
use embermq_storage::keys::KeyHash;
use embermq_storage::segment::ReadError as SegmentReadError;
use embermq_storage::{Offset, Timestamp};

use super::hand::Hand;
use super::hash::{key_hash, read_keys};
use super::question::{AsOf, KeyRecord};
use super::shelf::KeyShelf;
use crate::error::ReadError;
use crate::reader::explain;
use crate::topic::{Cleanup, Partition, PartitionId, Topic};

/// Bytes of records that one question looks through, inflated, so that no call takes long. A page ends behind them.
pub(super) const LOOK_BYTES_MAX: u64 = 32 << 20;

/// A partition that is looked through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a Topic,
    pub(super) number: PartitionId,
    pub(super) partition: &'a Arc<Partition>,
    pub(super) shelf: &'a KeyShelf,
}

impl<'a> Place<'a> {
    pub(super) fn of(
        topic: &'a Topic,
        number: PartitionId,
        shelf: &'a KeyShelf,
    ) -> Result<Self, ReadError> {
        let partition = topic.partitions.get(number.0 as usize).ok_or_else(|| {
            ReadError::PartitionNotFound {
                topic: topic.name.clone(),
                partition: number,
                partitions: topic.settings.partitions,
            }
        })?;
        Ok(Self { topic, number, partition, shelf })
    }

    /// The latest record of a key below `below`.
    pub(super) fn latest(
        &self,
        key: &[u8],
        below: Offset,
        hand: &mut Hand,
    ) -> Result<Option<KeyRecord>, ReadError> {
        let hash = key_hash(key);
        let mut below = below;
        self.shelf.note(self.partition);
        while let Some(offset) = self.candidate(hash, below)? {
            if let Some(record) = hand.record(self, offset)?
                && record.record.key.as_deref() == Some(key)
            {
                return Ok(Some(record));
            }
            // Another key of the same hash, or compaction has removed it.
            below = offset;
        }
        Ok(None)
    }

    /// The record of a key with the newest append time in the other partitions.
    pub(super) fn elsewhere(
        &self,
        key: &[u8],
        as_of: Option<AsOf>,
        hand: &mut Hand,
    ) -> Result<Option<(Self, KeyRecord)>, ReadError> {
        let mut newest: Option<(Self, KeyRecord)> = None;
        for number in (0..).map(PartitionId).take(self.topic.partitions.len()) {
            if number == self.number {
                continue;
            }
            let place = Self::of(self.topic, number, self.shelf)?;
            let found = place.latest(key, place.bound(as_of)?, hand)?;
            let newer = |found: &KeyRecord| {
                newest.as_ref().is_none_or(|(_, other)| other.append_time < found.append_time)
            };
            if let Some(found) = found.filter(newer) {
                newest = Some((place, found));
            }
        }
        Ok(newest)
    }

    /// The latest offset below `below` of the key that `record`, which was just read, has.
    pub(super) fn newest(
        &self,
        record: &KeyRecord,
        below: Offset,
        hand: &mut Hand,
    ) -> Result<Offset, ReadError> {
        let key = record.record.key.as_deref().unwrap_or_default();
        let (hash, mut below) = (key_hash(key), below);
        while let Some(offset) = self.candidate(hash, below)?.filter(|found| *found > record.offset)
        {
            let newer = hand.record(self, offset)?;
            if newer.is_some_and(|newer| newer.record.key.as_deref() == Some(key)) {
                return Ok(offset);
            }
            below = offset;
        }
        Ok(record.offset)
    }

    fn candidate(&self, hash: KeyHash, below: Offset) -> Result<Option<Offset>, ReadError> {
        let found = self.partition.keys.tables.latest(hash, below, &read_keys);
        found.map_err(|error| self.explain(error))
    }

    pub(super) fn record_of(&self, stored: StoredRecord) -> KeyRecord {
        KeyRecord {
            partition: self.number,
            offset: Offset(stored.offset),
            append_time: Timestamp(stored.append_time_us),
            record: stored.record,
        }
    }

    /// Whether a record says that its key is gone.
    pub(super) fn is_tombstone(&self, record: &KeyRecord) -> bool {
        self.topic.settings.cleanup == Cleanup::Compact && record.record.value.is_none()
    }

    /// The offset behind everything that counts as of then.
    pub(super) fn bound(&self, as_of: Option<AsOf>) -> Result<Offset, ReadError> {
        let (start, end) = (self.partition.start(), self.partition.end());
        match as_of {
            None => Ok(end),
            Some(AsOf::Offset(from)) if from >= end => {
                let (topic, partition) = (self.topic.name.clone(), self.number);
                Err(ReadError::OffsetBeyondEnd { topic, partition, from, start, end })
            }
            Some(AsOf::Offset(offset)) => Ok(offset.plus(1)),
            Some(AsOf::Time(time)) => {
                let behind = Timestamp(time.0.saturating_add(1));
                let found = self.partition.reader.offset_at(behind);
                found.map_err(|error| self.explain(error))
            }
        }
    }

    pub(super) fn explain(&self, error: SegmentReadError) -> ReadError {
        explain(self.topic, self.number, self.partition, error)
    }

    pub(super) fn malformed(&self, error: &dyn std::fmt::Display) -> ReadError {
        let (topic, partition) = (self.topic.name.clone(), self.number);
        ReadError::Io {
            topic,
            partition,
            detail: format!("a stored batch cannot be read: {error}"),
        }
    }
}

/// Where the latest record of a key is in one partition, for simulations.
#[cfg(test)]
pub(crate) fn latest_offset(
    topic: &Topic,
    number: PartitionId,
    key: &[u8],
) -> Result<Option<Offset>, ReadError> {
    let shelf = KeyShelf::default();
    let place = Place::of(topic, number, &shelf)?;
    let latest = place.latest(key, place.partition.end(), &mut Hand::default())?;
    Ok(latest.map(|record| record.offset))
}
