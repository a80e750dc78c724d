//! How leases end: acknowledged, failed, refused, given back; or last longer.
//!
//! Each item is decided on its own, and what is decided on a stale lease is: nothing. The answer is known before the
//! event is logged, so that the shell can write the dead letters into the same commit.

use std::collections::BTreeMap;

use embermq_storage::{Offset, Timestamp};

use super::event::{GroupSettled, SettledPartition};
use super::open::{GrantEpoch, Open, OpenState, Place, later, until};
use super::settings::{DELAY_US_MAX, LEASE_US_MAX};
use super::{Group, Ordering, runs};

/// A lease as its holder knows it: what a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRef {
    pub(crate) place: Place,
    pub(crate) attempt: u32,
    pub(crate) epoch: GrantEpoch,
}

/// What the holder says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done.
    Ack,
    /// It failed: again after this many microseconds, or as the backoff says. On the last attempt it is dead.
    Nack { delay_us: Option<u64> },
    /// It can never succeed: dead.
    Reject,
    /// It takes longer: until this many microseconds from now at least.
    Extend { by_us: u64 },
    /// Not tried: again at once, and this was no attempt.
    Release,
}

/// One item of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settlement {
    pub(crate) lease: LeaseRef,
    pub(crate) verdict: Verdict,
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done.
    Acked,
    /// It is offered again at this time.
    Waiting { until: Timestamp },
    /// Its lease lasts until this time.
    Extended { deadline: Timestamp },
    /// It belongs into the dead-letter topic, in the same commit.
    Dead(Dead),
    /// Nothing: the lease is not the caller's any more.
    Stale(Stale),
}

/// A record that is not offered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) place: Place,
    pub(crate) attempts: u32,
    pub(crate) first_granted: Timestamp,
}

/// What is true of a record whose lease is not the caller's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stale {
    /// It is done or dead: this lease, or a later one, was settled.
    #[error("the record is settled")]
    Settled,
    /// It was given back, by this lease or a later one, and waits for its next attempt.
    #[error("the lease ended, the record waits for its next attempt")]
    Returned,
    /// The lease lapsed, and the record (or its partition's batch) was granted to another.
    #[error("the lease lapsed and was granted again, as attempt {attempt}")]
    Regranted { attempt: u32 },
    /// The group has given no such lease, or was set to another place since.
    #[error("the group knows no such lease")]
    Unknown,
    /// An item before it in the same call was for the same lease.
    #[error("the call names the lease twice, the first one counts")]
    Repeated,
}

