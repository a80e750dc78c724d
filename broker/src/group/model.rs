//! What a group must do, said as plainly as possible: every record of the topic with its status, and linear scans.

use std::collections::BTreeMap;

use embermq_storage::{Offset, Timestamp};

use super::keys::HELD_MAX;
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Never looked at.
    Beyond,
    Done,
    /// `void`: the partition's batch was granted to another since.
    Leased {
        deadline: i64,
        epoch: u64,
        member: u64,
        void: bool,
    },
    Waiting {
        until: i64,
    },
    Held,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// 0: none.
    pub(super) key: u64,
    /// Whether the filter lets it through.
    pub(super) wanted: bool,
    pub(super) status: Status,
    pub(super) attempts: u32,
    pub(super) first_granted: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) settings: GroupSettings,
    pub(super) epoch_next: u64,
    pub(super) partitions: Vec<Vec<Record>>,
    /// Who had the last batch of each partition.
    pub(super) holders: Vec<u64>,
    /// When each member asked last.
    pub(super) asked: BTreeMap<u64, i64>,
}

impl Record {
    pub(super) fn new(key: u64, wanted: bool) -> Self {
        Self { key, wanted, status: Status::Beyond, attempts: 0, first_granted: 0 }
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.status, Status::Beyond | Status::Done)
    }

    pub(super) fn due(&self) -> Option<i64> {
        match self.status {
            Status::Leased { deadline, .. } => Some(deadline),
            Status::Waiting { until } => Some(until),
            Status::Beyond | Status::Done | Status::Held => None,
        }
    }

    fn is_leased(&self) -> bool {
        matches!(self.status, Status::Leased { .. })
    }

    pub(super) fn is_exhausted(&self, attempts_max: u32, now: i64) -> bool {
        self.is_leased()
            && self.attempts >= attempts_max
            && self.due().is_some_and(|due| due <= now)
    }
}

impl Model {
    fn by(&self, ordering: Ordering) -> bool {
        self.settings.ordering == ordering
    }

    /// All records with their places.
    pub(super) fn records(&self) -> impl Iterator<Item = (usize, usize, &Record)> {
        self.partitions.iter().enumerate().flat_map(|(partition, records)| {
            records.iter().enumerate().map(move |(offset, record)| (partition, offset, record))
        })
    }

    /// The first offset never looked at.
    pub(super) fn next(&self, partition: usize) -> usize {
        let records = &self.partitions[partition];
        records.iter().position(|record| record.status == Status::Beyond).unwrap_or(records.len())
    }

    fn is_deliverable(&self, record: &Record, now: i64) -> bool {
        record.due().is_some_and(|due| due <= now)
            && !record.is_exhausted(self.settings.attempts_max, now)
    }

    pub(super) fn live(&self, now: i64) -> usize {
        let live =
            |r: &Record| matches!(r.status, Status::Leased { deadline, .. } if deadline > now);
        self.records().filter(|(.., record)| live(record)).count()
    }

    pub(super) fn held(&self) -> usize {
        self.records().filter(|(.., record)| record.status == Status::Held).count()
    }

    /// Whether an open record of this key is not held.
    fn has_head(&self, key: u64) -> bool {
        self.records().any(|(.., r)| r.key == key && r.is_open() && r.status != Status::Held)
    }

    /// Ends a record; if its key has no head then, the next one of it goes on.
    fn end(&mut self, partition: usize, offset: usize, status: Status, now: i64) {
        let record = &mut self.partitions[partition][offset];
        (record.status, record.attempts, record.first_granted) = (status, 0, 0);
        let key = record.key;
        if !self.by(Ordering::Key) || key == 0 || self.has_head(key) {
            return;
        }
        let held: Vec<(usize, usize)> = self
            .records()
            .filter(|(.., record)| record.key == key && record.status == Status::Held)
            .map(|(partition, offset, _)| (partition, offset))
            .collect();
        let next = held.iter().find(|place| place.0 > partition).or(held.first());
        if let Some(&(partition, offset)) = next {
            self.partitions[partition][offset].status = Status::Waiting { until: now };
        }
    }

