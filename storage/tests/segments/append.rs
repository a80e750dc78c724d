//! Append, read back, reopen.

use std::path::Path;
use std::sync::Arc;

use embermq_storage::disk::RealDisk;
use embermq_storage::segment::{ReadError, SegmentOptions, verify_segment};
use embermq_storage::{Offset, Timestamp};
use proptest::prelude::*;

use crate::harness::{Partition, commit, decode, read_all, sim, tiny};

#[test]
fn an_empty_partition_reads_as_empty() {
    let partition = Partition::starting_at(sim(), Path::new("/p"), tiny(), Offset(40));
    let reader = partition.log.reader();
    assert_eq!((reader.start(), reader.end()), (Offset(40), Offset(40)));
    let slice = reader.read(Offset(40), 1_000).unwrap();
    assert!(slice.pieces.is_empty());
    assert_eq!((slice.first, slice.next), (Offset(40), Offset(40)));
    for from in [39, 41] {
        let error = reader.read(Offset(from), 1_000).unwrap_err();
        assert!(matches!(error, ReadError::OutOfRange { .. }), "{error}");
    }
}

#[test]
fn what_is_staged_is_visible_only_once_it_is_published() {
    let (_, mut partition) = Partition::tiny_on_sim();
    let reader = partition.log.reader();
    partition.stage(1, vec![1; 10]);
    assert_eq!(reader.end(), Offset(0));
    let mut writes = Vec::new();
    partition.log.take_writes(&mut writes);
    writes.iter().for_each(|write| write.run().unwrap());
    partition.stage(1, vec![2; 10]);
    assert_eq!(reader.end(), Offset(0));
    partition.log.publish();
    assert_eq!(reader.end(), Offset(1));
    assert_eq!(read_all(&reader, Offset(0), 1_000).unwrap(), partition.staged[..1]);
    partition.commit();
    partition.assert_all_readable();
}

#[test]
fn a_read_starts_with_the_batch_that_holds_its_offset_and_ends_where_it_is_full() {
    let (_, mut partition) = Partition::tiny_on_sim();
    partition.fill(60);
    let reader = partition.log.reader();
    assert!(partition.log.manifest().segments.len() > 5);
    for from in 0..120 {
        for max_bytes in [0, 1, 100, 250, 5_000] {
            let slice = reader.read(Offset(from), max_bytes).unwrap();
            let batches = decode(&slice);
            let expected = partition.staged_from(Offset(from));
            assert_eq!(batches, expected[..batches.len()]);
            assert_eq!(slice.first, expected[0].head.base_offset);
            assert_eq!(slice.next, batches.last().unwrap().head.next_offset());
            assert!(batches.len() == 1 || slice.bytes() <= max_bytes);
            let next_bytes = expected.get(batches.len()).map_or(0, |batch| 62 + batch.body.len());
            let full = slice.bytes() + next_bytes as u64 > max_bytes;
            assert!(full || batches.len() == expected.len(), "{max_bytes} bytes from {from}");
        }
    }
    let slice = reader.read(Offset(0), 5_000).unwrap();
    assert!(slice.pieces.len() > 1, "a read goes on across segments");
}

#[test]
fn one_group_may_fill_several_segments() {
    let (_, mut partition) = Partition::tiny_on_sim();
    for at in 0..40_u8 {
        partition.stage(1, vec![at; 70]);
    }
    assert!(partition.log.take_jobs().is_empty(), "nothing is sealed before it is published");
    partition.commit();
    partition.run_jobs();
    partition.assert_all_readable();
}

#[test]
fn a_large_batch_gets_a_segment_of_its_own_size() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    partition.stage(1, vec![9; 100_000]);
    partition.commit();
    partition.fill(3);
    partition.stage(1, vec![8; 50_000]);
    partition.fill(20);
    partition.run_jobs();
    partition.assert_all_readable();
    for at in 0..partition.log.manifest().segments.len() - 1 {
        let report = verify_segment(disk.as_ref(), &partition.segment_path(at)).unwrap();
        assert!(report.sealed && report.damage.is_empty(), "{report:?}");
    }
}

#[test]
fn a_reservation_that_is_not_used_holds_for_a_larger_one() {
    let (_, mut partition) = Partition::tiny_on_sim();
    let now = Timestamp(1);
    partition.log.reserve(100, now, &mut partition.entropy).unwrap();
    partition.log.reserve(5_000, now, &mut partition.entropy).unwrap();
    partition.log.reserve(200, now, &mut partition.entropy).unwrap();
    partition.stage(1, vec![7; 8_000]);
    partition.commit();
    assert_eq!(partition.log.manifest().segments.len(), 1);
    partition.assert_all_readable();
}

