//! Random lives of a group, step by step beside the model.
//!
//! After every step the group and the model say the same of every record, and these hold:
//!
//! - no key has two leases, no partition two batches, and neither is ever out of order;
//! - no attempt is beyond the limit, and no grant takes more than the in-flight limit;
//! - a second group that only sees the logged events is equal to the first, and so is one that went through a snapshot;
//! - an event that was damaged is refused or folded in, but does not panic.
//!
//! At the end of each life all is acknowledged, with no other timer than [`Group::next_due`]: nothing is stuck.
//!
//! `EMBERMQ_CASES` says how many seeds are run (default 2,000), `EMBERMQ_SEED` runs one alone.

use std::collections::{BTreeMap, BTreeSet};

use embermq_storage::disk::sim::SeededEntropy;
use embermq_storage::{Entropy, Offset, Timestamp};
use prost::Message;

use super::figures::Figures;
use super::model::{Model, Record, Status};
use super::settle::Stale;
use super::*;

const GROUP: u32 = 3;
const SECOND_US: u64 = 1_000_000;

struct Life {
    random: SeededEntropy,
    group: Group,
    /// Sees nothing but the events.
    replica: Group,
    model: Model,
    members: Members,
    /// What the wall clock says; may step back.
    clock: i64,
    /// The latest that it ever said.
    now: i64,
    given: Vec<LeaseRef>,
    /// Records that were offered once more, so that they may come late.
    redriven: BTreeSet<Place>,
    starts: Vec<usize>,
    seen: BTreeMap<&'static str, u64>,
}

fn place(partition: usize, offset: usize) -> Place {
    let partition = PartitionId(u32::try_from(partition).unwrap());
    Place { partition, offset: Offset(offset as u64) }
}

