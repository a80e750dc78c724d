//! What recovery makes of a folder, from the manifest of an earlier moment.

use std::path::Path;
use std::sync::Arc;

use embermq_storage::Offset;
use embermq_storage::disk::Disk;
use embermq_storage::disk::sim::SeededEntropy;
use embermq_storage::partition::{PartitionLog, PartitionManifest};
use embermq_storage::segment::{ReadError, verify_segment};

use crate::harness::{
    Batch, Partition, identity, read_all, read_around_damage, recover, replay, run_jobs, tiny,
};

fn assert_recovers(disk: Arc<dyn Disk>, manifest: &PartitionManifest, staged: &[Batch]) {
    let mut log = recover(disk.clone(), Path::new("/p"), tiny(), manifest);
    assert_eq!(log.next_offset(), manifest.next());
    replay(&mut log, staged, &mut SeededEntropy::new(99));
    assert_eq!(log.missing(), []);
    run_jobs(&mut log);
    let start = log.start_offset();
    let expected: Vec<_> =
        staged.iter().filter(|batch| batch.head.next_offset() > start).cloned().collect();
    assert_eq!(read_all(&log.reader(), start, 700).unwrap(), expected);
    for segment in log.manifest().segments {
        let path = format!("/p/{:020}.seg", segment.base.0);
        let report = verify_segment(disk.as_ref(), Path::new(&path)).unwrap();
        assert!(report.damage.is_empty(), "{report:?}");
        assert_eq!(
            (report.next, report.end, report.sealed),
            (segment.next, segment.bytes, segment.sealed)
        );
    }
}

#[test]
fn what_lies_behind_the_manifest_is_removed_and_staged_again() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    let mut manifests = Vec::new();
    for round in 0..12 {
        partition.fill(5);
        if round % 2 == 0 {
            partition.run_jobs();
        }
        partition.sync();
        manifests.push(partition.log.manifest());
    }
    for manifest in manifests {
        assert_recovers(Arc::new(disk.copy()), &manifest, &partition.staged);
    }
}

#[test]
fn power_loss_at_any_moment_loses_nothing_that_the_manifest_knows() {
    for seed in 0..150 {
        let (disk, mut partition) = Partition::tiny_on_sim();
        let mut chance = SeededEntropy::new(seed);
        let mut manifest = partition.log.manifest();
        for _ in 0..chance.below(40) + 5 {
            match chance.below(10) {
                0 => {
                    partition.sync();
                    manifest = partition.log.manifest();
                }
                1 => partition.run_jobs(),
                _ => partition.fill(1),
            }
        }
        assert_recovers(Arc::new(disk.crash(seed)), &manifest, &partition.staged);
    }
}

#[test]
fn a_missing_file_is_reported_and_the_rest_stays_readable() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(40);
    partition.run_jobs();
    partition.sync();
    let manifest = partition.log.manifest();
    let gone = &manifest.segments[1];
    disk.remove(&partition.segment_path(1)).unwrap();
    partition.reopen(&manifest);
    assert_eq!(partition.log.missing(), [(gone.base, gone.next)]);

    let (batches, errors) = read_around_damage(&partition.log.reader());
    let within =
        |batch: &&Batch| batch.head.base_offset < gone.base || batch.head.base_offset >= gone.next;
    assert_eq!(batches, partition.staged.iter().filter(within).cloned().collect::<Vec<_>>());
    assert!(
        matches!(errors[..], [ReadError::Missing { first, next }] if (first, next) == (gone.base, gone.next))
    );

    // Retention may have removed it: then nothing is missing.
    let middle = Offset(gone.base.0 + 2);
    assert!(!partition.log.trim(middle).is_empty());
    assert_eq!(partition.log.missing(), [(middle, gone.next)]);
    let error = partition.log.reader().read(middle, 100).unwrap_err();
    assert!(matches!(error, ReadError::Missing { first, .. } if first == middle));
    let _ = partition.log.trim(gone.next);
    assert_eq!(partition.log.missing(), []);
    partition.assert_all_readable();
}

#[test]
fn a_missing_growing_segment_does_not_hinder_the_next_batch() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(20);
    partition.run_jobs();
    let manifest = partition.log.manifest();
    let last = manifest.segments.last().unwrap().clone();
    disk.remove(&partition.segment_path(manifest.segments.len() - 1)).unwrap();
    partition.reopen(&manifest);
    assert_eq!(partition.log.missing(), [(last.base, last.next)]);
    partition.fill(5);
    partition.run_jobs();
    let reader = partition.log.reader();
    assert_eq!(read_all(&reader, last.next, 500).unwrap(), partition.staged_from(last.next));
}

#[test]
fn an_empty_growing_segment_may_be_gone_or_cut() {
    for cut in [None, Some(0), Some(10), Some(200)] {
        let (disk, mut partition) = Partition::tiny_on_sim();
        let now = embermq_storage::Timestamp(1);
        partition.log.reserve(100, now, &mut partition.entropy).unwrap();
        partition.commit();
        let manifest = partition.log.manifest();
        let path = partition.segment_path(0);
        match cut {
            None => disk.remove(&path).unwrap(),
            Some(len) => disk.truncate(&path, len).unwrap(),
        }
        partition.reopen(&manifest);
        partition.fill(30);
        partition.run_jobs();
        partition.assert_all_readable();
    }
}

#[test]
fn the_file_of_another_partition_is_not_served() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(20);
    partition.run_jobs();
    let mut other = identity();
    other.partition += 1;
    let manifest = partition.log.manifest();
    let log = PartitionLog::recover(disk, "/p".into(), other, tiny(), &manifest).unwrap();
    let (batches, errors) = read_around_damage(&log.reader());
    assert!(batches.is_empty());
    assert_eq!(errors.len(), manifest.segments.len());
    assert!(
        errors[0].to_string().contains("is the segment of topic photos, partition 3"),
        "{}",
        errors[0]
    );
}

#[test]
fn strangers_in_the_folder_are_left_alone() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(3);
    let manifest = partition.log.manifest();
    for name in ["notes.txt", "7.seg", "00000000000000000000.bak"] {
        disk.plant(&Path::new("/p").join(name), b"mine").unwrap();
    }
    disk.plant(Path::new("/p/00000000000000000777.seg"), b"left over").unwrap();
    disk.plant(Path::new("/p/00000000000000000000.seg.tmp"), b"left over").unwrap();
    partition.reopen(&manifest);
    assert_eq!(
        disk.list(Path::new("/p")).unwrap(),
        ["00000000000000000000.bak", "00000000000000000000.seg", "7.seg", "notes.txt"]
    );
}

#[test]
fn offsets_that_were_given_up_are_reported_and_the_rest_stays_readable() {
    let (_disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(3);
    let before = partition.log.next_offset();
    partition.log.lose(before.plus(10));
    partition.log.lose(before);
    assert_eq!(partition.log.next_offset(), before.plus(10));
    partition.fill(2);

    let check = |log: &PartitionLog| {
        let reader = log.reader();
        assert_eq!(log.missing(), [(before, before.plus(10))]);
        assert_eq!(reader.read(Offset(0), 100_000).unwrap().next, before);
        match reader.read(before.plus(4), 100_000) {
            Err(ReadError::Missing { next, .. }) => assert_eq!(next, before.plus(10)),
            other => panic!("{other:?}"),
        }
        assert_eq!(reader.read(before.plus(10), 100_000).unwrap().next, reader.end());
    };
    check(&partition.log);
    let manifest = partition.log.manifest();
    partition.reopen(&manifest);
    check(&partition.log);
}