#[test]
fn one_reservation_can_hold_several_batches() {
    let (_, mut partition) = Partition::tiny_on_sim();
    partition.fill(3);
    let bytes = 3 * (56 + 150) + 2 * 6;
    partition.log.reserve(bytes, Timestamp(1), &mut partition.entropy).unwrap();
    let segments = partition.log.manifest().segments.len();
    for _ in 0..3 {
        let mut head = partition.staged[0].head;
        head.base_offset = partition.log.next_offset();
        let batch = crate::harness::Batch { head, body: vec![1; 150] };
        crate::harness::stage(&mut partition.log, &batch);
        partition.staged.push(batch);
    }
    partition.commit();
    assert_eq!(partition.log.manifest().segments.len(), segments);
    partition.assert_all_readable();
}

#[test]
fn a_batch_against_the_rules_fails_its_write() {
    let (_, mut partition) = Partition::tiny_on_sim();
    partition.fill(1);
    let mut batch = partition.staged[0].clone();
    batch.body = vec![0; 5_000];
    batch.head.base_offset = partition.log.next_offset();
    for head in [batch.head, partition.staged[0].head] {
        batch.head = head;
        crate::harness::stage(&mut partition.log, &batch);
        let mut writes = Vec::new();
        partition.log.take_writes(&mut writes);
        assert_eq!(writes[0].run().unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_batch_without_any_reservation_fails_a_write() {
    let (_, mut partition) = Partition::tiny_on_sim();
    let (_, mut other) = Partition::tiny_on_sim();
    other.fill(1);
    crate::harness::stage(&mut partition.log, &other.staged[0]);
    let mut writes = Vec::new();
    partition.log.take_writes(&mut writes);
    assert_eq!(writes[0].run().unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn what_was_written_last_is_hot() {
    let (_, mut partition) = Partition::tiny_on_sim();
    partition.options.hot_bytes = 2_500;
    partition = Partition::new(partition.disk, Path::new("/q"), partition.options);
    partition.fill(60);
    let reader = partition.log.reader();
    assert!(reader.is_hot(Offset(120)) && reader.is_hot(Offset(118)));
    assert!(!reader.is_hot(Offset(0)));
    let first_hot = (0..120).find(|from| reader.is_hot(Offset(*from))).unwrap();
    let behind = partition.staged_from(Offset(first_hot));
    let bytes: usize = behind.iter().map(|batch| 62 + batch.body.len()).sum();
    assert!((1_500..=2_700).contains(&bytes), "{bytes} bytes are hot");

    partition.sync();
    let manifest = partition.log.manifest();
    partition.reopen(&manifest);
    let reader = partition.log.reader();
    assert!(!reader.is_hot(Offset(118)), "another process wrote it");
    partition.fill(1);
    assert!(reader.is_hot(Offset(120)));
    partition.assert_all_readable();
}

#[test]
fn a_real_folder_holds_what_was_appended_through_many_reopenings() {
    let folder = tempfile::tempdir().unwrap();
    let options = SegmentOptions {
        segment_bytes: 64 << 10,
        first_step_bytes: 4 << 10,
        step_bytes_max: 16 << 10,
        ..SegmentOptions::default()
    };
    let mut partition = Partition::new(Arc::new(RealDisk), &folder.path().join("7/3"), options);
    for round in 0..5 {
        for at in 0..40_usize {
            partition.stage(3, vec![u8::try_from(round * 40 + at).unwrap(); at * 97]);
            if at % 3 == 0 {
                partition.commit();
                partition.run_jobs();
            }
        }
        partition.stage(1, vec![1; 40_000]);
        partition.commit();
        partition.run_jobs();
        partition.assert_all_readable();
        partition.sync();
        let manifest = partition.log.manifest();
        partition.reopen(&manifest);
        assert_eq!(partition.log.manifest(), manifest);
        assert_eq!(partition.log.missing(), []);
        partition.assert_all_readable();
    }
}

#[derive(Clone, Debug)]
enum Act {
    Stage(u16),
    Commit,
    Jobs,
    Reopen,
    Trim(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..1_500_u16).prop_map(Act::Stage),
        3 => Just(Act::Commit),
        2 => Just(Act::Jobs),
        1 => Just(Act::Reopen),
        1 => any::<u8>().prop_map(Act::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_the_records_are_there(acts in proptest::collection::vec(act(), 1..80)) {
        let (_, mut partition) = Partition::tiny_on_sim();
        for act in acts {
            match act {
                Act::Stage(bytes) => partition.stage(2, vec![bytes.to_le_bytes()[0]; usize::from(bytes)]),
                Act::Commit => partition.commit(),
                Act::Jobs => partition.run_jobs(),
                Act::Reopen => {
                    commit(&mut partition.log);
                    partition.sync();
                    let manifest = partition.log.manifest();
                    partition.reopen(&manifest);
                    prop_assert_eq!(partition.log.missing(), []);
                }
                Act::Trim(share) => {
                    let (start, next) = (partition.log.start_offset().0, partition.log.next_offset().0);
                    let to = start + (next - start) * u64::from(share) / 255;
                    for job in partition.log.trim(Offset(to)) {
                        job.run().unwrap();
                    }
                }
            }
        }
        partition.commit();
        partition.assert_all_readable();
    }
}
