//! Callers that come, wait and go away, under a committer that is worked by hand: does anybody wait although there is something to be had?
//!
//! The broker is whole but for its threads: the log is on a simulated disk, time is tokio's paused clock, and each turn of the committer,
//! and each sync within one, is a step of the simulation. Between them callers run as far as they can; some give up in the middle of
//! whatever they were in. Beside them records are produced, groups are sought, edited, deleted and redriven, the disk fills, and
//! partitions are added.
//!
//! What must hold:
//!
//! - whenever everything has come to rest, nobody waits for what the group could give him;
//! - what is delivered is the record that is at that place;
//! - when callers do their work, each record is done in the end, however they were treated before.
//!
//! Decisions over groups are checked elsewhere (`group::simulation`, `shard::group_simulation`): here it is the shell around them, what
//! it promises before a decision and whom it wakes. `EMBERMQ_SEEDS` and `EMBERMQ_SEED` as in `shard::simulation`. Reads of records that are
//! offered again are done by another thread, so that a seed gives the same run but for when these end.

mod segments;
mod takers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};
use embermq_protocol::v1::Header;
use embermq_storage::commit_log::SyncJob;
use embermq_storage::disk::Disk;
use embermq_storage::disk::sim::{SeededEntropy, SimDisk};
use embermq_storage::{Entropy as _, Offset, Timestamp};

use super::desk::Desk;
use super::leasing::key_hash;
use super::settling::dead_letter_topic;
use super::{
    Backoff, GroupEdit, GroupSettings, LeaseRequest, Ordering, Redrive, read_batch, undertaker,
};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::commit::{Append, Batch, Commit};
use crate::committer::Committer;
use crate::options::Options;
use crate::read::From;
use crate::record::Record;
use crate::shard::{Place, each_seed};
use crate::state::GroupRequest;
use crate::topic::{Durability, Partition, PartitionId, Topic, TopicEdit, TopicSettings};
use takers::{Crowd, Mood};

/// Operations of one run.
const OPERATIONS: u64 = 120;

/// Something that came due so lately need not have been seen.
const SLACK: Duration = Duration::from_millis(10);

const DIR: &str = "/data";

/// November 2026.
const TODAY: Duration = Duration::from_secs(1_796_000_000);

fn topic() -> TopicName {
    "jobs".parse().unwrap()
}

fn group() -> GroupName {
    "g".parse().unwrap()
}

/// The paused clock of the runtime.
#[derive(Debug)]
struct Paused(tokio::time::Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from((TODAY + self.elapsed()).as_micros()).unwrap())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn broker_on(disk: &SimDisk, random: &mut SeededEntropy, options: Options) -> Broker {
    let entropy = Box::new(SeededEntropy::new(random.next_u64()));
    let place = Place { disk: Arc::new(disk.clone()), dir: PathBuf::from(DIR), entropy };
    let clock = Arc::new(Paused(tokio::time::Instant::now()));
    Broker::assemble(place, options, clock, None).unwrap()
}

