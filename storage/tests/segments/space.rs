//! A full disk: refused before anything has changed, and over as soon as there is room.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use embermq_storage::disk::Disk;
use embermq_storage::disk::sim::{Fault, Operation, SeededEntropy, SimDisk};
use embermq_storage::partition::PartitionLog;
use embermq_storage::segment::{SegmentError, SegmentOptions};
use embermq_storage::{Offset, Timestamp};

use crate::harness::{Partition, identity, tiny};

#[test]
fn a_reservation_without_room_is_refused_and_later_granted() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.options.segment_bytes = 40_000;
    partition.options.first_step_bytes = 4_096;
    partition.options.step_bytes_max = 8_192;
    partition = Partition::new(partition.disk, Path::new("/q"), partition.options);
    partition.fill(10);
    disk.set_capacity(disk.held_bytes() + 4_096);
    let error = loop {
        match partition.try_stage(1, vec![7; 500]) {
            Ok(()) => partition.commit(),
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable());
    let SegmentError::Full { ref dir, needed_bytes, .. } = error else { panic!("{error}") };
    assert!(dir == Path::new("/q") && needed_bytes > 0);
    assert!(error.to_string().starts_with("storage full: /q has "), "{error}");

    let (files, manifest) = (disk.files(), partition.log.manifest());
    for _ in 0..3 {
        assert!(partition.try_stage(1, vec![7; 500]).unwrap_err().is_retryable());
        assert!(partition.try_stage(1, vec![7; 50_000]).unwrap_err().is_retryable());
    }
    assert_eq!((disk.files(), partition.log.manifest()), (files, manifest));
    partition.assert_all_readable();

    disk.set_capacity(1 << 30);
    partition.fill(200);
    partition.stage(1, vec![7; 50_000]);
    partition.commit();
    partition.run_jobs();
    partition.assert_all_readable();
}

#[test]
fn a_partition_can_be_made_and_recovered_without_room() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/topics")).unwrap();
    disk.set_capacity(disk.held_bytes());
    let (dir, shared) = (Path::new("/topics/2/0"), Arc::new(disk.clone()));
    let log = PartitionLog::create(shared.clone(), dir.into(), identity(), tiny(), Offset(0));
    let manifest = log.unwrap().manifest();
    let mut log = PartitionLog::recover(shared, dir.into(), identity(), tiny(), &manifest).unwrap();
    let mut entropy = SeededEntropy::new(1);
    let refused = log.reserve(100, Timestamp(1), &mut entropy).unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    disk.set_capacity(1 << 30);
    log.reserve(100, Timestamp(1), &mut entropy).unwrap();
}

#[test]
fn a_new_segment_without_room_leaves_no_file() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    disk.fail(Fault::new(Operation::Allocate, ErrorKind::StorageFull).lasting());
    assert!(partition.try_stage(1, vec![1; 10]).unwrap_err().is_retryable());
    assert!(disk.files().is_empty());
    disk.heal();
    // Nor does one whose file cannot even be removed stand in the way.
    disk.fail(Fault::new(Operation::Allocate, ErrorKind::StorageFull));
    disk.fail(Fault::new(Operation::Remove, ErrorKind::Other));
    assert!(partition.try_stage(1, vec![1; 10]).unwrap_err().is_retryable());
    partition.fill(30);
    partition.assert_all_readable();
}

#[test]
fn sealing_without_room_is_tried_again() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(25);
    disk.fail(Fault::new(Operation::Create, ErrorKind::StorageFull).at(".idx"));
    let mut failed = 0;
    for _ in 0..3 {
        for job in partition.log.take_jobs() {
            failed += usize::from(partition.log.finish(job.run()).is_err());
        }
    }
    assert_eq!(failed, 1);
    let manifest = partition.log.manifest();
    let (_, finished) = manifest.segments.split_last().unwrap();
    assert!(finished.iter().all(|segment| segment.sealed));
}

#[test]
fn a_growing_segment_that_cannot_be_zeroed_is_closed() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(2);
    partition.sync();
    let manifest = partition.log.manifest();
    disk.fail(Fault::new(Operation::Zero, ErrorKind::StorageFull));
    partition.reopen(&manifest);
    partition.assert_all_readable();
    partition.fill(3);
    partition.run_jobs();
    assert!(partition.log.manifest().segments[0].sealed);
    partition.assert_all_readable();
}

#[test]
fn a_file_too_many_is_refused_before_anything_has_changed() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(2);
    for operation in [Operation::Create, Operation::Map] {
        let manifest = partition.log.manifest();
        disk.fail(Fault::new(operation, ErrorKind::QuotaExceeded).at(".seg").lasting());
        // More than the present segment holds.
        let error = partition.try_stage(1, vec![7; 5_000]).unwrap_err();
        assert!(
            matches!(error, SegmentError::TooManyOpen { .. }) && error.is_retryable(),
            "{error}"
        );
        assert_eq!(partition.log.manifest(), manifest);
        disk.heal();
        partition.stage(1, vec![7; 5_000]);
        partition.commit();
        partition.run_jobs();
        partition.assert_all_readable();
    }
}

#[test]
fn a_segment_that_cannot_be_opened_for_want_of_files_is_closed_and_sealed_later() {
    for operation in [Operation::Open, Operation::Map] {
        let (disk, mut partition) = Partition::tiny_on_sim();
        partition.fill(2);
        partition.sync();
        let manifest = partition.log.manifest();
        disk.fail(Fault::new(operation, ErrorKind::QuotaExceeded).at(".seg").lasting());
        partition.reopen(&manifest);
        assert!(partition.try_stage(1, vec![1; 10]).is_err() || operation == Operation::Open);
        for job in partition.log.take_jobs() {
            assert!(partition.log.finish(job.run()).unwrap_err().is_retryable());
        }
        disk.heal();
        partition.commit();
        partition.fill(3);
        partition.run_jobs();
        assert!(partition.log.manifest().segments[0].sealed);
        partition.assert_all_readable();
    }
}

#[test]
fn the_job_allocates_so_that_the_committer_need_not() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.options = SegmentOptions {
        segment_bytes: 1 << 20,
        first_step_bytes: 1_024,
        step_bytes_max: 8_192,
        ..tiny()
    };
    partition = Partition::new(partition.disk, Path::new("/q"), partition.options);
    partition.fill(1);
    disk.keep_trace();
    let mut jobs = 0;
    for _ in 0..200 {
        if let Some(job) = partition.log.grow_job() {
            assert!(partition.log.grow_job().is_none(), "one at a time");
            job.run().unwrap();
            jobs += 1;
        }
        let before = disk.changes();
        partition.log.reserve(200, Timestamp(1), &mut partition.entropy).unwrap();
        assert_eq!(disk.changes(), before, "the committer had to allocate");
        partition.stage(1, vec![3; 144]);
        partition.commit();
    }
    assert!(jobs > 3);
}

#[test]
fn what_no_segment_can_hold_is_refused_for_good() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    let error = partition.log.reserve(1 << 40, Timestamp(1), &mut partition.entropy).unwrap_err();
    assert!(matches!(error, SegmentError::BatchTooLarge { .. }) && !error.is_retryable());
    let mut long = identity();
    long.topic = "x".repeat(5_000);
    let created = PartitionLog::create(disk, "/z".into(), long, tiny(), Offset(0));
    assert!(matches!(created, Err(SegmentError::NameTooLong { .. })));
}
