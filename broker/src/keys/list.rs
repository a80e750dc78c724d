//! A topic as a table: its live keys, each with its latest record, in the order of the records' offsets.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use embermq_protocol::batch::decode_batches;
use embermq_protocol::limits::FETCH_BYTES_MAX;
use embermq_protocol::names::TopicName;
use embermq_storage::Offset;
use embermq_storage::segment::ReadError as SegmentReadError;

use super::find::{LOOK_BYTES_MAX, Place};
use super::hand::Hand;
use super::question::KeyRecord;
use super::read::own_partition;
use super::shelf::KeyShelf;
use crate::broker::Broker;
use crate::error::ReadError;
use crate::topic::{PartitionId, Topic};

/// Bytes that are read at a time.
const STEP_BYTES: u64 = 1 << 20;
/// What a record counts at least.
const RECORD_BYTES_MIN: u64 = 64;

/// Which keys of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyList {
    /// Only those in this partition.
    pub partition: Option<PartitionId>,
    /// Only keys that begin so.
    pub prefix: Bytes,
    /// [`KeyPage::after`] of the page before.
    pub after: Option<KeyCursor>,
    /// At most so many records; a page also ends behind 8 MiB.
    pub limit: usize,
}

impl Default for KeyList {
    fn default() -> Self {
        Self { partition: None, prefix: Bytes::new(), after: None, limit: 100 }
    }
}

/// Where a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCursor {
    partition: PartitionId,
    offset: Offset,
}

/// A page of a topic as a table. It may be empty and yet not be the last: a page looks through a bounded part of the topic.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPage {
    /// The latest records of live keys. A key that changes between two pages comes again, with its new record.
    pub records: Vec<KeyRecord>,
    /// Where the next page goes on; `None`: this was all.
    pub after: Option<KeyCursor>,
}

impl fmt::Display for KeyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.partition.0, self.offset)
    }
}

/// A text that is no place in a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place in a list of keys: send it as it came")]
pub struct NoKeyCursor(String);

impl FromStr for KeyCursor {
    type Err = NoKeyCursor;

    fn from_str(text: &str) -> Result<Self, NoKeyCursor> {
        let parse = || {
            let (partition, offset) = text.split_once('.')?;
            let partition = PartitionId(partition.parse().ok()?);
            Some(Self { partition, offset: Offset(offset.parse().ok()?) })
        };
        parse().ok_or_else(|| NoKeyCursor(text.to_owned()))
    }
}

impl Broker {
    /// A page of the live keys of a topic with their latest records. In a topic with `compact` a tombstone ends a key's life.
    ///
    /// # Errors
    /// What can befall any read.
    pub async fn list_keys(&self, topic: &TopicName, list: KeyList) -> Result<KeyPage, ReadError> {
        let topic = self.topic_to_read(topic)?;
        let first = list.partition.unwrap_or_default();
        let at = list.after.map_or(first, |cursor| cursor.partition);
        self.ask_keys(topic, at, move |topic, shelf| page(topic, shelf, &list)).await
    }
}

fn page(topic: &Topic, shelf: &KeyShelf, list: &KeyList) -> Result<KeyPage, ReadError> {
    let last = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    let numbers = list.partition.map_or(0..last, |only| only.0..only.0.saturating_add(1));
    let mut page = Page {
        records: Vec::new(),
        newest: HashMap::new(),
        hand: Hand::default(),
        look: LOOK_BYTES_MAX,
        show: FETCH_BYTES_MAX.into(),
    };
    for number in numbers.map(PartitionId) {
        let begin = match list.after {
            Some(after) if number < after.partition => continue,
            Some(after) if number == after.partition => after.offset,
            _ => Offset(0),
        };
        let place = Place::of(topic, number, shelf)?;
        shelf.note(place.partition);
        if let Some(offset) = page.fill(&place, begin, list)? {
            let after = Some(KeyCursor { partition: number, offset });
            return Ok(KeyPage { records: page.records, after });
        }
    }
    Ok(KeyPage { records: page.records, after: None })
}

