//! Key tables against a model: whatever happens to segments and tables, the latest record of a key is where it is.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use embermq_storage::compaction::{BatchView, Keep, rewrite};
use embermq_storage::disk::Disk as _;
use embermq_storage::disk::sim::{Fault, Operation, SeededEntropy, SimDisk};
use embermq_storage::keys::{KeyHash, KeyTables, UnreadableKeys};
use embermq_storage::partition::PartitionManifest;
use embermq_storage::segment::ReadError;
use embermq_storage::{Entropy as _, Offset, Timestamp};

use crate::harness::{Partition, recover, replay, sim, tiny};

/// A body is a byte for each record: its key, 0 for none.
fn read_keys(
    view: &BatchView,
    note: &mut dyn FnMut(KeyHash, Offset),
) -> Result<(), UnreadableKeys> {
    for (key, delta) in view.body.iter().zip(0..) {
        if *key != 0 {
            note(KeyHash(u64::from(*key)), view.head.base_offset.plus(delta));
        }
    }
    Ok(())
}

/// A partition with its tables, beside what they must say.
struct World {
    random: SeededEntropy,
    disk: SimDisk,
    partition: Partition,
    tables: KeyTables,
    /// What a restart begins from.
    manifest: PartitionManifest,
    /// The key of each record that is still there.
    keys: Vec<u8>,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let partition = Partition::new(Arc::new(disk.clone()), Path::new("/p"), tiny());
        let (tables, manifest) = (partition.log.reader().key_tables(), partition.log.manifest());
        Self {
            random: SeededEntropy::new(seed),
            disk,
            partition,
            tables,
            manifest,
            keys: Vec::new(),
        }
    }

    fn pick(&mut self, below: u64) -> u64 {
        self.random.next_u64() % below
    }

    fn append(&mut self) {
        for _ in 0..=self.pick(4) {
            let records = 1 + self.pick(9);
            let keys: Vec<u8> =
                (0..records).map(|_| u8::try_from(self.pick(12)).unwrap()).collect();
            self.keys.extend(&keys);
            self.partition.stage(u32::try_from(records).unwrap(), keys);
        }
        self.partition.commit();
    }

    /// What the tables say, and what is.
    fn ask(&mut self) -> (Option<Offset>, Option<Offset>) {
        let key = u8::try_from(1 + self.pick(13)).unwrap();
        let end = self.keys.len() as u64;
        let below = if self.pick(2) == 0 { end } else { self.pick(end + 1) };
        let start = self.partition.log.start_offset().0;
        let expected =
            (start..below).rev().find(|at| self.keys[usize::try_from(*at).unwrap()] == key);
        let hash = KeyHash(key.into());
        let found = self.tables.latest(hash, Offset(below), &read_keys).unwrap();
        (found, expected.map(Offset))
    }

    fn snapshot(&mut self) {
        self.partition.run_jobs();
        self.partition.sync();
        self.manifest = self.partition.log.manifest();
    }

    fn restart(&mut self) {
        self.partition.disk = Arc::new(self.disk.clone());
        let disk = self.partition.disk.clone();
        self.partition.log = recover(disk, Path::new("/p"), tiny(), &self.manifest);
        let Partition { log, staged, entropy, .. } = &mut self.partition;
        replay(log, staged, entropy);
        self.tables = self.partition.log.reader().key_tables();
    }

    /// Records that are not the latest of their keys go.
    fn compact(&mut self) {
        let settled = self.manifest.next();
        let kept: Vec<u8> = (0..self.keys.len())
            .map(|at| if self.keys[at + 1..].contains(&self.keys[at]) { 0 } else { self.keys[at] })
            .collect();
        for segment in self.partition.log.sealed(settled) {
            let mut keep = |view: &BatchView| {
                let base = usize::try_from(view.head.base_offset.0).unwrap();
                let stays = &kept[base..base + view.body.len()];
                match stays.iter().filter(|key| **key != 0).count() {
                    0 => Keep::None,
                    count => Keep::Replace {
                        body: Bytes::copy_from_slice(stays),
                        record_count: u32::try_from(count).unwrap(),
                    },
                }
            };
            let done = rewrite(&segment, &mut keep, Timestamp(9), &mut self.random).unwrap();
            assert!(self.partition.log.replace(done).is_none());
            let (base, next) = (segment.meta().base.0, segment.meta().next.0);
            let range = usize::try_from(base).unwrap()..usize::try_from(next).unwrap();
            self.keys[range.clone()].copy_from_slice(&kept[range]);
        }
    }

    fn trim(&mut self) {
        let segments = self.partition.log.manifest().segments;
        if segments.len() > 2 {
            let to = usize::try_from(self.pick(2)).unwrap();
            let jobs = self.partition.log.trim(segments[to].next);
            self.snapshot();
            for job in jobs {
                job.run().unwrap();
            }
        }
    }

    fn tables_on_disk(&self) -> Vec<PathBuf> {
        let is_table = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "keys");
        self.disk.files().into_iter().filter(is_table).collect()
    }

    fn damage_a_table(&mut self) {
        let tables = self.tables_on_disk();
        let Some(path) = tables.get(usize::try_from(self.pick(8)).unwrap()) else { return };
        let len = self.disk.contents(path).unwrap().len() as u64;
        let (place, other) = (self.pick(len.max(1)), self.pick(tables.len() as u64));
        match self.pick(4) {
            0 if len > 0 => self.disk.flip_bit(path, place, 3).unwrap(),
            1 => self.disk.truncate(path, place).unwrap(),
            2 => self.disk.remove(path).unwrap(),
            _ => {
                let other = usize::try_from(other).unwrap();
                let other = self.disk.contents(&tables[other]).unwrap();
                self.disk.remove(path).unwrap();
                self.disk.plant(path, &other).unwrap();
            }
        }
        // Those in use were checked when they were opened.
        self.tables.forget();
    }
}