/// A decision on a call: the event to log, and what to answer, item by item.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) event: GroupSettled,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Group {
    /// Decides on the items of a call. Jitter is drawn from `seed`.
    pub(crate) fn decide_settle(
        &self,
        group: u32,
        items: &[Settlement],
        seed: u64,
        now: Timestamp,
    ) -> Settled {
        let mut ends: BTreeMap<Place, (Verdict, Outcome)> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(items.len());
        for Settlement { lease, verdict } in items {
            let outcome = match self.holder(lease) {
                Ok(_) if ends.contains_key(&lease.place) => Outcome::Stale(Stale::Repeated),
                Ok(open) => {
                    let outcome = self.outcome(lease.place, open, *verdict, seed, now);
                    ends.insert(lease.place, (*verdict, outcome));
                    outcome
                }
                Err(stale) => Outcome::Stale(stale),
            };
            outcomes.push(outcome);
        }
        Settled { event: settled(group, &ends, now), outcomes }
    }

    /// The record, if the lease is the one that it has.
    fn holder(&self, lease: &LeaseRef) -> Result<&Open, Stale> {
        let cursor = self.cursor(lease.place.partition).ok_or(Stale::Unknown)?;
        if lease.place.offset >= cursor.next || lease.epoch >= self.epoch_next {
            return Err(Stale::Unknown);
        }
        let open = self.open(lease.place).ok_or(Stale::Settled)?;
        let OpenState::Leased { epoch, .. } = open.state else {
            return Err(if open.first_granted == Timestamp(0) {
                Stale::Unknown
            } else {
                Stale::Returned
            });
        };
        let by_partition = self.settings.ordering == Ordering::Partition;
        if lease.epoch < epoch || (by_partition && lease.epoch < cursor.batch) {
            return Err(Stale::Regranted { attempt: open.attempts });
        }
        if lease.epoch > epoch || lease.attempt != open.attempts {
            return Err(Stale::Unknown);
        }
        Ok(open)
    }

    fn outcome(
        &self,
        place: Place,
        open: &Open,
        verdict: Verdict,
        seed: u64,
        now: Timestamp,
    ) -> Outcome {
        let dead = Dead { place, attempts: open.attempts, first_granted: open.first_granted };
        match verdict {
            Verdict::Ack => Outcome::Acked,
            Verdict::Reject => Outcome::Dead(dead),
            Verdict::Nack { .. } if open.attempts >= self.settings.attempts_max => {
                Outcome::Dead(dead)
            }
            Verdict::Nack { delay_us } => {
                let curve = || self.settings.backoff.delay_us(open.attempts, place, seed);
                let delay = delay_us.unwrap_or_else(curve).min(DELAY_US_MAX);
                Outcome::Waiting { until: later(now, delay) }
            }
            Verdict::Extend { by_us } => {
                let wished = later(now, by_us.min(LEASE_US_MAX));
                Outcome::Extended { deadline: open.due().map_or(wished, |due| due.max(wished)) }
            }
            Verdict::Release => Outcome::Waiting { until: now },
        }
    }

    /// The records whose last lease has lapsed, the longest lapsed first: they are not granted again and hold up their
    /// key or partition until [`Group::decide_bury`] ends them.
    pub(crate) fn exhausted(&self, now: Timestamp) -> impl Iterator<Item = Dead> {
        self.due.exhausted(now).filter_map(|place| {
            let open = self.open(place)?;
            Some(Dead { place, attempts: open.attempts, first_granted: open.first_granted })
        })
    }

    /// Ends those of `places` that are exhausted at `now`: they are dead, and their dead letters belong into the same
    /// commit. The others were settled or extended in the meantime.
    pub(crate) fn decide_bury(&self, group: u32, places: &[Place], now: Timestamp) -> Settled {
        let mut ends = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(places.len());
        for &place in places {
            let exhausted = |open: &&Open| {
                open.on_last_attempt(self.settings.attempts_max)
                    && open.due().is_some_and(|due| due <= now)
            };
            let outcome = match self.open(place).filter(exhausted) {
                Some(_) if ends.contains_key(&place) => Outcome::Stale(Stale::Repeated),
                Some(open) => self.outcome(place, open, Verdict::Reject, 0, now),
                None => Outcome::Stale(Stale::Settled),
            };
            if matches!(outcome, Outcome::Dead(_)) {
                ends.insert(place, (Verdict::Reject, outcome));
            }
            outcomes.push(outcome);
        }
        Settled { event: settled(group, &ends, now), outcomes }
    }
}

/// The event that brings these outcomes about.
fn settled(group: u32, ends: &BTreeMap<Place, (Verdict, Outcome)>, now: Timestamp) -> GroupSettled {
    let ends: Vec<(Place, Verdict, Outcome)> =
        ends.iter().map(|(place, (verdict, outcome))| (*place, *verdict, *outcome)).collect();
    let partitions = ends
        .chunk_by(|one, other| one.0.partition == other.0.partition)
        .map(|ends| settled_partition(ends, now))
        .collect();
    GroupSettled { group, partitions }
}

fn settled_partition(ends: &[(Place, Verdict, Outcome)], now: Timestamp) -> SettledPartition {
    let mut settled =
        SettledPartition { partition: ends[0].0.partition.0, ..SettledPartition::default() };
    let [mut acked, mut dead, mut nacked, mut extended, mut released] = [const { Vec::new() }; 5];
    for (Place { offset, .. }, verdict, outcome) in ends {
        match outcome {
            Outcome::Acked => acked.push(*offset),
            Outcome::Dead(_) => dead.push(*offset),
            Outcome::Waiting { .. } if *verdict == Verdict::Release => released.push(*offset),
            Outcome::Waiting { until: moment } => {
                nacked.push(*offset);
                settled.delays_us.push(until(*moment, now));
            }
            Outcome::Extended { deadline } => {
                extended.push(*offset);
                settled.leases_us.push(until(*deadline, now));
            }
            Outcome::Stale(_) => {}
        }
    }
    let pack = |offsets: Vec<Offset>| runs::pack(offsets, Offset(0));
    settled.acked = pack(acked);
    settled.dead = pack(dead);
    settled.nacked = pack(nacked);
    settled.extended = pack(extended);
    settled.released = pack(released);
    settled
}
