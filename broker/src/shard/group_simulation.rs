//! Groups under power cuts: random grants, settlements, outputs, burials, seeks and redrives on a simulated disk.
//!
//! What must hold after every cut:
//!
//! - the groups are exactly as they were after the first k frames, for some k that covers everything acknowledged as
//!   durable: attempts, deadlines, who waits behind whom, which letters are open;
//! - each record was acknowledged or became a dead letter at most once, however often it was offered; and when all is worked off,
//!   exactly once (seeks and redrives open it again);
//! - what an outside worker committed together is there together: an output for each input that was acknowledged with one, and no other;
//! - each dead letter is in its topic, where its group says.
//!
//! `EMBERMQ_SEEDS` and `EMBERMQ_SEED` as in `simulation`.

use std::collections::BTreeMap;

use embermq_protocol::batch::decode_batches;
use embermq_protocol::names::TopicName;
use embermq_storage::{Entropy, Offset};

use super::CatalogRequest;
use super::power::{Machine, each_seed};
use crate::commit::{Append, Batch, Commit};
use crate::error::CommitError;
use crate::group::{
    Backoff, Candidate, Dead, Examined, GrantEpoch, GroupSettings, KeyHash, LeaseRef, MemberId,
    Members, Offer, Ordering, Outcome, Place, Settlement, Verdict, Wish,
};
use crate::record::Record;
use crate::state::{Ending, Endings, GroupId, GroupRequest, Made, NewGroup, Redriving, State};
use crate::topic::{Durability, PartitionId, TopicSettings};

const PARTITIONS: u32 = 2;

/// What one frame did to records, for the ledger.
#[derive(Clone, Debug)]
enum Did {
    Acked(GroupId, Place),
    /// Acknowledged with an output.
    Worked(GroupId, Place),
    Died(GroupId, Place, u64),
    /// Everything before may happen once more to this record.
    Reopened(GroupId, Place),
    /// And to all of a group.
    Sought(GroupId),
    /// A letter was taken off the list.
    Dropped,
}

struct Simulation {
    machine: Machine<Did>,
    /// Leases that somebody has, also stale ones.
    held: Vec<(GroupId, LeaseRef)>,
    regranted: u64,
    /// Grants that were written while the log was synced.
    beside_syncs: u64,
}

fn name(text: &str) -> TopicName {
    text.parse().unwrap()
}

fn dead_letters(group: GroupId) -> TopicName {
    name(&format!("dead-{}", group.0))
}

/// A letter that says which record it is of.
fn letter(group: GroupId, place: Place) -> Append {
    let text = format!("{}/{}", place.partition.0, place.offset);
    let batch = Batch::of(&[Record::new(text)]);
    Append { topic: dead_letters(group), partition: PartitionId(0), batch }
}

fn output(group: GroupId, place: Place) -> Append {
    let text = format!("{} {}/{}", group.0, place.partition.0, place.offset);
    let batch = Batch::of(&[Record::new(text)]);
    Append { topic: name("out"), partition: PartitionId(0), batch }
}

