//! How the records of a repeat were parted when they came first.
//!
//! A repeat gets the places that its commit got. Which of its records are at which place follows from how many partitions its topic
//! had then: it may have more by now, and a record would go elsewhere.

use bytes::Bytes;
use embermq_protocol::batch::{FormError, ScanLimits, key_hash, scan};

/// What says where each record of a portion goes.
#[derive(Debug)]
pub(super) struct Destinations {
    /// The records, as they can be scanned.
    pub(super) bytes: Bytes,
    pub(super) limits: ScanLimits,
    /// Of records that say it themselves; shorter where the rest do not.
    pub(super) named: Vec<Option<u32>>,
    /// What those without a key go by.
    pub(super) unkeyed: Vec<u8>,
}

/// Which records of a portion are a part of it; none where it is all of them.
type Part = Vec<u32>;

/// Where a part went: the partition, and how many records.
pub(super) type Place = (u32, u32);

impl Destinations {
    /// The parts that went to these places, in their order, of a topic that had so many partitions. None: nothing fits.
    ///
    /// # Errors
    /// None that the first scan would not have found.
    pub(super) fn parted(
        &self,
        places: &[Place],
        partitions: u32,
    ) -> Result<Option<Vec<Part>>, FormError> {
        let scanned = scan(&self.bytes, self.limits)?;
        let targets = (0..scanned.records.len()).map(|index| {
            let named = self.named.get(index).copied().flatten();
            let key = || scanned.key(index).unwrap_or(&self.unkeyed);
            named.map_or_else(|| Target::Hash(key_hash(key())), Target::Named)
        });
        let targets: Vec<Target> = targets.collect();
        // They may have been parted right before partitions were added, and committed behind that.
        let then = (1..=partitions).rev().find(|partitions| fit(&targets, places, *partitions));
        Ok(then.map(|partitions| match places {
            [_] if self.named.is_empty() => vec![Part::new()],
            _ => places.iter().map(|(at, _)| part_at(&targets, *at, partitions)).collect(),
        }))
    }
}

/// Where a record goes.
#[derive(Clone, Copy, Debug)]
enum Target {
    Named(u32),
    /// The hash of what it goes by.
    Hash(u32),
}

impl Target {
    const fn of(self, partitions: u32) -> u32 {
        match self {
            Self::Named(partition) => partition,
            Self::Hash(hash) => hash % partitions,
        }
    }
}

/// Whether these records fill these places. Ends with the first one that has none: there may be many numbers to try.
fn fit(targets: &[Target], places: &[Place], partitions: u32) -> bool {
    let mut room = vec![0_u32; partitions as usize];
    for (partition, count) in places {
        let Some(room) = room.get_mut(*partition as usize) else { return false };
        *room += count;
    }
    let finds_room = |target: &Target| {
        let room = room.get_mut(target.of(partitions) as usize);
        room.and_then(|room| room.checked_sub(1).map(|less| *room = less)).is_some()
    };
    targets.iter().all(finds_room) && room.iter().all(|left| *left == 0)
}

fn part_at(targets: &[Target], partition: u32, partitions: u32) -> Part {
    let of_it = (0..).zip(targets).filter(|(_, target)| target.of(partitions) == partition);
    of_it.map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use embermq_protocol::batch::{Body, partition_for_key};
    use embermq_protocol::limits::REQUEST_BYTES_MAX;
    use embermq_protocol::v1::Record;

    use super::*;

    fn destinations(records: &[Record], named: Vec<Option<u32>>) -> Destinations {
        let limits = ScanLimits {
            records: 10_000,
            record_bytes: 1 << 20,
            inflated_bytes: REQUEST_BYTES_MAX,
            limit_headers: true,
        };
        let bytes = Body::from_records(records).bytes;
        Destinations { bytes, limits, named, unkeyed: b"the request".to_vec() }
    }

    fn keyed() -> Vec<Record> {
        let keys = (0..100).map(|number| format!("key {number}"));
        let keyed = keys.map(|key| Record::new("x").with_key(key));
        keyed.chain([Record::new("no key")]).collect()
    }

    /// What producing to so many partitions gives.
    fn places(records: &[Record], partitions: u32) -> (Vec<Place>, Vec<Part>) {
        let of = |record: &Record| {
            let key = record.key.as_deref().unwrap_or(b"the request");
            partition_for_key(key, partitions)
        };
        let of_all: Vec<u32> = records.iter().map(of).collect();
        let at = |partition| (0..).zip(&of_all).filter(move |(_, at)| **at == partition);
        let parts = (0..partitions)
            .map(|partition| (partition, at(partition).map(|(index, _)| index).collect::<Part>()));
        let parts = parts.filter(|(_, records)| !records.is_empty());
        parts.map(|(at, records)| ((at, u32::try_from(records.len()).unwrap()), records)).unzip()
    }

    #[test]
    fn records_are_found_where_they_went_whatever_there_is_now() {
        let records = keyed();
        let destinations = destinations(&records, Vec::new());
        for then in 2..40 {
            let (places, parts) = places(&records, then);
            // As many as there were, or noted behind an edit that overtook the request.
            for noted in [then, then + 1, 2 * then, 1_024] {
                let found = destinations.parted(&places, noted).unwrap().unwrap();
                assert_eq!(found, parts, "{then}, noted {noted}");
            }
        }
        assert_eq!(destinations.parted(&[(0, 101)], 1).unwrap().unwrap(), [Part::new()]);
    }

    #[test]
    fn a_record_that_named_its_partition_is_there() {
        let records = [Record::new("a").with_key("k"), Record::new("b"), Record::new("c")];
        let destinations = destinations(&records, vec![Some(2), Some(0), Some(2)]);
        let parts = destinations.parted(&[(0, 1), (2, 2)], 3).unwrap().unwrap();
        assert_eq!(parts, [vec![1], vec![0, 2]]);
    }

    #[test]
    fn other_records_do_not_fit() {
        let (places, _) = places(&keyed(), 7);
        let others = destinations(&keyed()[..50], Vec::new());
        assert_eq!(others.parted(&places, 7).unwrap(), None);
        assert_eq!(others.parted(&[(9, 50)], 7).unwrap(), None);
    }
}
