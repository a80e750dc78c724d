//! Who a producer is, and how many records it sent.

use crate::batch::ProducerFields;

/// The next batch's producer fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    next: ProducerFields,
    /// The user chose id and epoch, and may already run the next epoch elsewhere.
    chosen: bool,
}

impl Sequence {
    pub(crate) fn of(producer_id: u64, producer_epoch: u32) -> Self {
        let next = ProducerFields { producer_id, producer_epoch, base_sequence: 0 };
        Self { next, chosen: true }
    }

    pub(crate) fn random() -> Self {
        Self { chosen: false, ..Self::of(fastrand::u64(1..), 0) }
    }

    pub(crate) fn next(self) -> ProducerFields {
        self.next
    }

    /// So many records were acknowledged.
    pub(crate) fn advance(&mut self, records: u32) {
        self.next.base_sequence += u64::from(records);
    }

    /// Starts over in the next epoch, so that nothing of before can be mixed up with what comes. False when epochs are
    /// not ours to choose.
    pub(crate) fn start_over(&mut self) -> bool {
        if self.chosen {
            return false;
        }
        self.next.base_sequence = 0;
        match self.next.producer_epoch.checked_add(1) {
            Some(epoch) => self.next.producer_epoch = epoch,
            None => *self = Self::random(),
        }
        true
    }
}
