//! Letting records go while somebody reads them.

use embermq_storage::Offset;
use embermq_storage::Timestamp;
use embermq_storage::disk::{Disk, RealDisk};
use embermq_storage::retention::{RetentionLimits, new_start};
use embermq_storage::segment::{ReadError, SegmentOptions};
use std::sync::Arc;

use crate::harness::{Partition, decode, tiny};

#[test]
fn slices_outlive_the_file_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let options = SegmentOptions { segment_bytes: 16 << 10, ..tiny() };
    let mut partition = Partition::new(Arc::new(RealDisk), folder.path(), options);
    partition.fill(600);
    partition.run_jobs();
    partition.sync();
    let reader = partition.log.reader();
    let held = reader.read(Offset(0), 1 << 20).unwrap();
    let before = decode(&held);

    let keep = partition.log.manifest().segments[2].base;
    let jobs = partition.log.trim(keep);
    assert_eq!((reader.start(), partition.log.start_offset()), (keep, keep));
    for job in &jobs {
        job.run().unwrap();
        job.run().unwrap();
    }
    let names = RealDisk.list(folder.path()).unwrap();
    assert!(
        !names.contains(&format!("{:020}.seg", 0)) && !names.contains(&format!("{:020}.idx", 0))
    );
    assert_eq!(decode(&held), before);
    let error = reader.read(Offset(0), 100).unwrap_err();
    assert!(matches!(error, ReadError::OutOfRange { start, .. } if start == keep), "{error}");
    partition.assert_all_readable();
    assert_eq!(reader.bytes(), partition.log.bytes());

    let manifest = partition.log.manifest();
    partition.reopen(&manifest);
    partition.assert_all_readable();
}

#[test]
fn the_start_may_lie_within_a_segment_and_never_goes_back() {
    let (_, mut partition) = Partition::tiny_on_sim();
    partition.fill(30);
    let inside = Offset(partition.log.manifest().segments[1].base.0 + 1);
    assert_eq!(partition.log.trim(inside).len(), 1);
    assert!(partition.log.trim(Offset(1)).is_empty());
    assert_eq!(partition.log.start_offset(), inside);
    partition.assert_all_readable();
}

#[test]
fn everything_may_go() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(30);
    let limits = RetentionLimits { age_us: Some(0), bytes: None };
    let start = new_start(&partition.log.manifest(), Timestamp(partition.clock), limits);
    assert_eq!(start, partition.log.next_offset());
    partition.log.trim(start).iter().for_each(|job| job.run().unwrap());
    assert!(disk.files().is_empty(), "{:?}", disk.files());
    assert!(partition.log.take_jobs().is_empty(), "what is dropped is not sealed");
    let manifest = partition.log.manifest();
    partition.reopen(&manifest);
    assert_eq!(partition.log.next_offset(), Offset(60));
    partition.fill(10);
    partition.assert_all_readable();
}

#[test]
fn what_is_not_published_stays() {
    let (_, mut partition) = Partition::tiny_on_sim();
    partition.fill(2);
    partition.stage(2, vec![1; 50]);
    assert!(partition.log.trim(Offset(6)).is_empty());
    partition.commit();
    assert_eq!(partition.log.reader().end(), Offset(6));
    partition.fill(20);
    partition.assert_all_readable();
}

#[test]
fn a_segment_dropped_while_it_is_sealed_leaves_no_name() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(25);
    let sealing = partition.log.take_jobs();
    assert!(!sealing.is_empty());
    let removals = partition.log.trim(Offset(50));
    removals.iter().for_each(|job| job.run().unwrap());
    for job in sealing {
        partition.log.finish(job.run()).unwrap();
    }
    assert!(disk.files().is_empty(), "{:?}", disk.files());
}

#[test]
fn a_deleted_partition_is_out_of_range_for_its_readers() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(10);
    let reader = partition.log.reader();
    let held = reader.read(Offset(0), 500).unwrap();
    partition.log.remove_all().run().unwrap();
    assert!(disk.files().is_empty());
    assert!(matches!(reader.read(Offset(0), 500), Err(ReadError::OutOfRange { .. })));
    assert!(reader.read(Offset(20), 500).unwrap().pieces.is_empty());
    assert!(!decode(&held).is_empty());
}
