//! What is due when: the open records by the moment that decides on them.

use std::ops::Bound;

use embermq_storage::Timestamp;
use imbl::OrdSet;

use super::open::{Open, OpenState, Place};

/// Every open record that is not held stands in exactly one of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Due {
    /// By the moment of their next attempt.
    waits: OrdSet<(Timestamp, Place)>,
    /// By deadline; may be granted again after it.
    leases: OrdSet<(Timestamp, Place)>,
    /// By deadline; dead after it.
    last: OrdSet<(Timestamp, Place)>,
}

impl Due {
    pub(super) fn note(&mut self, place: Place, open: &Open, attempts_max: u32) {
        if let Some(due) = open.due() {
            self.shelf(open, attempts_max).insert((due, place));
        }
    }

    pub(super) fn forget(&mut self, place: Place, open: &Open, attempts_max: u32) {
        if let Some(due) = open.due() {
            self.shelf(open, attempts_max).remove(&(due, place));
        }
    }

    fn shelf(&mut self, open: &Open, attempts_max: u32) -> &mut OrdSet<(Timestamp, Place)> {
        if open.on_last_attempt(attempts_max) {
            return &mut self.last;
        }
        match open.state {
            OpenState::Leased { .. } => &mut self.leases,
            OpenState::Waiting { .. } | OpenState::Held => &mut self.waits,
        }
    }

    /// What may be granted at `now`, the longest due first.
    pub(super) fn deliverable(&self, now: Timestamp) -> impl Iterator<Item = Place> {
        let mut waits = self.waits.range(..=(now, Place::LAST)).peekable();
        let mut leases = self.leases.range(..=(now, Place::LAST)).peekable();
        std::iter::from_fn(move || match (waits.peek(), leases.peek()) {
            (Some(wait), Some(lease)) if lease < wait => leases.next(),
            (Some(_), _) => waits.next(),
            (None, _) => leases.next(),
        })
        .map(|(_, place)| *place)
    }

    /// Whose last lease has lapsed at `now`, the longest lapsed first.
    pub(super) fn exhausted(&self, now: Timestamp) -> impl Iterator<Item = Place> {
        self.last.range(..=(now, Place::LAST)).map(|(_, place)| *place)
    }

    /// When the next record, or the first, has no attempt left.
    pub(super) fn next_exhausted(&self) -> Option<Timestamp> {
        self.last.get_min().map(|(due, _)| *due)
    }

    /// How many leases there are, live or lapsed.
    pub(super) fn leased(&self) -> usize {
        self.leases.len() + self.last.len()
    }

    /// How many leases have lapsed at `now`, counted up to `most`.
    pub(super) fn lapsed(&self, now: Timestamp, most: usize) -> usize {
        let lapsed = ..=(now, Place::LAST);
        self.leases.range(lapsed).chain(self.last.range(lapsed)).take(most).count()
    }

    /// How many records wait for a moment after `now`, and how many for one that has come.
    pub(super) fn waiting_and_ready(&self, now: Timestamp) -> (usize, usize) {
        let ready = self.waits.range(..=(now, Place::LAST)).count();
        (self.waits.len() - ready, ready)
    }

    /// The first moment after `now` that decides on a record.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let after = (Bound::Excluded((now, Place::LAST)), Bound::Unbounded);
        [&self.waits, &self.leases, &self.last]
            .into_iter()
            .filter_map(|shelf| shelf.range(after).next().map(|(due, _)| *due))
            .min()
    }
}
