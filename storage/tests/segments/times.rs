//! Look-up by time.

use embermq_storage::{Offset, Timestamp};

use crate::harness::Partition;

fn expected(partition: &Partition, time: i64) -> Offset {
    let start = partition.log.start_offset();
    partition
        .staged
        .iter()
        .find(|batch| batch.head.append_time >= Timestamp(time))
        .map_or(partition.log.next_offset(), |batch| batch.head.base_offset.max(start))
}

fn assert_times(partition: &Partition) {
    let reader = partition.log.reader();
    for time in (900..partition.clock + 100).step_by(5) {
        let found = reader.offset_at(Timestamp(time)).unwrap();
        assert_eq!(found, expected(partition, time), "time {time}");
    }
}

#[test]
fn the_first_record_at_or_after_a_time_is_found() {
    let (disk, mut partition) = Partition::tiny_on_sim();
    assert_eq!(partition.log.reader().offset_at(Timestamp(0)).unwrap(), Offset(0));
    partition.fill(50);
    assert_times(&partition);
    partition.run_jobs();
    partition.sync();
    let manifest = partition.log.manifest();
    partition.reopen(&manifest);
    assert_times(&partition);

    // Without the index files, and with one that is damaged, the same.
    let index: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "idx"))
        .collect();
    assert!(index.len() > 3);
    disk.flip_bit(&index[0], 60, 3).unwrap();
    disk.truncate(&index[1], 30).unwrap();
    disk.plant(&index[2], b"").unwrap();
    partition.reopen(&manifest);
    assert_times(&partition);
    partition.assert_all_readable();

    partition.log.trim(Offset(31)).iter().for_each(|job| job.run().unwrap());
    assert_times(&partition);
}

#[test]
fn what_is_not_published_has_no_time_yet() {
    let (_, mut partition) = Partition::tiny_on_sim();
    partition.fill(3);
    let now = partition.clock;
    partition.stage(1, vec![0; 30]);
    let reader = partition.log.reader();
    assert_eq!(reader.offset_at(Timestamp(now + 1)).unwrap(), Offset(6));
    partition.stage(1, vec![0; 30]);
    partition.commit();
    assert_eq!(reader.offset_at(Timestamp(now + 1)).unwrap(), Offset(6));
    assert_eq!(reader.offset_at(Timestamp(now + 11)).unwrap(), Offset(7));
}