/// What comes out of the log is what went in.
fn logged<M: Message + Default + PartialEq + std::fmt::Debug>(event: &M) -> M {
    let read = M::decode(event.encode_to_vec().as_slice()).unwrap();
    assert_eq!(&read, event);
    read
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = SeededEntropy::new(seed);
        let mut below = |bound: u64| random.next_u64() % bound;
        let ordering = [Ordering::None, Ordering::Key, Ordering::Partition]
            [usize::try_from(below(3)).unwrap()];
        let settings = GroupSettings {
            ordering,
            lease_us: (1 + below(3)) * SECOND_US,
            attempts_max: 1 + u32::try_from(below(4)).unwrap(),
            backoff: Backoff {
                initial_us: SECOND_US / 2,
                max_us: 3 * SECOND_US,
                jitter: below(2) == 0,
                ..Backoff::default()
            },
            in_flight_max: 1 + u32::try_from(below(12)).unwrap(),
            ..GroupSettings::default()
        };
        let partitions = 1 + usize::try_from(below(3)).unwrap();
        let group = Group::new(settings.clone(), vec![Offset(0); partitions]);
        let model = Model {
            settings,
            epoch_next: 1,
            partitions: vec![Vec::new(); partitions],
            holders: vec![0; partitions],
            asked: BTreeMap::new(),
        };
        let mut life = Self {
            random,
            replica: group.clone(),
            group,
            model,
            members: Members::default(),
            clock: 1_000,
            now: 1_000,
            given: Vec::new(),
            redriven: BTreeSet::new(),
            starts: vec![0; partitions],
            seen: BTreeMap::new(),
        };
        (0..3).for_each(|_| life.append());
        life
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.next_u64() % bound as u64).unwrap()
    }

    fn time(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn partition(&mut self) -> usize {
        self.below(self.model.partitions.len())
    }

    fn append(&mut self) {
        let partition = self.partition();
        for _ in 0..self.below(8) {
            let record = Record::new(self.below(4) as u64, self.below(6) != 0);
            self.model.partitions[partition].push(record);
        }
    }

    fn step_clock(&mut self) {
        let step = match self.below(10) {
            0 => 10 * SECOND_US,
            1..4 => 2 * SECOND_US,
            _ => SECOND_US / 2,
        };
        let step = i64::try_from(self.random.next_u64() % step).unwrap();
        self.clock += if self.below(5) == 0 { -step } else { step };
        if self.below(6) == 0
            && let Some(due) = self.group.next_due(self.time())
        {
            self.clock = due.0;
        }
        if self.clock < self.now {
            self.saw("a clock that stepped back");
        }
        self.now = self.now.max(self.clock);
    }

    /// What a shell would have read, sometimes from an older cursor, and sometimes nonsense.
    fn examined(&mut self, all: bool) -> Vec<Examined> {
        let partitions = self.model.partitions.len();
        let first = self.partition();
        let mut examined = Vec::new();
        for partition in (0..partitions).map(|index| (first + index) % partitions) {
            let (next, len) = (self.model.next(partition), self.model.partitions[partition].len());
            let (from, end) = match self.below(12) {
                _ if all => (next, len),
                0 => continue,
                1 => (len.min(next + 1), len),
                2 => (next.saturating_sub(2), (next + 3).min(len)),
                _ => (next, (next + self.below(8)).min(len)),
            };
            let records = &self.model.partitions[partition];
            let candidates = (from..end).filter(|offset| records[*offset].wanted).map(|offset| {
                Candidate { offset: Offset(offset as u64), key: KeyHash(records[offset].key) }
            });
            examined.push(Examined {
                partition: PartitionId(u32::try_from(partition).unwrap()),
                from: Offset(from as u64),
                candidates: candidates.collect(),
                end: Offset(end as u64),
            });
        }
        examined
    }

    fn grant(&mut self, all: bool) -> Vec<Lease> {
        let member = MemberId(if all { 1 } else { self.below(4) as u64 });
        let lease_us = (self.below(4) == 0).then_some(5 * SECOND_US);
        let records_max = if all { 1_000 } else { self.below(9) };
        let wish = Wish { member, records_max, lease_us };
        let examined = self.examined(all);
        let now = self.time();
        let lease_us = self.group.settings().lease_us;
        self.members.asked(member, lease_us, now);
        // Whoever is silent for too long is forgotten, even if the lease becomes longer later.
        let lease = i64::try_from(lease_us).unwrap();
        self.model.asked.retain(|_, asked| *asked + lease > self.now);
        if member != MemberId::NONE {
            self.model.asked.insert(member.0, self.now);
        }
        let live = self.model.live(self.now);
        let lapsed: BTreeSet<Place> = self
            .model
            .records()
            .filter(|(.., r)| matches!(r.status, Status::Leased { deadline, .. } if deadline <= self.now))
            .map(|(partition, offset, _)| place(partition, offset))
            .collect();
        let holders = self.model.holders.clone();
        let epoch = GrantEpoch(self.model.epoch_next);
        let takes_fresh: Vec<bool> = (0..self.group.partitions())
            .map(|p| self.group.takes_fresh(PartitionId(p), member, &self.members, now))
            .collect();

        let grant = self.group.decide_grant(GROUP, &wish, &examined, &self.members, now);
        let expected = self.model.grant(&wish, &examined, self.now);
        assert_eq!(grant.leases, expected, "leases granted at {now}");
        if grant.event.is_empty() {
            return Vec::new();
        }
        let event = logged(&grant.event);
        self.damage(&event, |group, event, now| drop(group.apply_granted(event, now)));
        self.group.apply_granted(&event, now).unwrap();
        self.replica.apply_granted(&event, now).unwrap();

        let most = self.group.settings().in_flight_max as usize;
        assert!(grant.leases.is_empty() || live + grant.leases.len() <= most, "in flight");
        for lease in &grant.leases {
            if lapsed.contains(&lease.place) {
                self.saw("a lapsed lease that was granted again");
            }
            let partition = lease.place.partition.0 as usize;
            if ![0, member.0].contains(&holders[partition])
                && self.group.settings().ordering == Ordering::Partition
            {
                self.saw("a partition that another member took over");
            }
            self.check_order(lease, epoch);
        }
        for fresh in &grant.event.fresh {
            assert!(takes_fresh[fresh.partition as usize], "it was not worth reading");
        }
        if grant.event.fresh.iter().any(|fresh| !fresh.held.is_empty()) {
            self.saw("a record that was held");
        }
        let leases = grant.leases.iter().map(|l| LeaseRef {
            place: l.place,
            attempt: l.attempt,
            epoch: l.epoch,
        });
        self.given.extend(leases);
        grant.leases
    }

    fn check_order(&self, lease: &Lease, epoch: GrantEpoch) {
        let settings = self.group.settings();
        assert!(lease.attempt >= 1 && lease.epoch == epoch);
        let before = self.group.open_in(lease.place.partition).filter(|(p, _)| *p < lease.place);
        match settings.ordering {
            Ordering::None => {}
            Ordering::Key => {
                let key = self.group.open(lease.place).unwrap().key;
                for (place, open) in before.filter(|_| key != KeyHash::NONE) {
                    let late = self.redriven.contains(&place);
                    assert!(open.key != key || late, "{place:?} comes before {lease:?}");
                }
            }
            Ordering::Partition => {
                for (place, open) in before {
                    let same =
                        matches!(open.state, OpenState::Leased { epoch: e, .. } if e == epoch);
                    assert!(same, "{place:?} comes before {lease:?}");
                }
            }
        }
    }

    fn lease_ref(&mut self) -> LeaseRef {
        let recent = self.given.len().min(if self.below(3) == 0 { 100 } else { 8 });
        let back = 1 + self.below(recent);
        let mut lease = self.given[self.given.len() - back];
        match self.below(40) {
            0 => lease.attempt += 1,
            1 => lease.epoch.0 += 1,
            2 => lease.epoch.0 -= 1,
            3 => lease.place.offset.0 += 1,
            4 => lease.place.partition.0 += 1,
            _ => {}
        }
        lease
    }

    fn settle(&mut self) {
        if self.given.is_empty() {
            return;
        }
        let items: Vec<Settlement> = (0..1 + self.below(6))
            .map(|_| {
                let lease = self.lease_ref();
                let us = self.random.next_u64() % (3 * SECOND_US);
                let verdict = match self.below(12) {
                    0..5 => Verdict::Ack,
                    5..8 => Verdict::Nack { delay_us: None },
                    8 => Verdict::Nack { delay_us: Some(us) },
                    9 => Verdict::Reject,
                    10 => Verdict::Extend { by_us: us },
                    _ => Verdict::Release,
                };
                Settlement { lease, verdict }
            })
            .collect();
        let seed = self.random.next_u64();
        self.settle_all(&items, seed);
    }

    fn settle_all(&mut self, items: &[Settlement], seed: u64) {
        let now = self.time();
        let settled = self.group.decide_settle(GROUP, items, seed, now);
        let event = logged(&settled.event);
        self.damage(&event, |group, event, now| drop(group.apply_settled(event, now)));
        self.group.apply_settled(&event, now).unwrap();
        self.replica.apply_settled(&event, now).unwrap();
        let mut done: BTreeSet<Place> = BTreeSet::new();
        for (item, outcome) in items.iter().zip(settled.outcomes) {
            let (place, verdict) = (item.lease.place, item.verdict);
            if done.contains(&place) {
                assert!(matches!(outcome, Outcome::Stale(_)), "{item:?} was settled just before");
                continue;
            }
            if !self.model.holds(&item.lease) {
                self.check_stale(&item.lease, outcome);
                continue;
            }
            done.insert(place);
            let record = self.model.partitions[place.partition.0 as usize]
                [usize::try_from(place.offset.0).unwrap()];
            self.model.settle(
                place,
                verdict,
                self.check_outcome(&record, verdict, outcome),
                self.now,
            );
            if record.due().is_some_and(|due| due <= self.now) {
                self.saw("a lapsed lease that was settled by its holder");
            }
            if let (Outcome::Dead(_), Verdict::Nack { .. }) = (outcome, verdict) {
                self.saw("a nack of the last attempt");
            }
        }
    }

    /// What the group answered to a holder is what must be; returns until when a nacked record waits.
    fn check_outcome(&self, record: &Record, verdict: Verdict, outcome: Outcome) -> i64 {
        let settings = self.group.settings();
        let last = record.attempts >= settings.attempts_max;
        match (verdict, outcome) {
            (Verdict::Reject, Outcome::Dead(dead)) => {
                assert_eq!(dead.attempts, record.attempts);
                0
            }
            (Verdict::Nack { .. }, Outcome::Dead(dead)) if last => {
                assert_eq!(
                    (dead.attempts, dead.first_granted.0),
                    (record.attempts, record.first_granted)
                );
                0
            }
            (Verdict::Nack { delay_us }, Outcome::Waiting { until }) if !last => {
                let curve = settings.backoff.curve_us(record.attempts);
                let delay = u64::try_from(until.0 - self.now).unwrap();
                match delay_us {
                    Some(wished) => assert_eq!(delay, wished),
                    None if settings.backoff.jitter => assert!(delay <= curve),
                    None => assert_eq!(delay, curve),
                }
                until.0
            }
            (Verdict::Ack, Outcome::Acked)
            | (Verdict::Extend { .. }, Outcome::Extended { .. })
            | (Verdict::Release, Outcome::Waiting { .. }) => 0,
            other => panic!("{other:?} of {record:?}"),
        }
    }

    fn check_stale(&mut self, lease: &LeaseRef, outcome: Outcome) {
        let Outcome::Stale(stale) = outcome else { panic!("{outcome:?} of the stale {lease:?}") };
        if !self.given.contains(lease) {
            return;
        }
        self.saw("a stale lease");
        let partition = lease.place.partition.0 as usize;
        let record =
            &self.model.partitions[partition][usize::try_from(lease.place.offset.0).unwrap()];
        let right = match record.status {
            Status::Done => stale == Stale::Settled,
            Status::Held => matches!(stale, Stale::Unknown | Stale::Returned),
            Status::Waiting { .. } if record.first_granted > 0 => stale == Stale::Returned,
            Status::Beyond | Status::Waiting { .. } => stale == Stale::Unknown,
            Status::Leased { .. } => stale == Stale::Regranted { attempt: record.attempts },
        };
        assert!(right, "{stale:?} of {record:?}");
    }

    fn bury(&mut self) {
        let attempts_max = self.group.settings().attempts_max;
        let mut places: Vec<Place> = self
            .model
            .records()
            .filter(|(.., record)| record.is_exhausted(attempts_max, self.now))
            .map(|(partition, offset, _)| place(partition, offset))
            .collect();
        let mut told: Vec<Place> =
            self.group.exhausted(self.time()).map(|dead| dead.place).collect();
        told.sort_unstable();
        assert_eq!(told, places);
        let exhausted = places.len();
        if let Some(other) = self.given.last() {
            places.push(other.place);
        }
        let now = self.time();
        let settled = self.group.decide_bury(GROUP, &places, now);
        let event = logged(&settled.event);
        self.group.apply_settled(&event, now).unwrap();
        self.replica.apply_settled(&event, now).unwrap();
        for (place, outcome) in places.iter().zip(&settled.outcomes).take(exhausted) {
            assert!(matches!(outcome, Outcome::Dead(dead) if dead.place == *place));
            self.model.settle(*place, Verdict::Reject, 0, self.now);
            self.saw("a record that died of its last lapse");
        }
        if let Some(outcome) = settled.outcomes.get(exhausted) {
            assert!(
                matches!(outcome, Outcome::Stale(_)),
                "{outcome:?} of one that is not exhausted"
            );
        }
    }

    fn seek(&mut self) {
        let partition = self.partition();
        let len = self.model.partitions[partition].len();
        let to = self.starts[partition] + self.below(len - self.starts[partition] + 1);
        let number = PartitionId(u32::try_from(partition).unwrap());
        let records = &self.model.partitions[partition];
        let next = self.model.next(partition);
        let preview =
            self.group.preview_seek(number, Offset(to as u64), Offset(len as u64)).unwrap();
        let again = records.iter().skip(to).filter(|r| r.status == Status::Done).count();
        let open = records.iter().take(to).filter(|r| r.is_open()).count();
        let expected = (again as u64, (open + to.saturating_sub(next)) as u64);
        assert_eq!((preview.read_again, preview.skipped), expected);
        let event = logged(&self.group.decide_seek(GROUP, [(number, Offset(to as u64))]));
        self.group.apply_sought(&event, self.time()).unwrap();
        self.replica.apply_sought(&event, self.time()).unwrap();
        self.model.seek(partition, to, self.now);
    }

    fn trim(&mut self) {
        let partition = self.partition();
        let next = self.model.next(partition);
        let start =
            (self.starts[partition] + self.below(6)).min(self.model.partitions[partition].len());
        let open =
            self.model.partitions[partition].iter().take(start).filter(|r| r.is_open()).count();
        let number = PartitionId(u32::try_from(partition).unwrap());
        let now = self.time();
        let dropped = self.group.trim(number, Offset(start as u64), now).unwrap();
        self.replica.trim(number, Offset(start as u64), now).unwrap();
        assert_eq!(dropped, open as u64);
        self.model.drop_below(partition, start, self.now);
        self.starts[partition] = start;
        assert!(self.model.next(partition) >= next);
    }

    fn redrive(&mut self) {
        let offers: Vec<Offer> = (0..1 + self.below(4))
            .filter_map(|_| {
                let partition = self.partition();
                let len = self.model.partitions[partition].len();
                (len > 0).then(|| {
                    let offset = self.below(len);
                    let key = KeyHash(self.model.partitions[partition][offset].key);
                    Offer { place: place(partition, offset), key }
                })
            })
            .collect();
        let (event, answers) = self.group.decide_offer(GROUP, &offers);
        let event = logged(&event);
        let now = self.time();
        self.damage(&event, |group, event, now| drop(group.apply_offered(event, now)));
        self.group.apply_offered(&event, now).unwrap();
        self.replica.apply_offered(&event, now).unwrap();
        let mut again: Vec<Place> = Vec::new();
        for (offer, answer) in offers.iter().zip(answers) {
            let Place { partition, offset } = offer.place;
            let (partition, offset) = (partition.0 as usize, usize::try_from(offset.0).unwrap());
            let done = self.model.partitions[partition][offset].status == Status::Done;
            let expected = if done && !again.contains(&offer.place) {
                Offered::Again
            } else {
                Offered::NotDone
            };
            assert_eq!(answer, expected);
            if answer == Offered::Again {
                again.push(offer.place);
            }
        }
        again.sort_unstable();
        for place in again {
            self.redriven.insert(place);
            let (partition, offset) = (place.partition.0 as usize, place.offset.0);
            self.model.offer(partition, usize::try_from(offset).unwrap(), self.now);
            self.saw("a record that was redriven");
        }
    }

    fn grow(&mut self) {
        if self.model.partitions.len() < 4 {
            self.model.partitions.push(Vec::new());
            self.model.holders.push(0);
            self.starts.push(0);
            let partitions = u32::try_from(self.model.partitions.len()).unwrap();
            self.group.grow(partitions);
            self.replica.grow(partitions);
        }
    }

    fn edit(&mut self) {
        let settings = GroupSettings {
            // Only upwards: a lower limit lets those that wait have the attempt that they wait for.
            attempts_max: self.model.settings.attempts_max + u32::try_from(self.below(2)).unwrap(),
            in_flight_max: 1 + u32::try_from(self.below(12)).unwrap(),
            lease_us: (1 + self.below(3) as u64) * SECOND_US,
            ..self.model.settings.clone()
        };
        self.model.settings.check_edit(&settings).unwrap();
        self.group.edit(settings.clone());
        self.replica.edit(settings.clone());
        self.model.settings = settings;
    }

    /// Writes a snapshot and goes on with what is read from it.
    fn restart(&mut self) {
        let mut read = None;
        for record in self.group.kept(GROUP) {
            Group::load(&mut read, &logged(&record)).unwrap();
        }
        let read = read.unwrap();
        assert_eq!(read, self.group, "a group is the same after a restart");
        self.group = read;
        if self.below(2) == 0 {
            // Who asked is forgotten by a restart.
            self.members = Members::default();
            self.model.asked.clear();
        }
    }

    /// Folds an event with one wrong byte into a copy.
    fn damage<M: Message + Default>(&mut self, event: &M, apply: fn(&mut Group, &M, Timestamp)) {
        let mut bytes = event.encode_to_vec();
        if bytes.is_empty() || self.below(8) != 0 {
            return;
        }
        let at = self.below(bytes.len());
        bytes[at] ^= 1 << self.below(4);
        if let Ok(damaged) = M::decode(bytes.as_slice()) {
            apply(&mut self.group.clone(), &damaged, self.time());
        }
    }

    fn check(&mut self) {
        let now = self.now;
        let by_partition = self.group.settings().ordering == Ordering::Partition;
        let (mut leased_keys, mut batches) = (BTreeSet::new(), BTreeMap::new());
        let mut open = 0;
        for (partition, offset, record) in self.model.records() {
            let place = place(partition, offset);
            let is = self.group.open(place);
            assert_eq!(is.is_some(), record.is_open(), "{place:?} {record:?} {is:?}");
            let Some(is) = is else { continue };
            open += 1;
            assert_eq!(
                (is.attempts, is.first_granted.0),
                (record.attempts, record.first_granted),
                "{place:?}"
            );
            assert!(is.attempts <= self.group.settings().attempts_max, "{place:?}: {is:?}");
            match (is.state, record.status) {
                (
                    OpenState::Leased { deadline, epoch, member },
                    Status::Leased { deadline: d, epoch: e, member: m, .. },
                ) => {
                    assert_eq!((deadline.0, epoch.0, member.0), (d, e, m), "{place:?}");
                    assert!(is.key == KeyHash::NONE || leased_keys.insert(is.key), "{place:?}");
                    if d > now && by_partition {
                        let batch = *batches.entry(partition).or_insert(e);
                        assert_eq!(batch, e, "partition {partition} has two batches in flight");
                    }
                }
                (OpenState::Waiting { until }, Status::Waiting { until: u }) => {
                    assert_eq!(until.0, u, "{place:?}");
                }
                (OpenState::Held, Status::Held) => {}
                other => panic!("{place:?}: {other:?}"),
            }
        }
        for (partition, figures) in self.group.partition_figures().enumerate() {
            let records = &self.model.partitions[partition];
            let next = self.model.next(partition);
            assert_eq!(figures.next.0, next as u64, "cursor of partition {partition}");
            let not_done = records.iter().filter(|record| record.status != Status::Done).count();
            assert_eq!(figures.behind(Offset(records.len() as u64)), not_done as u64);
            let first = records.iter().position(|record| record.status != Status::Done);
            assert_eq!(figures.first_not_done.0, first.unwrap_or(records.len()) as u64);
        }
        let figures = self.group.figures(self.time());
        let Figures { in_flight, ready, waiting, held, exhausted, open: all } = figures;
        assert_eq!(in_flight, self.model.live(now) as u64);
        assert_eq!((held, all), (self.model.held() as u64, open));
        assert_eq!(in_flight + ready + waiting + held + exhausted, open);
        let dues = self.model.records().filter_map(|(.., record)| record.due());
        let next = dues.filter(|due| *due > now).min();
        assert_eq!(self.group.next_due(self.time()), next.map(Timestamp));
    }

    fn step(&mut self) {
        match self.below(100) {
            0..34 => drop(self.grant(false)),
            34..68 => self.settle(),
            68..80 => self.step_clock(),
            80..85 => self.append(),
            85..89 => self.bury(),
            89..91 => self.seek(),
            91..93 => self.trim(),
            93..96 => self.redrive(),
            96 => self.grow(),
            97 => self.edit(),
            _ => self.restart(),
        }
        self.check();
    }

    /// Acknowledges everything; the clock moves to what the group says is next, and nowhere else.
    fn finish(&mut self) {
        for _ in 0..1_000 {
            self.bury();
            let leases = self.grant(true);
            let items: Vec<Settlement> = leases
                .iter()
                .map(|l| LeaseRef { place: l.place, attempt: l.attempt, epoch: l.epoch })
                .map(|lease| Settlement { lease, verdict: Verdict::Ack })
                .collect();
            self.settle_all(&items, 0);
            self.check();
            if leases.is_empty() {
                let lease_us = self.group.settings().lease_us;
                let absence = self.members.next_absence(lease_us, self.time());
                let due = self.group.next_due(self.time());
                let Some(due) = due.into_iter().chain(absence).min() else { break };
                self.now = due.0;
            }
            if self.model.records().all(|(.., record)| record.status == Status::Done) {
                break;
            }
        }
        for (partition, offset, record) in self.model.records() {
            assert_eq!(record.status, Status::Done, "{partition}/{offset} is stuck");
        }
        assert_eq!(self.group, self.replica, "the events alone make the same group");
        self.restart();
    }
}

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut life = Life::new(seed);
    for _ in 0..20 + life.below(60) {
        life.step();
    }
    life.finish();
    life.seen
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn a_group_does_what_the_model_does() {
    let seeds = match setting("EMBERMQ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("EMBERMQ_CASES").unwrap_or(2_000),
    };
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds.clone() {
        let saw = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| {
            panic!("case {seed} failed; EMBERMQ_SEED={seed} runs it alone");
        });
        for (what, count) in saw {
            *seen.entry(what).or_default() += count;
        }
    }
    println!("{} cases: {seen:#?}", seeds.end - seeds.start);
    assert!(
        seen.len() == 9 || seeds.end - seeds.start < 1_000,
        "something was never met: {seen:?}"
    );
}