struct World {
    random: SeededEntropy,
    disk: SimDisk,
    broker: Broker,
    crowd: Crowd,
    /// The committer is at work for longer.
    in_hand: Option<Box<Committer>>,
    /// A group is being synced.
    syncing: Option<SyncJob>,
    produced: u64,
    /// Nobody leaves and the disk is never full: a promise that was broken puts others right.
    orderly: bool,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut random = SeededEntropy::new(seed);
        let orderly = random.one_in(2);
        let settings = group_settings(&mut random);
        let mut world = Self::open(random, settings, orderly).await;
        for _ in 0..1 + world.random.below(5) {
            world.crowd.joined_by(world.random.next_u64());
        }
        world
    }

    /// With a topic and a group, and nobody there.
    async fn open(mut random: SeededEntropy, settings: GroupSettings, orderly: bool) -> Self {
        let disk = SimDisk::new(random.next_u64());
        disk.create_dir_all(&PathBuf::from(DIR)).unwrap();
        let broker = broker_on(&disk, &mut random, Options::default());
        let durability = if random.one_in(2) { Durability::Fsync } else { Durability::Os };
        let partitions = 1 + u32::try_from(random.below(3)).unwrap();
        let topics = TopicSettings { partitions, durability, ..TopicSettings::default() };
        let crowd = Crowd::of(&broker, orderly);
        let (in_hand, syncing, produced) = (None, None, 0);
        let mut world = Self { random, disk, broker, crowd, in_hand, syncing, produced, orderly };
        let broker = world.broker.clone();
        world
            .working(async move {
                broker.create_topic(&topic(), topics).await?;
                broker.create_group(&topic(), &group(), settings, From::Start).await
            })
            .await
            .unwrap();
        world
    }

    /// The same after a stop in order; the crowd is not there any more.
    fn reopened(mut self, options: Options) -> Self {
        self.turn();
        if let Some(committer) = self.broker.baton().take_in_hand() {
            committer.close();
        }
        self.broker = broker_on(&self.disk, &mut self.random, options);
        self.crowd = Crowd::of(&self.broker, self.orderly);
        self
    }

    /// Works the committer until this has ended.
    async fn working<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            self.turn();
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_micros(100)) => {}
            }
        }
    }

    /// A step of the committer, if it is free and has one to make.
    fn step(&mut self) -> bool {
        if self.in_hand.is_some() {
            return false;
        }
        let baton = self.broker.baton();
        if let Some(job) = self.syncing.take() {
            baton.end_turn(job.run());
            return true;
        }
        if baton.is_at_rest() {
            return false;
        }
        self.syncing = baton.begin_turn();
        true
    }

    /// A whole turn, due or not.
    fn turn(&mut self) {
        self.let_go();
        let job = match self.syncing.take() {
            Some(job) => Some(job),
            None => self.broker.baton().begin_turn(),
        };
        if let Some(job) = job {
            self.broker.baton().end_turn(job.run());
        }
    }

    fn let_go(&mut self) {
        if let Some(committer) = self.in_hand.take() {
            self.broker.baton().put_down(committer);
        }
    }

    fn desk(&self) -> Option<Arc<Desk>> {
        self.broker.desks().get(&topic(), &group())
    }

    fn topic(&self) -> Arc<Topic> {
        self.broker.topic(&topic()).unwrap()
    }

    async fn operate(&mut self) {
        match self.random.below(40) {
            0..10 => self.produce(),
            10..22 => {
                self.step();
            }
            22..24 if self.in_hand.is_none() && self.syncing.is_none() => {
                self.in_hand = self.broker.baton().take_in_hand();
            }
            24..28 => self.let_go(),
            28 => self.seek(),
            29 if !self.orderly => self.edit(),
            30 => self.redrive(),
            31 => self.bury(),
            32 if self.random.one_in(4) => self.grow(),
            33 if self.random.one_in(10) => self.delete(),
            34 if !self.orderly && self.random.one_in(3) => {
                self.disk.set_capacity(self.disk.held_bytes());
            }
            35 => self.disk.set_capacity(u64::MAX),
            36..38 => self.come_to_rest().await,
            _ => {}
        }
        let micros = match self.random.below(8) {
            0..4 => 0,
            4..6 => self.random.below(500),
            6 => self.random.below(50_000),
            _ => self.random.below(900_000),
        };
        if micros == 0 {
            for _ in 0..self.random.below(4) {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }

    fn produce(&mut self) {
        let partitions = u64::from(self.topic().settings.partitions);
        let partition = PartitionId(u32::try_from(self.random.below(partitions)).unwrap());
        let mut records = Vec::new();
        for _ in 0..1 + self.random.below(6) {
            self.produced += 1;
            let mut record = Record::new(format!("record {}", self.produced));
            if !self.random.one_in(4) {
                record = record.with_key(format!("key {}", self.random.below(4)));
            }
            if self.random.one_in(4) {
                record.headers.push(Header { name: "odd".to_owned(), value: "1".into() });
            }
            records.push(record);
        }
        let append = Append { topic: topic(), partition, batch: Batch::of(&records) };
        // It may be refused when the disk is full.
        self.broker.submit(Commit { appends: vec![append], ..Commit::default() }).ok();
    }

    fn seek(&mut self) {
        let to = match self.random.below(6) {
            0 => From::Start,
            1 => From::End,
            2 => From::Offset(Offset(self.random.below(self.produced + 1))),
            // Within what was granted last.
            _ => {
                let desk = self.desk();
                let cursor = desk.and_then(|desk| desk.state().group.next(PartitionId(0)));
                let back = 1 + self.random.below(4);
                From::Offset(Offset(cursor.map_or(0, |cursor| cursor.0.saturating_sub(back))))
            }
        };
        let partition = self.random.one_in(2).then_some(PartitionId(0));
        let broker = self.broker.clone();
        self.crowd.beside(async move {
            broker.seek_group(&topic(), &group(), partition, to, false).await.map(drop)
        });
    }

    fn edit(&mut self) {
        let filter = self.random.one_in(2).then(|| "not has odd".to_owned());
        let in_flight_max = Some(in_flight_max(&mut self.random));
        let edit = GroupEdit { filter: Some(filter), in_flight_max, ..GroupEdit::default() };
        let broker = self.broker.clone();
        self.crowd
            .beside(async move { broker.edit_group(&topic(), &group(), edit).await.map(drop) });
    }

    fn redrive(&self) {
        let broker = self.broker.clone();
        self.crowd.beside(async move {
            broker.redrive(&topic(), &group(), Redrive::default()).await.map(drop)
        });
    }

    fn delete(&self) {
        let broker = self.broker.clone();
        self.crowd.beside(async move { broker.delete_group(&topic(), &group()).await });
    }

    fn grow(&self) {
        let broker = self.broker.clone();
        let partitions = Some((self.topic().settings.partitions + 1).min(5));
        let edit = TopicEdit { partitions, ..TopicEdit::default() };
        self.crowd.beside(async move { broker.edit_topic(&topic(), edit).await.map(drop) });
    }

    /// What the undertaker does.
    fn bury(&self) {
        let Some(desk) = self.desk() else { return };
        let broker = self.broker.clone();
        self.crowd.beside(async move {
            let state = desk.state();
            let Some(endings) = undertaker::burial(&broker, &desk, &state)? else {
                return Ok(());
            };
            broker.ensure_dead_letter_topic(&dead_letter_topic(&desk, &state)?).await?;
            broker.ask_group(GroupRequest::Bury { endings }).await.map(drop)
        });
    }

    /// Everything that was begun goes on until nothing moves; callers that wait go on waiting.
    async fn come_to_rest(&mut self) {
        self.disk.set_capacity(u64::MAX);
        self.crowd.mood(Mood::Calm);
        // After this it is noticed that there is room again.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        self.turn();
        let (mut quiet, mut rounds) = (0, 0);
        while quiet < 4 {
            rounds += 1;
            let desk = self.desk();
            assert!(rounds < 5_000, "it never comes to rest: {:?} {desk:?}", self.crowd.waiting());
            self.let_go();
            quiet = if self.step() { 0 } else { quiet + 1 };
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.check();
        self.crowd.mood(Mood::Wild);
    }

    /// Nobody waits for what the group could give him.
    fn check(&self) {
        let Some(desk) = self.desk() else { return };
        let state = desk.state();
        let core = &state.group;
        let now = self.broker.group_time().0 - i64::try_from(SLACK.as_micros()).unwrap();
        let now = Timestamp(now);
        let waiting = self.crowd.waiting();
        if waiting.is_empty() || core.room(1, now) == 0 {
            return;
        }
        let ordering = core.settings().ordering;
        let due = ordering != Ordering::Partition && core.has_deliverable(now);
        assert!(!due, "{waiting:?} wait although something is due: {core:?}");
        let members = desk.members.lock().clone();
        let figures: Vec<_> = core.partition_figures().collect();
        for (number, partition) in (0..).map(PartitionId).zip(&self.topic().partitions) {
            // In order, what is open comes first: it is due where nothing of it waits or has to be buried.
            let open = figures.iter().find(|f| f.partition == number && f.open > 0);
            let place = match open.filter(|_| ordering == Ordering::Partition) {
                Some(open) => Some(open.first_not_done),
                None => first_fresh(&desk, number, partition),
            };
            let Some(place) = place else { continue };
            let for_whom = |member| core.takes_fresh(number, member, &members, now);
            let who = waiting.iter().find(|waiter| for_whom(waiter.member));
            assert!(
                who.is_none(),
                "{who:?} waits although {place} of partition {number:?} is there: {core:?}\n{desk:?}"
            );
        }
    }

    /// From here on callers do what they are there for.
    async fn work_off(&mut self) {
        self.disk.set_capacity(u64::MAX);
        self.crowd.mood(Mood::Good);
        self.crowd.joined_by(self.random.next_u64());
        for _ in 0..600 {
            for _ in 0..40 {
                self.turn();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.bury();
            if self.is_worked_off() {
                return;
            }
        }
        let desk = self.desk().map(|desk| format!("{:?}\n{desk:?}", desk.state().group));
        panic!("after two minutes there is something left: {}", desk.unwrap_or_default());
    }

    fn is_worked_off(&self) -> bool {
        let Some(desk) = self.desk() else { return false };
        let state = desk.state();
        let topic = self.topic();
        let mut figures = state.group.partition_figures().zip(&topic.partitions);
        figures.all(|(figures, partition)| figures.behind(partition.end()) == 0)
    }
}

fn group_settings(random: &mut SeededEntropy) -> GroupSettings {
    let orderings = [Ordering::None, Ordering::Key, Ordering::Partition];
    GroupSettings {
        ordering: orderings[usize::try_from(random.below(3)).unwrap()],
        lease: Duration::from_secs(1),
        attempts_max: 3,
        backoff: Backoff { initial: Duration::from_millis(20), ..Backoff::default() },
        in_flight_max: in_flight_max(random),
        ..GroupSettings::default()
    }
}

fn in_flight_max(random: &mut SeededEntropy) -> u32 {
    [1, 3, 10, 1_000][usize::try_from(random.below(4)).unwrap()]
}

/// The first record behind the cursor that could be granted.
fn first_fresh(desk: &Desk, number: PartitionId, partition: &Partition) -> Option<Offset> {
    let state = desk.state();
    let by_key = state.group.settings().ordering == Ordering::Key;
    let filter = desk.filter();
    let mut held_room = state.group.held_room();
    let mut offset = state.group.next(number)?;
    while offset < partition.end() {
        for stored in read_batch(partition, offset).unwrap() {
            offset = Offset(stored.offset + 1);
            let passes =
                filter.as_ref().as_ref().is_none_or(|filter| filter.passes(&stored.record));
            let key = stored.record.key.as_deref().filter(|_| by_key).map(key_hash);
            if !passes {
                continue;
            }
            if !key.is_some_and(|key| state.group.is_key_taken(key)) {
                return Some(Offset(stored.offset));
            }
            // It would have to be held, and what is behind it waits with it.
            held_room = held_room.checked_sub(1)?;
        }
    }
    None
}

fn paused<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).max_blocking_threads(1);
    runtime.build().unwrap().block_on(work)
}

fn run(seed: u64) -> takers::Figures {
    paused(async {
        let mut world = World::new(seed).await;
        for _ in 0..OPERATIONS {
            world.operate().await;
        }
        world.come_to_rest().await;
        world.work_off().await;
        world.crowd.leave()
    })
}

#[test]
fn nobody_waits_for_what_could_be_had() {
    let runs = each_seed(run);
    let sum = |of: fn(&takers::Figures) -> u64| runs.iter().map(of).sum::<u64>();
    let (delivered, left, refused) =
        (sum(|run| run.delivered), sum(|run| run.left), sum(|run| run.refused));
    println!("{} runs: {delivered} deliveries, {left} callers left, {refused} refused", runs.len());
    if runs.len() > 10 {
        assert!(delivered > 0 && left > 0 && refused > 0, "not everything was tried");
    }
}

#[test]
fn who_has_to_look_again_waits_no_longer_than_it_wanted_to() {
    paused(async {
        let filter = Some("not has odd".to_owned());
        let settings = GroupSettings { filter, ..GroupSettings::default() };
        let mut world = World::open(SeededEntropy::new(1), settings, true).await;
        let lease = |seconds| {
            let broker = world.broker.clone();
            let wait = Duration::from_secs(seconds);
            tokio::spawn(async move {
                let wish = LeaseRequest { wait, ..LeaseRequest::new(&topic(), &group()) };
                let began = tokio::time::Instant::now();
                (broker.lease(wish).await.unwrap().len(), began.elapsed())
            })
        };
        // One waits in front, one behind it with more patience. What comes is for neither.
        let hasty = lease(1);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let patient = lease(30);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let odd = Record::new("x").with_header("odd", "1");
        world.broker.submit(Commit::of_record(&topic(), &odd)).unwrap();
        let (leases, waited) = world.working(hasty).await.unwrap();
        assert!(leases == 0 && waited < Duration::from_secs(2), "{waited:?}");
        assert!(!patient.is_finished());
    });
}

#[test]
fn who_has_no_patience_does_not_look_for_ever() {
    paused(async {
        let filter = Some("not has odd".to_owned());
        let settings = GroupSettings { filter, ..GroupSettings::default() };
        let mut world = World::open(SeededEntropy::new(1), settings, true).await;
        // Each is more than is read at a time.
        let odd = Record::new(vec![b'x'; 300_000]).with_header("odd", "1");
        for _ in 0..100 {
            let append = Append {
                topic: topic(),
                partition: PartitionId(0),
                batch: Batch::of(std::slice::from_ref(&odd)),
            };
            let commit = Commit { appends: vec![append], ..Commit::default() };
            let broker = world.broker.clone();
            world.working(broker.commit(commit)).await.unwrap();
        }
        let next = |world: &World| {
            world.desk().and_then(|desk| desk.state().group.next(PartitionId(0))).unwrap().0
        };
        for expected in [64, 100] {
            let broker = world.broker.clone();
            let leased = broker.lease(LeaseRequest::new(&topic(), &group()));
            assert_eq!(world.working(leased).await.unwrap(), []);
            assert_eq!(next(&world), expected);
        }
    });
}