#[test]
fn the_latest_record_is_found_whatever_happens() {
    let (mut tables_seen, mut found_some) = (0, 0);
    for seed in 0..150 {
        let mut world = World::new(seed);
        for step in 0..120 {
            match world.pick(20) {
                0..8 => world.append(),
                8 => world.snapshot(),
                9 => world.compact(),
                10 => world.trim(),
                11 => world.tables.forget(),
                12 => world.damage_a_table(),
                13 => world.restart(),
                14 => {
                    let chance = world.random.next_u64();
                    world.disk = world.disk.crash(chance);
                    world.restart();
                }
                15 => {
                    let operation =
                        [Operation::Create, Operation::Write][usize::from(world.pick(2) == 0)];
                    world.disk.fail(Fault::new(operation, ErrorKind::Other).at(".keys"));
                }
                _ => {}
            }
            for _ in 0..3 {
                let (found, expected) = world.ask();
                assert_eq!(found, expected, "seed {seed}, step {step}");
                found_some += usize::from(found.is_some());
            }
            world.disk.heal();
            tables_seen = tables_seen.max(world.tables_on_disk().len());
        }
    }
    assert!(tables_seen > 3 && found_some > 10_000, "{tables_seen} tables, {found_some} found");
}

#[test]
fn tables_go_with_their_segments_and_strangers_are_removed() {
    let mut world = World::new(3);
    while world.partition.log.manifest().segments.len() < 6 {
        world.append();
    }
    let none = KeyHash(200);
    assert_eq!(world.tables.latest(none, Offset(u64::MAX), &read_keys).unwrap(), None);
    assert_eq!(world.tables_on_disk().len(), 5);
    assert!(world.tables.memory_bytes() < 16 << 10);
    let first = world.partition.log.manifest().segments[0].next;
    let jobs = world.partition.log.trim(first);
    world.snapshot();
    jobs.iter().for_each(|job| job.run().unwrap());
    assert_eq!(world.tables_on_disk().len(), 4);
    // A table of a segment that was not sealed in the manifest proves nothing.
    world.manifest.segments.truncate(3);
    world.manifest.segments[2].sealed = false;
    world.disk.plant(Path::new("/p/00000000000000000000.keys"), b"stale").unwrap();
    world.disk.plant(Path::new("/p/00000000000000000007.keys.tmp"), b"stale").unwrap();
    world.restart();
    assert_eq!(world.tables_on_disk().len(), 2, "{:?}", world.disk.files());
    for _ in 0..50 {
        let (found, expected) = world.ask();
        assert_eq!(found, expected);
    }
}

