//! Offering records once more that are done, which is what redriving dead ones means to their group.

use std::collections::BTreeMap;

use embermq_storage::Offset;

use super::event::{GroupOffered, OfferedPartition};
use super::open::{KeyHash, Place};
use super::{Group, Ordering, runs};

/// A record to offer once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) place: Place,
    /// Only looked at with order by key.
    pub(crate) key: KeyHash,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is open again, with all its attempts before it.
    Again,
    /// It is not done: it is offered anyway.
    NotDone,
    /// The group does not read its partition.
    Unknown,
}

impl Group {
    /// Decides which records are offered once more, item by item.
    pub(crate) fn decide_offer(
        &self,
        group: u32,
        offers: &[Offer],
    ) -> (GroupOffered, Vec<Offered>) {
        let mut again: BTreeMap<Place, KeyHash> = BTreeMap::new();
        let mut answers = Vec::with_capacity(offers.len());
        for Offer { place, key } in offers {
            let answer = match self.next(place.partition) {
                None => Offered::Unknown,
                Some(next) if place.offset >= next || self.open(*place).is_some() => {
                    Offered::NotDone
                }
                Some(_) if again.insert(*place, *key).is_some() => Offered::NotDone,
                Some(_) => Offered::Again,
            };
            answers.push(answer);
        }
        let by_key = self.settings.ordering == Ordering::Key;
        let again: Vec<(Place, KeyHash)> = again.into_iter().collect();
        let partitions = again
            .chunk_by(|one, other| one.0.partition == other.0.partition)
            .map(|offers| OfferedPartition {
                partition: offers[0].0.partition.0,
                offsets: runs::pack(offers.iter().map(|(place, _)| place.offset), Offset(0)),
                keys: offers.iter().filter(|_| by_key).map(|(_, key)| key.0).collect(),
            })
            .collect();
        (GroupOffered { group, partitions }, answers)
    }
}
