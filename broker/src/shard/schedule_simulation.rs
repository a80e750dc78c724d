//! Schedules under power cuts: random schedules, cancels, deliveries, moves and trims on a simulated disk.
//!
//! What must hold after every cut:
//!
//! - what is pending is exactly what was pending after the first k frames, for some k that covers everything acknowledged as durable;
//! - what was delivered is in its topic once, at or after its time; what was cancelled is not there, nor is anything else;
//! - the batch of whatever is pending can be read from the store, trims and moves notwithstanding;
//! - and when all is due, everything that was not cancelled has been delivered, exactly once.
//!
//! `EMBERMQ_SEEDS` and `EMBERMQ_SEED` as in `simulation`.

use std::collections::BTreeMap;

use embermq_protocol::batch::decode_batches;
use embermq_protocol::names::TopicName;
use embermq_storage::{Offset, Timestamp};

use super::CatalogRequest;
use super::power::{Machine, each_seed};
use crate::commit::{Append, Arranged, Batch, Commit, ScheduleRef, Scheduled};
use crate::record::Record;
use crate::schedule::{Found, ScheduleId, find, starts};
use crate::state::{
    Delivery, Endings, GroupRequest, Held, Purpose, Schedules, State, store_name, store_settings,
};
use crate::topic::{Durability, PartitionId, TopicSettings};

const PARTITIONS: u32 = 2;
const TOPICS: [&str; 2] = ["strict", "loose"];

/// What one frame did, for the ledger. Each schedule holds a record whose value is its number.
#[derive(Clone, Debug)]
enum Did {
    PutOff(TopicName, ScheduleId, u64),
    Cancelled(TopicName, ScheduleId),
    Delivered(TopicName, ScheduleId),
    /// A record that was not put off.
    Appended(TopicName, u64),
}

struct Simulation {
    machine: Machine<Did>,
    numbers: u64,
    moved: u64,
    trimmed: u64,
}

fn name(text: &str) -> TopicName {
    text.parse().unwrap()
}

fn schedules<'a>(state: &'a State, topic: &TopicName) -> Option<&'a Schedules> {
    state.named(topic).map(|topic| &topic.schedules)
}