    pub(super) fn grant(&mut self, wish: &Wish, examined: &[Examined], now: i64) -> Vec<Lease> {
        let free = (self.settings.in_flight_max as usize).saturating_sub(self.live(now));
        let mut granting = Granting {
            room: wish.records_max.min(free),
            epoch: self.epoch_next,
            member: wish.member.0,
            deadline: now + i64::try_from(wish.lease_us.unwrap_or(self.settings.lease_us)).unwrap(),
            now,
            leases: Vec::new(),
            moved: false,
        };
        if granting.room > 0 {
            if self.by(Ordering::Partition) {
                self.grant_batches(&mut granting, examined);
            } else {
                self.grant_records(&mut granting, examined);
            }
        }
        if !granting.leases.is_empty() || granting.moved {
            self.epoch_next += 1;
        }
        granting.leases
    }

    fn grant_records(&mut self, granting: &mut Granting, examined: &[Examined]) {
        let mut due: Vec<(i64, usize, usize)> = self
            .records()
            .filter(|(.., record)| self.is_deliverable(record, granting.now))
            .map(|(partition, offset, record)| (record.due().unwrap(), partition, offset))
            .collect();
        due.sort_unstable();
        for (_, partition, offset) in due {
            if granting.room > 0 {
                granting.lease(&mut self.partitions[partition][offset], partition, offset);
            }
        }
        for examined in examined {
            if granting.room > 0 {
                self.look_at(granting, examined);
            }
        }
    }

    fn grant_batches(&mut self, granting: &mut Granting, examined: &[Examined]) {
        let now = granting.now;
        // Not of this member, when it became free; those without open records are free last, in the order given.
        let mut free: Vec<(bool, i64, usize, usize)> = Vec::new();
        for partition in 0..self.partitions.len() {
            let records = &self.partitions[partition];
            let first = records.iter().find(|record| record.is_open());
            let leases = records.iter().filter(|record| record.is_leased());
            let settled = leases.filter_map(Record::due).max();
            let given = examined.iter().position(|e| e.partition.0 as usize == partition);
            let holder = self.holders[partition];
            let foreign = holder != granting.member;
            let entry = match (first.map(|first| first.due().unwrap()), given) {
                (Some(first), _) => (foreign, first.max(settled.unwrap_or(first)), 0, partition),
                (None, Some(given)) => (foreign, i64::MAX, given, partition),
                (None, None) => continue,
            };
            let lapsed = records.iter().any(|record| {
                matches!(record.status, Status::Leased { void: false, deadline, .. } if deadline <= now)
            });
            let silent = self
                .asked
                .get(&holder)
                .is_none_or(|asked| asked + i64::try_from(self.settings.lease_us).unwrap() <= now);
            let may = holder == 0 || !foreign || lapsed || silent;
            if may && (entry.1 <= now || first.is_none()) {
                free.push(entry);
            }
        }
        free.sort_unstable();
        for (.., partition) in free {
            let before = granting.leases.len();
            let mut all = granting.room > 0;
            for offset in 0..self.partitions[partition].len() {
                let record = self.partitions[partition][offset];
                if all && record.is_open() {
                    if granting.room > 0 && self.is_deliverable(&record, now) {
                        granting.lease(&mut self.partitions[partition][offset], partition, offset);
                    } else {
                        all = false;
                    }
                }
            }
            let given = examined.iter().find(|e| e.partition.0 as usize == partition);
            if let (true, Some(given)) = (all, given) {
                self.look_at(granting, given);
            }
            if granting.leases.len() > before {
                self.holders[partition] = granting.member;
                for record in &mut self.partitions[partition] {
                    if let Status::Leased { epoch, void, .. } = &mut record.status
                        && *epoch != granting.epoch
                    {
                        *void = true;
                    }
                }
            }
        }
    }

