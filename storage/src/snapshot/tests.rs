//! A snapshot through crashes, faults and damage.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of a test are small, or cut on purpose"
)]

use std::io::ErrorKind;

use super::*;
use crate::disk::RealDisk;
use crate::disk::sim::{Fault, Operation, SeededEntropy, SimDisk};

const DIR: &str = "snapshots";

/// A store whose blocks hold 64 bytes, so that a small snapshot has many.
fn store(disk: &SimDisk) -> SnapshotStore {
    let mut store = SnapshotStore::open(Arc::new(disk.clone()), DIR.into()).unwrap();
    store.block_bytes = 64;
    store
}

fn path(position: u64) -> PathBuf {
    Path::new(DIR).join(format!("{position:020}.snap"))
}

/// The state at a position: records of lengths below, at and above those of a block, and an empty one.
fn state_at(position: u64) -> Vec<Vec<u8>> {
    (0..8).map(|n| vec![(position + n) as u8; [0, 3, 60, 64, 200, 1, 56, 4][n as usize]]).collect()
}

fn write(store: &SnapshotStore, position: u64) -> Result<(), SnapshotError> {
    store.write(Position(position), &mut SeededEntropy::new(position), &mut |writer| {
        state_at(position).iter().try_for_each(|record| writer.record(record))
    })
}

fn read_all(reader: &mut SnapshotReader) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| record.to_vec()).collect()
}

/// The position of the newest snapshot, whose records must be those that were written.
fn newest(store: &SnapshotStore) -> Option<u64> {
    let mut reader = store.newest().unwrap()?;
    let position = reader.position().0;
    assert_eq!(read_all(&mut reader), state_at(position));
    Some(position)
}

/// A disk with the snapshots at 10 and 20.
fn two_snapshots() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    write(&store, 10).unwrap();
    write(&store, 20).unwrap();
    disk
}

#[test]
fn what_was_written_is_read_and_two_are_kept() {
    let disk = SimDisk::new(1);
    let store = store(&disk);
    assert!(store.newest().unwrap().is_none());
    assert_eq!(store.oldest_kept().unwrap(), None);
    for position in [5, 10, 20] {
        write(&store, position).unwrap();
        assert_eq!(newest(&store), Some(position));
    }
    assert_eq!(disk.files(), [path(10), path(20)]);
    assert_eq!(store.oldest_kept().unwrap(), Some(Position(10)));
    // The same position again replaces it.
    write(&store, 20).unwrap();
    assert_eq!(newest(&store), Some(20));
}

#[test]
fn an_empty_state_and_a_large_record_are_fine_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/snapshots");
    let store = SnapshotStore::open(Arc::new(RealDisk), dir.clone()).unwrap();
    let mut entropy = SeededEntropy::new(1);
    store.write(Position(1), &mut entropy, &mut |_| Ok(())).unwrap();
    assert_eq!(store.newest().unwrap().unwrap().next_record().unwrap(), None);
    let large: Vec<u8> = (0..6_000_000_u32).map(|n| (n / 251) as u8).collect();
    store.write(Position(2), &mut entropy, &mut |writer| writer.record(&large)).unwrap();
    let mut reader = store.newest().unwrap().unwrap();
    assert_eq!(read_all(&mut reader), [large]);
    assert_eq!(reader.next_record().unwrap(), None);
    let report = verify_file(&RealDisk, &dir.join(format!("{:020}.snap", 2))).unwrap();
    assert_eq!((report.position, report.records, report.damage), (Position(2), 1, None));
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_or_the_new_one() {
    let before = two_snapshots();
    let whole = before.copy();
    write(&store(&whole), 30).unwrap();
    let mut found = BTreeSet::new();
    for cut in 0..whole.changes() {
        let disk = before.copy();
        disk.crash_after(cut);
        let written = write(&store(&disk), 30);
        assert!(disk.is_off() && written.is_err());
        for seed in 0..20 {
            let after = store(&disk.crash(seed));
            let position = newest(&after).unwrap();
            assert!(position == 20 || position == 30, "cut {cut}, seed {seed}: {position}");
            assert!(
                after.newest().unwrap().unwrap().damaged().is_empty(),
                "cut {cut}, seed {seed}"
            );
            found.insert(position);
            write(&after, 40).unwrap();
            assert_eq!(newest(&after), Some(40));
        }
    }
    assert_eq!(found, BTreeSet::from([20, 30]));
    for seed in 0..20 {
        assert_eq!(newest(&store(&whole.crash(seed))), Some(30));
    }
}

#[test]
fn every_flipped_bit_is_noticed_and_the_older_one_is_used() {
    let intact = two_snapshots();
    let bytes = intact.contents(&path(20)).unwrap().len() as u64;
    for position in 0..bytes {
        for bit in 0..8 {
            let disk = intact.copy();
            disk.flip_bit(&path(20), position, bit).unwrap();
            let store = store(&disk);
            let reader = store.newest().unwrap().unwrap();
            assert_eq!(reader.position(), Position(10), "byte {position}, bit {bit}");
            let [damage] = reader.damaged() else { panic!("one is damaged: {reader:?}") };
            assert_eq!(damage.file, path(20));
            // The damage is told to the part (header, block or trailer) that holds it, or to the one whose end it hides.
            assert!(damage.file_position <= position, "byte {position}: {damage}");
            assert_eq!(verify_file(&disk, &path(20)).unwrap().damage.as_ref(), Some(damage));
            assert_eq!(newest(&store), Some(10));
        }
    }
}

