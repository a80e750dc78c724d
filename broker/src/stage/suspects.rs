//! Records that were being processed when the process ended, or a lane panicked: one of them may have been the cause.
//!
//! They are processed apart from all others, a few at a time and in the end one by one, and what is not processed yet is given back, which
//! counts as no attempt. So a record that ends the process or a lane takes its own attempts with it and hardly any of its neighbours'.

use std::collections::BTreeSet;

use embermq_storage::Offset;
use parking_lot::Mutex;

use crate::consume::Lease;
use crate::topic::PartitionId;

/// Into how many pieces they are parted. Each piece costs a lease; with fewer pieces a neighbour may lose more than one attempt.
const PIECES: usize = 32;

/// The records, by their places.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    places: Mutex<BTreeSet<(PartitionId, Offset)>>,
}

/// A lease, parted.
#[derive(Debug, Default)]
pub(super) struct Parted {
    /// To be processed now.
    pub(super) now: Vec<Lease>,
    /// To be given back.
    pub(super) later: Vec<Lease>,
}

impl Suspects {
    pub(super) fn new(places: BTreeSet<(PartitionId, Offset)>) -> Self {
        Self { places: Mutex::new(places) }
    }

    /// These are suspect too.
    pub(super) fn add(&self, places: BTreeSet<(PartitionId, Offset)>) {
        self.places.lock().extend(places);
    }

    /// What of a lease is processed now: all of it, if none is suspect; else a few of those that are.
    pub(super) fn part(&self, leases: Vec<Lease>) -> Parted {
        let places = self.places.lock();
        let is_suspect = |lease: &Lease| places.contains(&(lease.partition, lease.offset));
        if places.is_empty() || !leases.iter().any(is_suspect) {
            return Parted { now: leases, later: Vec::new() };
        }
        let mut left = (places.len() / PIECES).max(1);
        let mut parted = Parted::default();
        for lease in leases {
            if left > 0 && is_suspect(&lease) {
                left -= 1;
                parted.now.push(lease);
            } else {
                parted.later.push(lease);
            }
        }
        parted
    }

    /// They were processed, and nothing ended with them.
    pub(super) fn clear(&self, places: &[(PartitionId, Offset)]) {
        let mut suspects = self.places.lock();
        for place in places {
            suspects.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use embermq_storage::Timestamp;

    use super::*;
    use crate::record::Record;

    fn lease(offset: u64) -> Lease {
        Lease {
            token: offset.to_string(),
            partition: PartitionId(0),
            offset: Offset(offset),
            attempt: 1,
            deadline: Timestamp(0),
            first_leased: Timestamp(0),
            append_time: Timestamp(0),
            record: Record::new("x"),
        }
    }

    fn offsets(leases: &[Lease]) -> Vec<u64> {
        leases.iter().map(|lease| lease.offset.0).collect()
    }

    fn suspects(offsets: std::ops::Range<u64>) -> Suspects {
        Suspects::new(offsets.map(|offset| (PartitionId(0), Offset(offset))).collect())
    }

    #[test]
    fn suspects_are_processed_one_by_one_and_others_together() {
        let suspects = suspects(2..4);
        let parted = suspects.part((2..6).map(lease).collect());
        assert_eq!((offsets(&parted.now), offsets(&parted.later)), (vec![2], vec![3, 4, 5]));
        suspects.clear(&[(PartitionId(0), Offset(2))]);
        let parted = suspects.part((3..6).map(lease).collect());
        assert_eq!((offsets(&parted.now), offsets(&parted.later)), (vec![3], vec![4, 5]));
        suspects.clear(&[(PartitionId(0), Offset(3))]);
        let parted = suspects.part((4..6).map(lease).collect());
        assert_eq!((offsets(&parted.now), offsets(&parted.later)), (vec![4, 5], vec![]));
    }

    #[test]
    fn many_suspects_go_in_pieces() {
        let parted = suspects(0..640).part((0..100).map(lease).collect());
        assert_eq!((parted.now.len(), parted.later.len()), (20, 80));
    }
}