/// A record's key follows from its place.
fn key(place: Place) -> KeyHash {
    KeyHash((u64::from(place.partition.0) + place.offset.0) % 4)
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut simulation =
            Self { machine: Machine::new(seed), held: Vec::new(), regranted: 0, beside_syncs: 0 };
        simulation.set_up();
        simulation
    }

    fn set_up(&mut self) {
        let mut create = |topic: TopicName, partitions| {
            let settings = TopicSettings { partitions, ..TopicSettings::default() };
            let request = CatalogRequest::Create(topic, settings);
            assert!(self.machine.shard.stage_catalog(&request, self.machine.now).unwrap());
        };
        create(name("jobs"), PARTITIONS);
        create(name("out"), 1);
        for group in 0..3 {
            create(dead_letters(GroupId(group)), 1);
        }
        self.machine.note(Vec::new());
        for (number, ordering) in
            [Ordering::None, Ordering::Key, Ordering::Partition].into_iter().enumerate()
        {
            let settings = GroupSettings {
                ordering,
                lease_us: 1_000_000,
                attempts_max: 3,
                backoff: Backoff { initial_us: 200_000, max_us: 400_000, ..Backoff::default() },
                in_flight_max: 8,
                ..GroupSettings::default()
            };
            let new = NewGroup {
                topic: name("jobs"),
                name: format!("g{number}").parse().unwrap(),
                settings,
                starts: Vec::new(),
                secret: 7,
            };
            self.ask(&GroupRequest::Create(Box::new(new)));
        }
        assert!(self.finish_group(true), "the disk is on");
    }

    /// Asks; nothing when it is refused for want of space or power.
    fn ask(&mut self, request: &GroupRequest) -> Option<Made> {
        let made = self.machine.shard.stage_group(request, self.machine.now).ok()?.0;
        let did = match (&made, request) {
            (
                Made::Ended(outcomes, letters),
                GroupRequest::Settle { endings } | GroupRequest::Bury { endings },
            ) => {
                let letters = letters.iter().map(|letter| letter.base_offset.0);
                did(endings, outcomes, letters, Did::Acked)
            }
            (Made::Sought(_), GroupRequest::Seek { group, .. }) => vec![Did::Sought(*group)],
            (Made::Redriven(_), GroupRequest::Redrive { group, letters }) => letters
                .iter()
                .map(|one| match one.offer {
                    Some(offer) => Did::Reopened(*group, offer.place),
                    None => Did::Dropped,
                })
                .collect(),
            _ => Vec::new(),
        };
        self.machine.note(did);
        Some(made)
    }

    fn live(&mut self) {
        let changes = 30 + self.machine.below(600);
        self.machine.disk.crash_after(changes);
        for _ in 0..400 {
            let mut needs_sync = false;
            for _ in 0..1 + self.machine.below(4) {
                self.machine.now.0 += i64::try_from(self.machine.below(300_000)).unwrap();
                match self.machine.below(12) {
                    0 | 1 => needs_sync |= self.produce(),
                    2..=4 => self.grant(),
                    5..=7 => {
                        self.settle();
                        needs_sync = true;
                    }
                    8 => {
                        self.work();
                        needs_sync = true;
                    }
                    9 => self.bury(),
                    10 => self.redrive_or_seek(),
                    _ => self.machine.run_a_job(),
                }
            }
            if !self.finish_group(needs_sync) || self.machine.disk.is_off() {
                return;
            }
        }
    }

    fn group(&mut self) -> GroupId {
        GroupId(u32::try_from(self.machine.below(3)).unwrap())
    }

    fn produce(&mut self) -> bool {
        let partition =
            PartitionId(u32::try_from(self.machine.below(u64::from(PARTITIONS))).unwrap());
        let records = vec![Record::new("job"); 1 + usize::try_from(self.machine.below(4)).unwrap()];
        let append = Append { topic: name("jobs"), partition, batch: Batch::of(&records) };
        let commit = Commit { appends: vec![append], ..Commit::default() };
        let done = self.machine.shard.stage(&commit, &Endings::default(), self.machine.now).is_ok();
        self.machine.note(Vec::new());
        done
    }

    fn grant(&mut self) {
        let id = self.group();
        let Some(state) = self.machine.shard.state.group(id).cloned() else { return };
        let Some(topic) = self.machine.catalog.get(&name("jobs")) else { return };
        let examined = (0..).zip(&topic.partitions).filter_map(|(number, view)| {
            let partition = PartitionId(number);
            let (from, end) = (state.group.next(partition)?, view.end());
            let place = |offset| Place { partition, offset: Offset(offset) };
            let candidates = (from.0..end.0)
                .map(|offset| Candidate { offset: Offset(offset), key: key(place(offset)) })
                .collect();
            (from < end).then_some(Examined { partition, from, candidates, end })
        });
        let wish = Wish {
            member: MemberId(1 + self.machine.random.next_u64() % 2),
            records_max: 1 + usize::try_from(self.machine.random.next_u64() % 4).unwrap(),
            lease_us: None,
        };
        let examined = examined.collect();
        let request =
            GroupRequest::Grant { group: id, wish, examined, members: Members::default() };
        if let Some(Made::Leases(leases, _)) = self.ask(&request) {
            for lease in leases {
                assert!(lease.attempt <= state.group.settings().attempts_max);
                self.regranted += u64::from(lease.attempt > 1);
                let lease =
                    LeaseRef { place: lease.place, attempt: lease.attempt, epoch: lease.epoch };
                self.held.push((id, lease));
            }
        }
    }

    /// Some leases that somebody has, perhaps stale ones, of one group.
    fn some_held(&mut self) -> Vec<(GroupId, LeaseRef)> {
        let id = self.group();
        let count = 1 + self.machine.below(3);
        let mut some = Vec::new();
        for _ in 0..count {
            let of: Vec<usize> = (0..self.held.len()).filter(|at| self.held[*at].0 == id).collect();
            if !of.is_empty() {
                let pick = of[usize::try_from(self.machine.below(of.len() as u64)).unwrap()];
                // Mostly each is settled once.
                some.push(if self.machine.below(8) == 0 {
                    self.held[pick]
                } else {
                    self.held.swap_remove(pick)
                });
            }
        }
        some
    }

    fn settle(&mut self) {
        let items = self.some_held().into_iter().map(|(group, lease)| {
            let verdict = match self.machine.random.next_u64() % 8 {
                0..=3 => Verdict::Ack,
                4 => Verdict::Nack { delay_us: None },
                5 => Verdict::Nack { delay_us: Some(self.machine.random.next_u64() % 1_000_000) },
                6 => Verdict::Reject,
                _ if self.machine.random.next_u64().is_multiple_of(2) => Verdict::Release,
                _ => Verdict::Extend { by_us: 2_000_000 },
            };
            let settlement = Settlement { lease, verdict };
            Ending { group, settlement, letter: Some(letter(group, lease.place)) }
        });
        let endings = Endings { items: items.collect(), all_or_nothing: false };
        if !endings.items.is_empty() {
            self.ask(&GroupRequest::Settle { endings });
        }
    }

    /// An outside worker: outputs and acknowledgements in one commit.
    fn work(&mut self) {
        let some = self.some_held();
        let appends = some.iter().map(|(group, lease)| output(*group, lease.place)).collect();
        let items = some.into_iter().map(|(group, lease)| {
            let settlement = Settlement { lease, verdict: Verdict::Ack };
            Ending { group, settlement, letter: None }
        });
        let endings = Endings { items: items.collect(), all_or_nothing: true };
        if endings.items.is_empty() {
            return;
        }
        let before = self.machine.end();
        let commit = Commit { appends, ..Commit::default() };
        match self.machine.shard.stage(&commit, &endings, self.machine.now) {
            Ok(committed) => {
                assert_eq!(committed.settled.len(), endings.items.len());
                let outcomes = vec![Outcome::Acked; endings.items.len()];
                let worked = Did::Worked;
                let did = did(&endings, &outcomes, std::iter::empty(), worked);
                self.machine.note(did);
            }
            Err(_) => assert_eq!(self.machine.end(), before, "a refusal leaves nothing behind"),
        }
    }

    fn bury(&mut self) {
        let id = self.group();
        let Some(state) = self.machine.shard.state.group(id) else { return };
        let items = state.group.exhausted(self.machine.now).take(4).map(|dead: Dead| {
            let lease =
                LeaseRef { place: dead.place, attempt: dead.attempts, epoch: GrantEpoch(0) };
            let settlement = Settlement { lease, verdict: Verdict::Reject };
            Ending { group: id, settlement, letter: Some(letter(id, dead.place)) }
        });
        let endings = Endings { items: items.collect(), all_or_nothing: false };
        if !endings.items.is_empty() {
            self.ask(&GroupRequest::Bury { endings });
        }
    }

    fn redrive_or_seek(&mut self) {
        let id = self.group();
        let Some(state) = self.machine.shard.state.group(id).cloned() else { return };
        if self.machine.below(8) == 0 {
            let to = Offset(self.machine.below(40));
            let partition =
                PartitionId(u32::try_from(self.machine.below(u64::from(PARTITIONS))).unwrap());
            // The ledger of a group begins anew, so all of it goes back.
            let to = vec![(partition, to), (PartitionId(1 - partition.0), Offset(0))];
            self.ask(&GroupRequest::Seek { group: id, to });
            return;
        }
        let Some((first, _)) = state.letters.runs().next() else { return };
        let Some(place) = self.origin(id, first) else { return };
        let offer = (self.machine.below(3) > 0).then_some(Offer { place, key: key(place) });
        let letters = vec![Redriving { letter: first, offer, copy: None }];
        self.ask(&GroupRequest::Redrive { group: id, letters });
    }

    /// The record that a letter is of, if the letter is published.
    fn origin(&self, group: GroupId, offset: u64) -> Option<Place> {
        let topic = self.machine.catalog.get(&dead_letters(group))?;
        if self.machine.disk.is_off() || topic.partitions[0].end().0 <= offset {
            return None;
        }
        Some(place(&self.texts(&dead_letters(group))[usize::try_from(offset).unwrap()]))
    }

    fn texts(&self, topic: &TopicName) -> Vec<String> {
        let topic = self.machine.catalog.get(topic).unwrap();
        let view = &topic.partitions[0];
        let mut texts = Vec::new();
        while (texts.len() as u64) < view.end().0 {
            let at = texts.len() as u64;
            let slice = view.reader.read(Offset(at), 8 << 10).unwrap();
            for stored in decode_batches(slice.pieces, at) {
                let value = stored.unwrap().record.value.unwrap();
                texts.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
        texts
    }

    fn finish_group(&mut self, needs_sync: bool) -> bool {
        if self.machine.write().is_err() {
            return false;
        }
        let sync = needs_sync || self.machine.below(3) == 0;
        if sync && self.sync().is_err() {
            return false;
        }
        self.machine.publish(sync);
        true
    }

    /// Syncs; somebody may be granted records meanwhile, which is written before or after the device is asked.
    fn sync(&mut self) -> Result<(), CommitError> {
        let Some(job) = self.machine.shard.sync_job()? else { return Ok(()) };
        let when = self.machine.below(3);
        if when == 0 {
            self.grant_here()?;
        }
        let synced = job.run();
        if when == 1 {
            self.grant_here()?;
        }
        self.machine.shard.synced(synced)
    }

    fn grant_here(&mut self) -> Result<(), CommitError> {
        // These files are small; so is a grant of four records.
        if self.machine.shard.wants_quiet() || !self.machine.shard.log.has_room_here(4 << 10) {
            return Ok(());
        }
        self.grant();
        self.machine.shard.write()?;
        self.machine.shard.take_writes(&mut Vec::new());
        self.machine.shard.publish(Durability::Os);
        self.beside_syncs += 1;
        Ok(())
    }

    /// Power comes back.
    fn recover(&mut self) {
        self.machine.recover();
        if let Some((_, _, expected)) = self.machine.history.last() {
            self.assert_same(expected);
        }
        self.check_ledger();
    }

    fn assert_same(&self, expected: &State) {
        let found: Vec<GroupId> = self.machine.shard.state.groups().map(|group| group.id).collect();
        assert_eq!(found, expected.groups().map(|group| group.id).collect::<Vec<_>>());
        for group in expected.groups() {
            let found = self.machine.shard.state.group(group.id).unwrap();
            assert_eq!(found.group, group.group, "group {:?}", group.id);
            assert_eq!(found.letters, group.letters, "letters of group {:?}", group.id);
            assert_eq!((&found.name, found.secret), (&group.name, group.secret));
        }
    }

    /// Nothing ended twice, and letters and outputs are where they should be.
    fn check_ledger(&self) {
        let mut ended: BTreeMap<(GroupId, Place), u32> = BTreeMap::new();
        let mut outputs: BTreeMap<String, usize> = BTreeMap::new();
        for did in self.machine.history.iter().flat_map(|(_, did, _)| did) {
            let (group, place) = match did {
                Did::Acked(group, place) | Did::Worked(group, place) => (*group, *place),
                Did::Died(group, place, offset) => {
                    let texts = self.texts(&dead_letters(*group));
                    let text = &texts[usize::try_from(*offset).unwrap()];
                    assert_eq!(self::place(text), *place, "letter {offset} of {group:?}");
                    (*group, *place)
                }
                Did::Reopened(group, place) => {
                    ended.remove(&(*group, *place));
                    continue;
                }
                Did::Sought(group) => {
                    ended.retain(|(of, _), _| of != group);
                    continue;
                }
                Did::Dropped => continue,
            };
            let times = ended.entry((group, place)).or_default();
            *times += 1;
            assert_eq!(*times, 1, "{place:?} of {group:?} ended twice: {did:?}");
            if matches!(did, Did::Worked(..)) {
                let text = format!("{} {}/{}", group.0, place.partition.0, place.offset);
                *outputs.entry(text).or_default() += 1;
            }
        }
        if self.machine.catalog.get(&name("out")).is_some() {
            let mut found: BTreeMap<String, usize> = BTreeMap::new();
            for text in self.texts(&name("out")) {
                *found.entry(text).or_default() += 1;
            }
            assert_eq!(found, outputs, "outputs and what was acknowledged with them");
        }
    }

    /// Works everything off: then each record has ended, exactly once.
    fn drain(&mut self) {
        let nothing_open = |simulation: &Self| {
            let topic = simulation.machine.catalog.get(&name("jobs")).unwrap();
            simulation.machine.shard.state.groups().all(|group| {
                group
                    .group
                    .partition_figures()
                    .zip(&topic.partitions)
                    .all(|(figures, view)| figures.open == 0 && figures.next >= view.end())
            })
        };
        for _ in 0..100_000 {
            if nothing_open(self) {
                return self.check_drained();
            }
            self.machine.now.0 += 500_000;
            self.grant();
            let held = std::mem::take(&mut self.held);
            let ack = |(group, lease)| {
                let settlement = Settlement { lease, verdict: Verdict::Ack };
                Ending { group, settlement, letter: None }
            };
            let endings =
                Endings { items: held.into_iter().map(ack).collect(), all_or_nothing: false };
            self.ask(&GroupRequest::Settle { endings });
            self.bury();
            assert!(self.finish_group(true), "the power is on");
        }
        panic!("records are stuck");
    }

    fn check_drained(&self) {
        self.check_ledger();
        let Some((.., last)) = self.machine.history.last() else { return };
        self.assert_same(last);
    }
}

fn place(text: &str) -> Place {
    let (partition, offset) = text.split_once('/').unwrap();
    Place {
        partition: PartitionId(partition.parse().unwrap()),
        offset: Offset(offset.parse().unwrap()),
    }
}

/// What a call did, by its outcomes.
fn did(
    endings: &Endings,
    outcomes: &[Outcome],
    mut letters: impl Iterator<Item = u64>,
    acked: impl Fn(GroupId, Place) -> Did,
) -> Vec<Did> {
    let did = endings.items.iter().zip(outcomes).filter_map(|(ending, outcome)| {
        let (group, place) = (ending.group, ending.settlement.lease.place);
        match outcome {
            Outcome::Acked => Some(acked(group, place)),
            Outcome::Dead(_) => Some(Did::Died(group, place, letters.next().unwrap())),
            _ => None,
        }
    });
    did.collect()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Total {
    trace: u64,
    frames: usize,
    lost: u64,
    regranted: u64,
    beside_syncs: u64,
}

fn run(seed: u64) -> Total {
    let mut simulation = Simulation::new(seed);
    let mut trace = 0_u64;
    for _ in 0..1 + simulation.machine.below(3) {
        simulation.live();
        trace = trace.rotate_left(1) ^ simulation.machine.disk.trace_hash();
        simulation.recover();
    }
    simulation.drain();
    let Simulation { machine, regranted, beside_syncs, .. } = simulation;
    let Machine { history, lost, .. } = machine;
    Total { trace, frames: history.len(), lost, regranted, beside_syncs }
}

#[test]
fn no_power_cut_lets_a_record_end_twice_or_never() {
    let runs = each_seed(run);
    let mut total = Total::default();
    for one in &runs {
        total.frames += one.frames;
        total.lost += one.lost;
        total.regranted += one.regranted;
        total.beside_syncs += one.beside_syncs;
    }
    println!(
        "{} seeds, {} frames survived, {} unacknowledged ones were lost, {} leases were granted again",
        runs.len(),
        total.frames,
        total.lost,
        total.regranted
    );
    assert!(total.regranted > 0 && total.lost > 0 && total.beside_syncs > 0, "{total:?}");
}

#[test]
fn a_seed_repeats_its_run() {
    assert_eq!(run(11), run(11));
}