/// A page on its way.
struct Page {
    records: Vec<KeyRecord>,
    /// Of the keys of the present partition that were looked up: where the latest record is.
    newest: HashMap<Bytes, Offset>,
    /// For records that are looked up.
    hand: Hand,
    /// Bytes that may still be looked through, and shown.
    look: u64,
    show: u64,
}

impl Page {
    /// Takes what a partition has from `begin` on. Gives where to go on when the page is full.
    fn fill(
        &mut self,
        place: &Place<'_>,
        begin: Offset,
        list: &KeyList,
    ) -> Result<Option<Offset>, ReadError> {
        self.newest.clear();
        let end = place.partition.end();
        let mut at = begin.max(place.partition.start());
        while at < end {
            if place.partition.keys.is_stopped() {
                return Err(ReadError::ShuttingDown);
            }
            let slice = match place.partition.reader.read(at, STEP_BYTES) {
                Ok(slice) => slice,
                Err(SegmentReadError::OutOfRange { start, .. }) if at < start => {
                    at = start;
                    continue;
                }
                Err(error) => return Err(place.explain(error)),
            };
            let next = slice.next;
            for stored in decode_batches(slice.pieces, at.0) {
                let record = place.record_of(stored.map_err(|error| place.malformed(&error))?);
                if record.offset >= end {
                    break;
                }
                let offset = record.offset;
                self.look = self.look.saturating_sub(record.bytes().max(RECORD_BYTES_MIN));
                let before = self.hand.bytes();
                let live = self.is_live(place, &record, end, list)?;
                self.look = self.look.saturating_sub(self.hand.bytes() - before);
                if live && !self.take(record, list.limit) {
                    return Ok(Some(offset));
                }
                // The record is dealt with, so a page always gets on.
                if self.look == 0 {
                    return Ok(Some(offset.plus(1)));
                }
            }
            if next <= at {
                break;
            }
            at = next;
        }
        Ok(None)
    }

    /// Whether a record is the latest one of its key, and no tombstone.
    fn is_live(
        &mut self,
        place: &Place<'_>,
        record: &KeyRecord,
        end: Offset,
        list: &KeyList,
    ) -> Result<bool, ReadError> {
        let wanted = |key: &&Bytes| !key.is_empty() && key.starts_with(&list.prefix);
        let Some(key) = record.record.key.as_ref().filter(wanted) else { return Ok(false) };
        let newest = match self.newest.get(key) {
            Some(newest) => *newest,
            None => {
                let newest = place.newest(record, end, &mut self.hand)?;
                self.newest.insert(Bytes::copy_from_slice(key), newest);
                newest
            }
        };
        if newest != record.offset || place.is_tombstone(record) {
            return Ok(false);
        }
        let own = own_partition(place.topic, key, list.partition);
        if own == place.number {
            return Ok(true);
        }
        // Where reading the key would find another record, that one is shown.
        let partitions = place.topic.partitions.len() as u64;
        self.look = self.look.saturating_sub(partitions * RECORD_BYTES_MIN);
        let own = Place::of(place.topic, own, place.shelf)?;
        if own.latest(key, own.partition.end(), &mut self.hand)?.is_some() {
            return Ok(false);
        }
        let found = own.elsewhere(key, None, &mut self.hand)?;
        Ok(found.is_some_and(|(found, _)| found.number == place.number))
    }

    /// False when it does not fit any more.
    fn take(&mut self, record: KeyRecord, limit: usize) -> bool {
        let bytes = record.bytes();
        let full = self.records.len() >= limit.max(1) || bytes > self.show;
        if full && !self.records.is_empty() {
            return false;
        }
        self.show = self.show.saturating_sub(bytes);
        self.records.push(record.detached());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_from_its_text() {
        let cursor = KeyCursor { partition: PartitionId(3), offset: Offset(1 << 40) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "3", "3.", ".3", "a.3", "3.-1", "3.1.2"] {
            assert!(text.parse::<KeyCursor>().is_err(), "{text:?}");
        }
    }
}