#[test]
fn where_nothing_can_be_written_the_answer_comes_from_memory() {
    let mut world = World::new(4);
    while world.partition.log.manifest().segments.len() < 6 {
        world.append();
    }
    // Less than a table leaves free.
    world.disk.set_capacity(world.disk.held_bytes() + (1 << 20));
    for _ in 0..50 {
        let (found, expected) = world.ask();
        assert_eq!(found, expected);
    }
    assert_eq!(world.tables_on_disk().len(), 0);
    assert!(world.tables.memory_bytes() > 0);
}

#[test]
fn a_question_does_not_look_past_damage() {
    let disk = sim();
    let mut partition = Partition::new(disk.clone(), Path::new("/p"), tiny());
    for key in 1..=100 {
        partition.stage(1, vec![key; 1]);
        partition.commit();
    }
    partition.run_jobs();
    let segments = partition.log.manifest().segments;
    let middle = &segments[segments.len() / 2];
    let path = PathBuf::from(format!("/p/{:020}.seg", middle.base.0));
    disk.flip_bit(&path, middle.bytes - 1, 2).unwrap();
    let tables = partition.log.reader().key_tables();
    let ask = |key: u64, below: u64| tables.latest(KeyHash(key), Offset(below), &read_keys);
    assert_eq!(ask(100, 1_000).unwrap(), Some(Offset(99)));
    let error = ask(1, 1_000).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    assert_eq!(ask(1, middle.base.0).unwrap(), Some(Offset(0)));
    // No question looks on once it was stopped, also where its tables are at hand.
    tables.stop();
    let error = ask(1, middle.base.0).unwrap_err();
    let ReadError::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), ErrorKind::Interrupted);
}

#[test]
fn a_batch_whose_keys_cannot_be_read_is_not_empty() {
    let mut partition = Partition::new(sim(), Path::new("/p"), tiny());
    for key in 1..=100 {
        partition.stage(1, vec![key; 1]);
        partition.commit();
    }
    partition.run_jobs();
    let tables = partition.log.reader().key_tables();
    let unreadable = |number: u8| {
        move |view: &BatchView, note: &mut dyn FnMut(KeyHash, Offset)| {
            read_keys(view, note)?;
            if view.body[..] == [number] {
                return Err(UnreadableKeys("it is too strange".to_owned()));
            }
            Ok(())
        }
    };
    // In the segment that grows, however often somebody asks, and in one that is finished.
    for number in [100, 100, 50] {
        let error = tables.latest(KeyHash(1), Offset(1_000), &unreadable(number)).unwrap_err();
        let ReadError::Damaged { first, next, .. } = &error else { panic!("{error}") };
        let offset = u64::from(number) - 1;
        assert_eq!((*first, *next), (Offset(offset), Offset(offset + 1)));
        assert!(error.to_string().contains("it is too strange"), "{error}");
    }
    // No table was made of what could not be read.
    assert_eq!(tables.latest(KeyHash(50), Offset(1_000), &read_keys).unwrap(), Some(Offset(49)));
    assert_eq!(tables.latest(KeyHash(100), Offset(1_000), &read_keys).unwrap(), Some(Offset(99)));
}
