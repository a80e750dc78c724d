//! What the simulated disk may and may not do to a file.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of a test are small, or cut on purpose"
)]

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice};

use super::*;
use crate::disk::RealDisk;
use crate::names::Entropy;

fn put(file: &Arc<dyn DiskFile>, position: u64, bytes: &[u8]) {
    file.write_at(position, &[IoSlice::new(bytes)]).unwrap();
}

/// A disk with `dir/a`, whose first page is synced and full of 1.
fn one_file() -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(1);
    disk.plant(Path::new("dir/a"), &[1; 4096]).unwrap();
    let file = disk.open(Path::new("dir/a")).unwrap();
    (disk, file)
}

fn all_of(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.contents(Path::new(path)).ok()
}

#[test]
fn what_was_synced_survives_every_crash() {
    let (disk, file) = one_file();
    put(&file, 4000, &[2; 9000]);
    file.sync_data().unwrap();
    let before = all_of(&disk, "dir/a");
    for seed in 0..100 {
        assert_eq!(all_of(&disk.crash(seed), "dir/a"), before);
    }
}

#[test]
fn an_unsynced_page_is_found_old_new_or_torn() {
    let (disk, file) = one_file();
    put(&file, 0, &[2; 4096]);
    let (mut old, mut new, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        match all_of(&disk.crash(seed), "dir/a").unwrap() {
            found if found == [1; 4096] => old += 1,
            found if found == [2; 4096] => new += 1,
            found => {
                assert_eq!(found.len(), 4096);
                torn += 1;
            }
        }
    }
    assert!(old > 20 && new > 20 && torn > 20, "{old} old, {new} new, {torn} torn");
}

#[test]
fn bytes_that_were_rewritten_as_they_were_survive() {
    let (disk, file) = one_file();
    let mut page = [1; 4096];
    page[3000..].fill(9);
    put(&file, 0, &page);
    for seed in 0..100 {
        assert_eq!(all_of(&disk.crash(seed), "dir/a").unwrap()[..3000], [1; 3000]);
    }
}

#[test]
fn an_earlier_shape_of_an_unsynced_page_can_be_found() {
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        disk.plant(Path::new("a"), &[1; 512]).unwrap();
        let file = disk.open(Path::new("a")).unwrap();
        put(&file, 0, &[2; 512]);
        put(&file, 0, &[3; 512]);
        found.insert(all_of(&disk.crash(seed), "a").unwrap()[0]);
    }
    assert!(found.is_superset(&BTreeSet::from([1, 2, 3])), "{found:?}");
}

#[test]
fn an_unsynced_length_is_kept_or_lost() {
    let (disk, file) = one_file();
    file.allocate(10_000).unwrap();
    put(&file, 10_000, &[5; 10]);
    let lens: BTreeSet<usize> =
        (0..100).map(|seed| all_of(&disk.crash(seed), "dir/a").unwrap().len()).collect();
    assert_eq!(lens, BTreeSet::from([4096, 10_000, 10_010]));
}

#[test]
fn an_unsynced_name_is_kept_or_lost_and_a_rename_is_atomic() {
    let (disk, _file) = one_file();
    let dir = Path::new("dir");
    let file = disk.create(&dir.join("tmp")).unwrap();
    put(&file, 0, b"new");
    file.sync_data().unwrap();
    let created: BTreeSet<_> =
        (0..50).map(|seed| all_of(&disk.copy_unsynced(seed), "dir/tmp")).collect();
    assert_eq!(created, BTreeSet::from([None, Some(b"new".to_vec())]));

    disk.sync_dir(dir).unwrap();
    disk.rename(&dir.join("tmp"), &dir.join("a")).unwrap();
    let mut outcomes = BTreeSet::new();
    for seed in 0..50 {
        let after = disk.copy_unsynced(seed);
        outcomes.insert((
            all_of(&after, "dir/a").unwrap().len(),
            all_of(&after, "dir/tmp").map(|bytes| bytes.len()),
        ));
    }
    assert_eq!(outcomes, BTreeSet::from([(4096, Some(3)), (3, None)]));

    disk.sync_dir(dir).unwrap();
    for seed in 0..50 {
        assert_eq!(all_of(&disk.crash(seed), "dir/a").unwrap(), b"new");
    }
}

