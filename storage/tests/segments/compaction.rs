//! Rewriting segments: with holes, under readers, and with the power lost at every step.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use embermq_storage::compaction::{BatchView, Keep, rewrite};
use embermq_storage::disk::RealDisk;
use embermq_storage::disk::sim::{SeededEntropy, SimDisk};
use embermq_storage::partition::PartitionLog;
use embermq_storage::segment::{SegmentError, SegmentOptions, verify_segment};
use embermq_storage::{Offset, Timestamp};

use crate::harness::{Batch, Partition, decode, read_all, recover, replay, run_jobs, tiny};

/// Every third batch goes, every third is shortened.
fn keep(view: &BatchView) -> Keep {
    match view.head.base_sequence % 3 {
        0 => Keep::All,
        1 => Keep::None,
        _ => Keep::Replace { body: Bytes::from_static(b"shorter"), record_count: 1 },
    }
}

fn kept(batch: &Batch) -> Option<Batch> {
    let view = BatchView { head: batch.head, body: Bytes::from(batch.body.clone()) };
    match keep(&view) {
        Keep::All => Some(batch.clone()),
        Keep::None => None,
        Keep::Replace { body, record_count } => {
            let mut head = batch.head;
            // A batch that was shortened before is shortened again to the same.
            head.record_count = record_count;
            Some(Batch { head, body: body.to_vec() })
        }
    }
}

fn expected(staged: &[Batch], compacted_below: Offset) -> Vec<Batch> {
    staged
        .iter()
        .filter_map(|batch| {
            if batch.head.base_offset < compacted_below { kept(batch) } else { Some(batch.clone()) }
        })
        .collect()
}

fn compact(log: &mut PartitionLog, settled: Offset) -> Result<usize, SegmentError> {
    let segments = log.sealed(settled);
    for segment in &segments {
        let done = rewrite(segment, &mut keep, Timestamp(9), &mut SeededEntropy::new(3))?;
        assert!(log.replace(done).is_none());
    }
    Ok(segments.len())
}

fn sealed_partition(batches: usize) -> (Arc<SimDisk>, Partition) {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.fill(batches);
    partition.run_jobs();
    partition.sync();
    (disk, partition)
}

#[test]
fn what_stays_keeps_its_offset() {
    let (disk, mut partition) = sealed_partition(50);
    let manifest = partition.log.manifest();
    let active = manifest.segments.last().unwrap().base;
    let settled = manifest.segments[3].next;
    assert_eq!(compact(&mut partition.log, settled).unwrap(), 4);
    let reader = partition.log.reader();
    for max_bytes in [0, 300, 1 << 20] {
        assert_eq!(
            read_all(&reader, Offset(0), max_bytes).unwrap(),
            expected(&partition.staged, settled)
        );
    }
    // Again, and all of them.
    compact(&mut partition.log, Offset(u64::MAX)).unwrap();
    let expected = expected(&partition.staged, active);
    assert_eq!(read_all(&reader, Offset(0), 500).unwrap(), expected);
    assert!(partition.log.bytes() < manifest.bytes());
    assert_eq!(reader.bytes(), partition.log.bytes());
    for from in 0..100 {
        let slice = reader.read(Offset(from), 0).unwrap();
        let first = expected.iter().find(|batch| batch.head.next_offset() > Offset(from)).unwrap();
        assert_eq!(decode(&slice).first(), Some(first));
        assert_eq!(decode(&slice).len(), 1);
    }
    for at in 0..manifest.segments.len() - 1 {
        let report = verify_segment(disk.as_ref(), &partition.segment_path(at)).unwrap();
        assert!(report.sealed && report.damage.is_empty(), "{report:?}");
        assert_eq!(report.next, manifest.segments[at].next);
    }

    // A manifest of before knows other sizes; the files know better.
    for manifest in [manifest, partition.log.manifest()] {
        let mut log = recover(Arc::new(disk.copy()), Path::new("/p"), tiny(), &manifest);
        assert_eq!(read_all(&log.reader(), Offset(0), 500).unwrap(), expected);
        run_jobs(&mut log);
        assert_eq!(log.missing(), []);
    }
}

#[test]
fn offsets_that_were_given_up_keep_nothing_from_being_compacted() {
    let (_, mut partition) = Partition::tiny_on_sim();
    partition.fill(10);
    let before = partition.log.next_offset();
    partition.log.lose(before.plus(10));
    partition.fill(20);
    partition.run_jobs();
    partition.sync();
    for reopened in [false, true] {
        if reopened {
            let manifest = partition.log.manifest();
            partition.reopen(&manifest);
        }
        let mut seen = Vec::new();
        for segment in partition.log.sealed(Offset(u64::MAX)) {
            segment.scan(&mut |view| seen.push(view.head.base_offset)).unwrap();
        }
        let behind = partition.log.manifest().segments.last().unwrap().base;
        let staged = partition.staged.iter().map(|batch| batch.head.base_offset);
        assert_eq!(seen, staged.take_while(|base| *base < behind).collect::<Vec<_>>());
        assert!(behind > before.plus(10));
    }
}