fn pending(state: &State, topic: &TopicName) -> Vec<(ScheduleId, Held)> {
    schedules(state, topic).map_or_else(Vec::new, |all| all.behind(None).collect())
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut simulation = Self { machine: Machine::new(seed), numbers: 0, moved: 0, trimmed: 0 };
        for (topic, durability) in TOPICS.iter().zip([Durability::Fsync, Durability::Os]) {
            let settings =
                TopicSettings { partitions: PARTITIONS, durability, ..TopicSettings::default() };
            let store = store_settings(&settings);
            simulation.create(name(topic), settings);
            simulation.create(store_name(&name(topic)).unwrap(), store);
        }
        simulation.machine.note(Vec::new());
        assert!(simulation.finish_group(true), "the disk is on");
        simulation
    }

    fn create(&mut self, topic: TopicName, settings: TopicSettings) {
        let request = CatalogRequest::Create(topic, settings);
        assert!(self.machine.shard.stage_catalog(&request, self.machine.now).unwrap());
    }

    fn topic(&mut self) -> TopicName {
        name(TOPICS[usize::try_from(self.machine.below(2)).unwrap()])
    }

    fn live(&mut self) {
        let changes = 30 + self.machine.below(600);
        self.machine.disk.crash_after(changes);
        for _ in 0..400 {
            let mut needs_sync = false;
            for _ in 0..1 + self.machine.below(4) {
                self.machine.now.0 += i64::try_from(self.machine.below(300_000)).unwrap();
                match self.machine.below(12) {
                    0..=4 => needs_sync |= self.commit(),
                    5..=8 => needs_sync |= self.deliver(Purpose::Deliver) > 0,
                    9 => self.moved += self.deliver(Purpose::Move),
                    10 => self.trim(),
                    _ => self.machine.run_a_job(),
                }
            }
            if !self.finish_group(needs_sync) || self.machine.disk.is_off() {
                return;
            }
        }
    }

    /// Puts records off, and perhaps cancels some, in one commit.
    fn commit(&mut self) -> bool {
        let topic = self.topic();
        let mut commit = Commit::default();
        let mut numbers = Vec::new();
        for _ in 0..self.machine.below(3) {
            let number = self.numbers;
            self.numbers += 1;
            let partition =
                PartitionId(u32::try_from(self.machine.below(u64::from(PARTITIONS))).unwrap());
            let batch = Batch::of(&[Record::new(number.to_string())]);
            let append = Append { topic: topic.clone(), partition, batch };
            // Some are due already.
            let ahead = i64::try_from(self.machine.below(4_000_000)).unwrap() - 200_000;
            let deliver_at = Timestamp(self.machine.now.0 + ahead);
            commit.scheduled.push(Scheduled { append, deliver_at });
            numbers.push(number);
        }
        let there = pending(&self.machine.shard.state, &topic);
        if !there.is_empty() && self.machine.below(3) == 0 {
            let (id, _) = there[usize::try_from(self.machine.below(there.len() as u64)).unwrap()];
            commit.cancels.push(ScheduleRef { topic: topic.clone(), id });
        }
        // One that is not pending refuses the whole commit.
        if self.machine.below(20) == 0 {
            let id = ScheduleId { due: Timestamp(7), seq: 7 };
            commit.cancels.push(ScheduleRef { topic: topic.clone(), id });
        }
        let Ok(committed) =
            self.machine.shard.stage(&commit, &Endings::default(), self.machine.now)
        else {
            self.machine.note(Vec::new());
            return false;
        };
        let arranged = committed.scheduled.iter().zip(numbers);
        let arranged = arranged.map(|(arranged, number)| match arranged {
            Arranged::Scheduled(schedule) => Did::PutOff(topic.clone(), schedule.id, number),
            Arranged::Appended(_) => Did::Appended(topic.clone(), number),
        });
        let cancels = commit.cancels.iter();
        let cancels = cancels.map(|cancel| Did::Cancelled(topic.clone(), cancel.id));
        let did = arranged.chain(cancels).collect();
        self.machine.note(did);
        committed.durability == Durability::Fsync
    }

    /// As the deliverer does it: what is shown, read from what is published.
    fn deliver(&mut self, purpose: Purpose) -> u64 {
        let topic = self.topic();
        if self.machine.disk.is_off() {
            return 0;
        }
        let Some(target) = self.machine.catalog.get(&topic) else { return 0 };
        let Some(agenda) = self.machine.catalog.agendas.get(target.id) else { return 0 };
        let (shown, store) =
            (agenda.shown(), self.machine.catalog.get(&store_name(&topic).unwrap()));
        let due = if purpose == Purpose::Move { Timestamp(i64::MAX) } else { self.machine.now };
        let mut items = Vec::new();
        for (id, held) in shown.schedules.due(due, None).take(5) {
            match find(&agenda, store.as_deref(), held) {
                Found::Batch(append) => items.push((id, Some(append))),
                Found::NotYet => {}
                found => {
                    // Nothing is trimmed that is pending; what is shown may have been moved meanwhile.
                    let now =
                        schedules(&self.machine.shard.state, &topic).and_then(|all| all.get(id));
                    assert_ne!(now, Some(held), "{id}: {found:?}");
                }
            }
        }
        let ids: Vec<ScheduleId> = items.iter().map(|(id, _)| *id).collect();
        let still = |id: &&ScheduleId| {
            schedules(&self.machine.shard.state, &topic).is_some_and(|all| all.contains(**id))
        };
        let still: Vec<ScheduleId> = ids.iter().filter(still).copied().collect();
        if items.is_empty() {
            return 0;
        }
        let request = GroupRequest::Deliver(Delivery { topic: target.id, purpose, items });
        if self.machine.shard.stage_group(&request, self.machine.now).is_err() {
            return 0;
        }
        let delivered = still.iter().filter(|_| purpose == Purpose::Deliver);
        let did = delivered.map(|id| Did::Delivered(topic.clone(), *id)).collect();
        self.machine.note(did);
        still.len() as u64
    }

    fn trim(&mut self) {
        let topic = self.topic();
        let Some(target) = self.machine.catalog.get(&topic) else { return };
        let Some(agenda) = self.machine.catalog.agendas.get(target.id) else { return };
        let Some(store) = self.machine.catalog.get(&store_name(&topic).unwrap()) else { return };
        for (partition, start) in starts(&agenda.shown()) {
            let request = CatalogRequest::Trim(store.id, partition, start);
            let Ok(trimmed) = self.machine.shard.stage_catalog(&request, self.machine.now) else {
                return;
            };
            self.trimmed += u64::from(trimmed);
            self.machine.note(Vec::new());
        }
    }

    fn finish_group(&mut self, needs_sync: bool) -> bool {
        if self.machine.write().is_err() {
            return false;
        }
        let sync = needs_sync || self.machine.below(3) == 0;
        if sync && self.machine.shard.sync().is_err() {
            return false;
        }
        self.machine.publish(sync);
        true
    }

    /// Power comes back.
    fn recover(&mut self) {
        self.machine.recover();
        self.check();
    }

    fn check(&self) {
        let Some((.., expected)) = self.machine.history.last() else { return };
        for topic in TOPICS.map(name) {
            let found = pending(&self.machine.shard.state, &topic);
            assert_eq!(found, pending(expected, &topic), "pending of {topic}");
            let next = |state| schedules(state, &topic).map(Schedules::seq_next);
            assert_eq!(next(&self.machine.shard.state), next(expected));
            let Some(target) = self.machine.catalog.get(&topic) else { continue };
            let store = self.machine.catalog.get(&store_name(&topic).unwrap());
            for (id, held) in found {
                let agenda = self.machine.catalog.agendas.get(target.id).expect("it is shown");
                let batch = find(&agenda, store.as_deref(), held);
                assert!(matches!(batch, Found::Batch(_)), "{id} at {held:?}: {batch:?}");
            }
            self.check_records(&topic);
        }
    }

    /// The records of a topic are those that were delivered or appended, each once, none before its time.
    fn check_records(&self, topic: &TopicName) {
        let mut put_off = BTreeMap::new();
        let mut expected: BTreeMap<u64, Option<Timestamp>> = BTreeMap::new();
        for did in self.machine.history.iter().flat_map(|(_, did, _)| did) {
            match did {
                Did::PutOff(of, id, number) if of == topic => {
                    assert_eq!(put_off.insert(*id, *number), None, "{id} is given twice");
                }
                Did::Cancelled(of, id) if of == topic => {
                    put_off.remove(id).expect("it was pending");
                }
                Did::Delivered(of, id) if of == topic => {
                    let number = put_off.remove(id).expect("it was pending");
                    assert_eq!(expected.insert(number, Some(id.due)), None);
                }
                Did::Appended(of, number) if of == topic => {
                    assert_eq!(expected.insert(*number, None), None);
                }
                _ => {}
            }
        }
        let mut found: BTreeMap<u64, Timestamp> = BTreeMap::new();
        for partition in &self.machine.catalog.get(topic).unwrap().partitions {
            let mut at = 0;
            while at < partition.end().0 {
                let slice = partition.reader.read(Offset(at), 8 << 10).unwrap();
                for stored in decode_batches(slice.pieces, at) {
                    let stored = stored.unwrap();
                    let value = stored.record.value.unwrap();
                    let number = std::str::from_utf8(&value).unwrap().parse().unwrap();
                    let time = Timestamp(stored.append_time_us);
                    assert_eq!(found.insert(number, time), None, "{number} is there twice");
                    at = stored.offset + 1;
                }
            }
        }
        assert!(found.keys().eq(expected.keys()), "{topic}: {found:?} and {expected:?}");
        for (number, due) in expected {
            assert!(due.is_none_or(|due| due <= found[&number]), "{number} came too early");
        }
    }

    /// Everything is due: then everything is delivered.
    fn drain(&mut self) {
        self.machine.now.0 += 10_000_000;
        for _ in 0..100_000 {
            if TOPICS
                .iter()
                .all(|topic| pending(&self.machine.shard.state, &name(topic)).is_empty())
            {
                return self.check();
            }
            self.deliver(Purpose::Deliver);
            self.trim();
            assert!(self.finish_group(true), "the power is on");
        }
        panic!("schedules are stuck");
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Total {
    trace: u64,
    frames: usize,
    lost: u64,
    moved: u64,
    trimmed: u64,
}

fn run(seed: u64) -> Total {
    let mut simulation = Simulation::new(seed);
    let mut trace = 0_u64;
    for _ in 0..1 + simulation.machine.below(3) {
        simulation.live();
        trace = trace.rotate_left(1) ^ simulation.machine.disk.trace_hash();
        simulation.recover();
    }
    if simulation.machine.catalog.get(&name(TOPICS[1])).is_some() {
        simulation.drain();
    }
    let Simulation { machine, moved, trimmed, .. } = simulation;
    let Machine { history, lost, .. } = machine;
    Total { trace, frames: history.len(), lost, moved, trimmed }
}

#[test]
fn no_power_cut_lets_a_schedule_happen_twice_or_never() {
    let runs = each_seed(run);
    let mut total = Total::default();
    for one in &runs {
        total.frames += one.frames;
        total.lost += one.lost;
        total.moved += one.moved;
        total.trimmed += one.trimmed;
    }
    println!(
        "{} seeds, {} frames survived, {} unacknowledged ones were lost, {} moves, {} trims",
        runs.len(),
        total.frames,
        total.lost,
        total.moved,
        total.trimmed
    );
    assert!(total.moved > 0 && total.trimmed > 0 && total.lost > 0, "{total:?}");
}

#[test]
fn a_seed_repeats_its_run() {
    assert_eq!(run(11), run(11));
}