#[test]
fn a_change_of_a_name_is_lost_with_the_one_before_it() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(Path::new("dir")).unwrap();
        disk.create(Path::new("dir/tmp")).unwrap();
        disk.rename(Path::new("dir/tmp"), Path::new("dir/a")).unwrap();
        disk.create(Path::new("dir/tmp")).unwrap();
        let found = disk.crash(seed).list(Path::new("dir")).unwrap();
        assert!(
            [&[][..], &["tmp"], &["a"], &["a", "tmp"]]
                .contains(&found.iter().map(String::as_str).collect::<Vec<_>>().as_slice())
        );
    }
}

#[test]
fn handles_to_a_disk_without_power_fail() {
    let (disk, file) = one_file();
    let mapping = file.map(4096).unwrap();
    let after = disk.crash(1);
    assert!(disk.is_off() && !after.is_off());
    assert!(file.len().is_err());
    assert!(file.read_at(0, &mut [0]).is_err());
    assert!(file.write_at(0, &[IoSlice::new(b"x")]).is_err());
    assert!(file.allocate(9000).is_err());
    assert!(file.sync_data().is_err());
    assert!(mapping.populate(0..1).is_err());
    assert!(disk.open(Path::new("dir/a")).is_err());
    assert!(disk.list(Path::new("dir")).is_err());
    assert!(disk.create_dir_all(Path::new("dir")).is_err());
    assert!(disk.remove_dir_all(Path::new("dir")).is_err());
}

#[test]
fn the_power_can_go_in_the_middle_of_any_operation() {
    let run = |disk: &SimDisk| -> io::Result<()> {
        disk.create_dir_all(Path::new("x/y"))?;
        let file = disk.create(Path::new("x/y/f"))?;
        file.write_at(0, &[IoSlice::new(&[1; 10_000])])?;
        file.sync_data()?;
        disk.sync_dir(Path::new("x/y"))
    };
    let whole = SimDisk::new(1);
    run(&whole).unwrap();
    let changes = whole.changes();
    assert_eq!(changes, 2 * 2 + 4);
    for cut in 0..changes {
        let disk = SimDisk::new(1);
        disk.crash_after(cut);
        assert!(run(&disk).is_err());
        assert!(disk.is_off());
        assert_eq!(disk.changes(), cut + 1);
        assert!(disk.crash(cut).list(Path::new("")).is_ok());
    }
    let disk = SimDisk::new(1);
    disk.crash_after(changes);
    run(&disk).unwrap();
}

#[test]
fn pages_of_a_failed_sync_look_fine_and_are_lost() {
    let (disk, file) = one_file();
    disk.fail(Fault::new(Operation::SyncData, ErrorKind::StorageFull));
    let pages = [2; 40 * 4096];
    put(&file, 0, &pages);
    assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::StorageFull);
    file.sync_data().unwrap();
    assert_eq!(all_of(&disk, "dir/a").unwrap(), pages);
    let found = all_of(&disk.crash(1), "dir/a").unwrap();
    assert!(
        found.contains(&2) && (found.len() < pages.len() || found.iter().any(|byte| *byte != 2))
    );
}

#[test]
fn faults_strike_the_chosen_operation() {
    let (disk, file) = one_file();
    disk.plant(Path::new("dir/b"), b"").unwrap();
    disk.fail(Fault::new(Operation::Write, ErrorKind::Other).after(1).at("dir/a").lasting());
    let other = disk.open(Path::new("dir/b")).unwrap();
    put(&other, 0, b"x");
    put(&file, 0, b"x");
    put(&other, 0, b"x");
    assert!(file.write_at(0, &[IoSlice::new(b"x")]).is_err());
    assert!(file.write_at(0, &[IoSlice::new(b"x")]).is_err());
    disk.heal();
    put(&file, 0, b"x");
}

#[test]
fn a_full_disk_refuses_blocks_and_frees_them() {
    let (disk, file) = one_file();
    disk.set_capacity(4 * 4096);
    let full = |result: io::Result<()>| result.unwrap_err().kind() == ErrorKind::StorageFull;
    assert!(full(file.allocate(5 * 4096)));
    assert_eq!(file.len().unwrap(), 4096);
    assert!(full(file.write_at(4096, &[IoSlice::new(&[7; 4 * 4096])])));
    assert!(disk.held_bytes() <= 4 * 4096);
    file.allocate(4 * 4096).unwrap();
    assert_eq!(disk.free_bytes(Path::new("dir")).unwrap(), 0);
    put(&file, 0, &[8; 4 * 4096]);
    file.punch(100..2 * 4096 + 1).unwrap();
    assert_eq!(disk.free_bytes(Path::new("dir")).unwrap(), 4096);
    disk.remove(Path::new("dir/a")).unwrap();
    assert_eq!(disk.held_bytes(), 3 * 4096);
    drop(file);
    assert_eq!(disk.held_bytes(), 0);
}

