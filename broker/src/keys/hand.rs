//! The batch that a question has in hand.
//!
//! The records of a key often lie in one batch, and a compressed one is inflated as a whole. So the last batch stays, until
//! another one is needed. A question has one hand; what it picked up in all is what the question may be measured by.

use std::ops::Range;

use embermq_protocol::batch::{Scan, ScanLimits, first_batch, scan};
use embermq_storage::segment::ReadError as SegmentReadError;
use embermq_storage::{Offset, Timestamp};

use super::find::Place;
use super::question::KeyRecord;
use crate::error::ReadError;
use crate::topic::PartitionId;

/// The last batch.
#[derive(Debug, Default)]
pub(super) struct Hand {
    held: Option<Held>,
    bytes: u64,
}

#[derive(Debug)]
struct Held {
    partition: PartitionId,
    offsets: Range<Offset>,
    append_time: Timestamp,
    scan: Scan,
}

impl Hand {
    /// Bytes of all batches that were picked up, inflated.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The record at an offset; none when it is not there any more.
    pub(super) fn record(
        &mut self,
        place: &Place<'_>,
        offset: Offset,
    ) -> Result<Option<KeyRecord>, ReadError> {
        if !self.held.as_ref().is_some_and(|held| held.covers(place, offset)) {
            // Never two of them.
            self.held = None;
            self.held = pick(place, offset)?;
            self.bytes += self.held.as_ref().map_or(0, |held| held.scan.inside.len() as u64);
        }
        let Some(held) = self.held.as_ref().filter(|held| held.covers(place, offset)) else {
            return Ok(None);
        };
        let Some(index) = held.index(offset) else { return Ok(None) };
        let record = held.scan.decode(index).map_err(|error| place.malformed(&error))?;
        let (partition, append_time) = (held.partition, held.append_time);
        Ok(Some(KeyRecord { partition, offset, append_time, record }))
    }
}

/// The batch that covers an offset, or where compaction has left a hole the one behind it.
fn pick(place: &Place<'_>, offset: Offset) -> Result<Option<Held>, ReadError> {
    let slice = match place.partition.reader.read(offset, 1) {
        Ok(slice) => slice,
        Err(SegmentReadError::OutOfRange { .. }) => return Ok(None),
        Err(error) => return Err(place.explain(error)),
    };
    let batch = first_batch(slice.pieces).map_err(|error| place.malformed(&error))?;
    let Some(batch) = batch else { return Ok(None) };
    let scan = scan(&batch.body, ScanLimits::stored()).map_err(|error| place.malformed(&error))?;
    Ok(Some(Held {
        partition: place.number,
        offsets: Offset(batch.base_offset)..Offset(batch.next_offset()),
        append_time: Timestamp(batch.append_time_us),
        scan,
    }))
}

impl Held {
    fn covers(&self, place: &Place<'_>, offset: Offset) -> bool {
        self.partition == place.number && self.offsets.contains(&offset)
    }

    fn index(&self, offset: Offset) -> Option<usize> {
        let delta = u32::try_from(offset.0 - self.offsets.start.0).ok()?;
        let deltas = &self.scan.offset_deltas;
        if deltas.is_empty() {
            return usize::try_from(delta).ok().filter(|at| *at < self.scan.records.len());
        }
        deltas.iter().position(|other| *other == delta)
    }
}

#[cfg(test)]
mod tests {
    use embermq_protocol::batch::BodyBuilder;
    use embermq_protocol::v1::Compression;
    use tokio::runtime::Builder;

    use super::*;
    use crate::keys::shelf::KeyShelf;
    use crate::{Broker, Commit, Options, Record, TopicName, TopicSettings};

    const RECORDS: usize = 500;
    const VALUE_BYTES: usize = 1_000;

    #[test]
    fn a_walk_inflates_each_batch_once() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let broker = Broker::open(dir.path(), Options::default()).unwrap();
        let name: TopicName = "t".parse().unwrap();
        runtime.block_on(broker.create_topic(&name, TopicSettings::default())).unwrap();
        for _ in 0..2 {
            let mut body = BodyBuilder::default();
            for _ in 0..RECORDS {
                body.push(&Record::new(vec![0; VALUE_BYTES]).with_key("k"));
            }
            let body = body.finish_compressed(Compression::Zstd).unwrap();
            let commit = Commit::of_batch(&name, PartitionId(0), body.into());
            broker.commit_blocking(commit).unwrap();
        }
        let (topic, shelf) = (broker.topic(&name).unwrap(), KeyShelf::default());
        let place = Place::of(&topic, PartitionId(0), &shelf).unwrap();
        let (mut hand, mut below, mut offsets) = (Hand::default(), Offset(u64::MAX), Vec::new());
        while let Some(found) = place.latest(b"k", below, &mut hand).unwrap() {
            below = found.offset;
            offsets.push(found.offset.0);
        }
        offsets.reverse();
        assert_eq!(offsets, (0..2 * RECORDS as u64).collect::<Vec<_>>());
        let inflated = (2 * RECORDS * VALUE_BYTES) as u64;
        assert!((inflated..inflated * 11 / 10).contains(&hand.bytes()), "{}", hand.bytes());
        runtime.block_on(broker.shutdown());
        let stopped = place.latest(b"k", Offset(u64::MAX), &mut hand);
        assert_eq!(stopped, Err(ReadError::ShuttingDown));
    }
}