#[test]
fn every_cut_and_every_longer_file_is_noticed_and_the_older_one_is_used() {
    let intact = two_snapshots();
    let bytes = intact.contents(&path(20)).unwrap().len() as u64;
    for len in (0..bytes).chain(bytes + 1..bytes + 40) {
        let disk = intact.copy();
        disk.truncate(&path(20), len).unwrap();
        let reader = store(&disk).newest().unwrap().unwrap();
        assert_eq!(reader.position(), Position(10), "{len} bytes");
        assert_eq!(reader.damaged().len(), 1);
    }
}

#[test]
fn blocks_of_another_snapshot_do_not_pass() {
    let disk = two_snapshots();
    let (old, new) = (disk.contents(&path(10)).unwrap(), disk.contents(&path(20)).unwrap());
    assert_eq!(old.len(), new.len());
    let half = old.len() / 2;
    disk.plant(&path(20), &[&new[..half], &old[half..]].concat()).unwrap();
    assert_eq!(newest(&store(&disk)), Some(10));
    disk.plant(&path(20), &old).unwrap();
    let store = store(&disk);
    let reader = store.newest().unwrap().unwrap();
    assert_eq!(reader.damaged()[0].reason, DamageReason::OtherPosition { found: Position(10) });
}

#[test]
fn a_damaged_one_counts_no_longer_and_goes_with_the_next() {
    let disk = two_snapshots();
    disk.flip_bit(&path(20), 40, 0).unwrap();
    let store = store(&disk);
    assert_eq!(newest(&store), Some(10));
    assert_eq!(store.oldest_kept().unwrap(), Some(Position(10)));
    write(&store, 30).unwrap();
    assert_eq!(disk.files(), [path(10), path(30)]);
}

#[test]
fn when_all_are_damaged_none_is_made_up() {
    let disk = two_snapshots();
    disk.truncate(&path(10), 3).unwrap();
    disk.truncate(&path(20), 0).unwrap();
    let error = store(&disk).newest().unwrap_err();
    let SnapshotError::NoneReadable { damaged } = &error else { panic!("{error}") };
    assert_eq!(
        damaged.iter().map(|damage| &damage.file).collect::<Vec<_>>(),
        [&path(20), &path(10)]
    );
    assert!(error.to_string().contains("at byte 0"), "{error}");
}

#[test]
fn a_full_disk_refuses_and_can_be_tried_again() {
    let disk = two_snapshots();
    let store = store(&disk);
    disk.set_capacity(disk.held_bytes());
    let error = write(&store, 30).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(disk.files(), [path(10), path(20)]);
    assert_eq!(newest(&store), Some(20));
    disk.set_capacity(1 << 30);
    write(&store, 30).unwrap();
    assert_eq!(newest(&store), Some(30));
}

#[test]
fn every_failing_operation_is_reported_and_harmless() {
    for operation in [
        Operation::Create,
        Operation::Write,
        Operation::SyncData,
        Operation::Rename,
        Operation::SyncDir,
        Operation::Remove,
        Operation::List,
    ] {
        let disk = two_snapshots();
        let store = store(&disk);
        disk.fail(Fault::new(operation, ErrorKind::Other));
        assert!(write(&store, 30).is_err(), "{operation:?}");
        assert!(newest(&store) >= Some(20), "{operation:?}");
        write(&store, 40).unwrap();
        assert_eq!(newest(&store), Some(40));
    }
}

#[test]
fn an_error_while_filling_leaves_nothing() {
    let disk = two_snapshots();
    let store = store(&disk);
    let result = store.write(Position(30), &mut SeededEntropy::new(1), &mut |writer| {
        writer.record(&[1; 300])?;
        Err(ErrorKind::Other.into())
    });
    assert!(result.is_err());
    assert_eq!(disk.files(), [path(10), path(20)]);
}

#[test]
fn leftovers_are_removed_and_strangers_are_left_alone() {
    let disk = two_snapshots();
    disk.plant(&Path::new(DIR).join("00000000000000000030.tmp"), b"half").unwrap();
    disk.plant(&Path::new(DIR).join("notes.txt"), b"mine").unwrap();
    disk.plant(&Path::new(DIR).join("30.snap"), b"not ours").unwrap();
    assert_eq!(newest(&store(&disk)), Some(20));
    assert_eq!(disk.files().len(), 4);
    assert!(verify_file(&disk, &Path::new(DIR).join("30.snap")).is_err());
}

#[test]
fn a_device_error_while_reading_counts_as_damage() {
    let disk = two_snapshots();
    let store = store(&disk);
    disk.fail(Fault::new(Operation::Read, ErrorKind::Other).at("20.snap").after(3));
    let reader = store.newest().unwrap().unwrap();
    assert_eq!(reader.position(), Position(10));
    assert_eq!(reader.damaged()[0].reason, DamageReason::Unreadable(ErrorKind::Other));
}