#[test]
fn a_segment_of_which_nothing_stays_is_a_hole() {
    let (_, mut partition) = sealed_partition(30);
    let active = partition.log.manifest().segments.last().unwrap().base;
    for segment in partition.log.sealed(Offset(u64::MAX)) {
        let mut seen = 0;
        segment.scan(&mut |_| seen += 1).unwrap();
        assert!(seen > 2);
        let none = &mut |_: &BatchView| Keep::None;
        let done = rewrite(&segment, none, Timestamp(9), &mut SeededEntropy::new(3)).unwrap();
        assert!(partition.log.replace(done).is_none());
    }
    let reader = partition.log.reader();
    let slice = reader.read(Offset(3), 0).unwrap();
    assert_eq!(slice.first, active);
    assert_eq!(read_all(&reader, Offset(0), 500).unwrap(), partition.staged_from(active));
    assert_eq!(reader.offset_at(Timestamp(0)).unwrap(), active);
}

#[test]
fn power_lost_at_any_step_leaves_the_old_or_the_new_segment() {
    let (disk, partition) = sealed_partition(26);
    let manifest = partition.log.manifest();
    let sealed = manifest.segments.len() - 1;
    assert!(sealed >= 2);
    let mut finished = false;
    for changes in 0.. {
        let disk = Arc::new(disk.copy());
        let mut log = recover(disk.clone(), Path::new("/p"), tiny(), &manifest);
        disk.crash_after(changes);
        finished = compact(&mut log, Offset(u64::MAX)).is_ok();
        for seed in 0..3 {
            let after = Arc::new(disk.crash(seed));
            let mut log = recover(after.clone(), Path::new("/p"), tiny(), &manifest);
            assert_eq!(log.missing(), []);
            let batches = read_all(&log.reader(), Offset(0), 500).unwrap();
            let possible: Vec<_> = (0..=sealed)
                .map(|done| expected(&partition.staged, manifest.segments[done].base))
                .collect();
            assert!(possible.contains(&batches), "after {changes} changes, seed {seed}");
            assert!(!finished || batches == possible[sealed]);
            replay(&mut log, &partition.staged, &mut SeededEntropy::new(5));
            assert!(after.files().iter().all(|path| path.extension().is_some_and(|e| e != "tmp")));
        }
        if finished {
            break;
        }
    }
    assert!(finished);
}

#[test]
fn a_damaged_segment_is_left_alone() {
    let (disk, partition) = sealed_partition(30);
    let manifest = partition.log.manifest();
    disk.flip_bit(&partition.segment_path(1), 300, 2).unwrap();
    let before = disk.contents(&partition.segment_path(1)).unwrap();
    let log = recover(disk.clone(), Path::new("/p"), tiny(), &manifest);
    let segment = &log.sealed(Offset(u64::MAX))[1];
    let error = rewrite(segment, &mut keep, Timestamp(9), &mut SeededEntropy::new(3)).unwrap_err();
    assert!(matches!(error, SegmentError::Unreadable(_)) && !error.is_retryable());
    assert_eq!(disk.contents(&partition.segment_path(1)).unwrap(), before);
    assert!(disk.files().iter().all(|path| path.extension().is_some_and(|e| e != "tmp")));
}

#[test]
fn without_room_nothing_changes() {
    let (disk, mut partition) = sealed_partition(30);
    disk.set_capacity(disk.held_bytes());
    let error = compact(&mut partition.log, Offset(u64::MAX)).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    partition.assert_all_readable();
    disk.set_capacity(1 << 30);
    compact(&mut partition.log, Offset(u64::MAX)).unwrap();
}

#[test]
fn retention_may_be_faster() {
    let (disk, mut partition) = sealed_partition(30);
    let segments = partition.log.sealed(Offset(u64::MAX));
    let end = segments[0].meta().next;
    let removals = partition.log.trim(end);
    // The names go before or after the new file has taken them.
    removals.iter().for_each(|job| job.run().unwrap());
    let done = rewrite(&segments[0], &mut keep, Timestamp(9), &mut SeededEntropy::new(3));
    if let Ok(done) = done {
        partition.log.replace(done).unwrap().run().unwrap();
    }
    assert!(
        !disk
            .files()
            .iter()
            .any(|path| path.starts_with("/p") && path.ends_with(format!("{:020}.seg", 0)))
    );
    partition.assert_all_readable();
}

#[test]
fn readers_go_on_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let options = SegmentOptions { segment_bytes: 8 << 10, ..tiny() };
    let mut partition = Partition::new(Arc::new(RealDisk), folder.path(), options);
    partition.fill(800);
    partition.run_jobs();
    let staged = partition.staged.clone();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = partition.log.reader();
            scope.spawn(|| {
                let reader = reader;
                loop {
                    let last = stop.load(Ordering::Relaxed);
                    for batch in read_all(&reader, Offset(0), 3_000).unwrap() {
                        let at = usize::try_from(batch.head.base_offset.0 / 2).unwrap();
                        let original = &staged[at];
                        assert!(batch == *original || Some(batch) == kept(original));
                    }
                    if last {
                        break;
                    }
                }
            });
        }
        for _ in 0..3 {
            compact(&mut partition.log, Offset(u64::MAX)).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