#[test]
fn a_mapping_shows_what_is_written_later_and_outlives_the_name() {
    let (disk, file) = one_file();
    let mapping = file.map(1 << 30).unwrap();
    file.allocate(8192).unwrap();
    put(&file, 4096, b"later");
    disk.remove(Path::new("dir/a")).unwrap();
    drop(file);
    mapping.populate(0..8192).unwrap();
    assert!(mapping.populate(0..8193).is_err());
    assert_eq!(mapping.bytes(4096..4101), &b"later"[..]);
}

#[test]
fn damage_is_seen_and_stays() {
    let (disk, _file) = one_file();
    disk.flip_bit(Path::new("dir/a"), 7, 1).unwrap();
    disk.truncate(Path::new("dir/a"), 8).unwrap();
    for image in [&disk.copy(), &disk, &disk.crash(1)] {
        assert_eq!(all_of(image, "dir/a").unwrap(), [1, 1, 1, 1, 1, 1, 1, 3]);
    }
}

/// Random operations; the name tells what was done, for the comparison of two disks.
fn random_run(disk: &dyn Disk, root: &Path, seed: u64, steps: u64) -> Vec<String> {
    let mut random = SeededEntropy::new(seed);
    let mut log = Vec::new();
    disk.create_dir_all(&root.join("d/e")).unwrap();
    for _ in 0..steps {
        let dir = root.join(["d", "d/e"][usize::from(random.one_in(2))]);
        let path = dir.join(["a", "b", "c"][random.below(3) as usize]);
        let other = root.join("d").join(["a", "b", "c"][random.below(3) as usize]);
        let position = random.below(20_000);
        let bytes = vec![random.next_u64() as u8; random.below(9_000) as usize];
        let range = position..position + random.below(9_000);
        let result = match random.below(10) {
            0 => disk.create(&path).map(drop),
            1 => disk.rename(&path, &other),
            2 => disk.remove(&path),
            3 => disk.sync_dir(&dir),
            step => disk.open(&path).and_then(|file| match step {
                4 => file.allocate(position),
                5 => file.zero(range),
                6 => file.punch(range),
                7 => file.sync_data(),
                _ => file.write_at(position, &[IoSlice::new(&bytes), IoSlice::new(b"end")]),
            }),
        };
        log.push(format!("{:?}", result.map_err(|e| e.kind())));
        for dir in ["d", "d/e"] {
            for name in disk.list(&root.join(dir)).unwrap() {
                if let Ok(file) = disk.open(&root.join(dir).join(&name)) {
                    let mut bytes = vec![0; file.len().unwrap() as usize + 1];
                    let read = file.read_at(0, &mut bytes).unwrap();
                    log.push(format!("{dir}/{name}: {read} {:08x}", crc32fast::hash(&bytes)));
                }
            }
        }
    }
    log
}

#[test]
fn what_is_seen_equals_a_real_disk() {
    for seed in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let real = random_run(&RealDisk, folder.path(), seed, 60);
        let simulated = random_run(&SimDisk::new(seed), Path::new("root"), seed, 60);
        for (number, (real, simulated)) in real.iter().zip(&simulated).enumerate() {
            assert_eq!(real, simulated, "seed {seed}, line {number}");
        }
        assert_eq!(real.len(), simulated.len(), "seed {seed}");
    }
}

#[test]
fn a_seed_reproduces_a_run_and_its_crash() {
    let run = |seed: u64| {
        let disk = SimDisk::new(seed);
        disk.keep_trace();
        random_run(&disk, Path::new("root"), seed, 100);
        let after = disk.crash(seed + 1);
        let found: Vec<_> =
            after.files().into_iter().map(|path| (after.contents(&path).unwrap(), path)).collect();
        (disk.trace(), disk.trace_hash(), found)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}

#[test]
fn a_copy_is_another_disk() {
    let (disk, file) = one_file();
    let copy = disk.copy();
    put(&file, 0, &[9; 10]);
    assert_eq!(all_of(&copy, "dir/a").unwrap(), [1; 4096]);
    assert_eq!(all_of(&copy.crash(1), "dir/a").unwrap(), [1; 4096]);
    assert!(!disk.is_off());
}

impl SimDisk {
    /// What a crash would leave, without taking the power from this disk.
    fn copy_unsynced(&self, seed: u64) -> Self {
        let state = self.state.lock();
        Self::from_state(state.after_power_loss(SeededEntropy::new(seed)))
    }
}