    fn look_at(&mut self, granting: &mut Granting, examined: &Examined) {
        let partition = examined.partition.0 as usize;
        let next = self.next(partition);
        if usize::try_from(examined.from.0).unwrap() > next {
            return;
        }
        for offset in next..usize::try_from(examined.end.0).unwrap() {
            let Record { key, wanted, .. } = self.partitions[partition][offset];
            if !wanted {
                self.partitions[partition][offset].status = Status::Done;
            } else if granting.room == 0 {
                return;
            } else if self.by(Ordering::Key) && key != 0 && self.has_head(key) {
                if self.held() >= HELD_MAX {
                    return;
                }
                self.partitions[partition][offset].status = Status::Held;
            } else {
                granting.lease(&mut self.partitions[partition][offset], partition, offset);
            }
            granting.moved = true;
        }
    }

    /// Whether this is the lease that its record has.
    pub(super) fn holds(&self, lease: &LeaseRef) -> bool {
        let Place { partition, offset } = lease.place;
        let records = self.partitions.get(partition.0 as usize);
        let record = records.and_then(|all| all.get(usize::try_from(offset.0).unwrap()));
        record.is_some_and(|record| {
            matches!(record.status, Status::Leased { epoch, void: false, .. } if epoch == lease.epoch.0)
                && record.attempts == lease.attempt
        })
    }

    /// Folds in what a holder said; `waits_until` is what the group drew for a nack.
    pub(super) fn settle(&mut self, place: Place, verdict: Verdict, waits_until: i64, now: i64) {
        let (partition, offset) =
            (place.partition.0 as usize, usize::try_from(place.offset.0).unwrap());
        let attempts_max = self.settings.attempts_max;
        let record = &mut self.partitions[partition][offset];
        match verdict {
            Verdict::Ack | Verdict::Reject => self.end(partition, offset, Status::Done, now),
            Verdict::Nack { .. } if record.attempts >= attempts_max => {
                self.end(partition, offset, Status::Done, now);
            }
            Verdict::Nack { .. } => record.status = Status::Waiting { until: waits_until },
            Verdict::Extend { by_us } => {
                if let Status::Leased { deadline, .. } = &mut record.status {
                    *deadline = (*deadline).max(now + i64::try_from(by_us).unwrap());
                }
            }
            Verdict::Release => {
                record.attempts -= 1;
                record.status = Status::Waiting { until: now };
            }
        }
    }

    pub(super) fn seek(&mut self, partition: usize, to: usize, now: i64) {
        self.drop_below(partition, usize::MAX, now);
        for (offset, record) in self.partitions[partition].iter_mut().enumerate() {
            record.status = if offset < to { Status::Done } else { Status::Beyond };
        }
        self.holders[partition] = 0;
    }

    pub(super) fn drop_below(&mut self, partition: usize, end: usize, now: i64) {
        let end = end.min(self.partitions[partition].len());
        for held in [true, false] {
            for offset in 0..end {
                let record = &mut self.partitions[partition][offset];
                if held && record.status == Status::Held {
                    record.status = Status::Done;
                } else if !held && record.is_open() {
                    self.end(partition, offset, Status::Done, now);
                } else if !held {
                    record.status = Status::Done;
                }
            }
        }
    }

    pub(super) fn offer(&mut self, partition: usize, offset: usize, now: i64) {
        let key = self.partitions[partition][offset].key;
        let queues = self.by(Ordering::Key) && key != 0 && self.has_head(key);
        let status = if queues { Status::Held } else { Status::Waiting { until: now } };
        self.partitions[partition][offset].status = status;
    }
}

/// A grant in the making.
struct Granting {
    room: usize,
    epoch: u64,
    member: u64,
    deadline: i64,
    now: i64,
    leases: Vec<Lease>,
    moved: bool,
}

impl Granting {
    fn lease(&mut self, record: &mut Record, partition: usize, offset: usize) {
        self.room -= 1;
        record.attempts += 1;
        if record.first_granted == 0 {
            record.first_granted = self.now;
        }
        let (deadline, epoch, member) = (self.deadline, self.epoch, self.member);
        record.status = Status::Leased { deadline, epoch, member, void: false };
        self.leases.push(Lease {
            place: Place {
                partition: PartitionId(u32::try_from(partition).unwrap()),
                offset: Offset(offset as u64),
            },
            attempt: record.attempts,
            epoch: GrantEpoch(epoch),
            deadline: Timestamp(deadline),
            first_granted: Timestamp(record.first_granted),
        });
    }
}
