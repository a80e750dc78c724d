//! A full disk.

use embermq_storage::Position;
use embermq_storage::commit_log::{CommitLog, FileLog, LogError, LogOptions, ReserveUse};
use embermq_storage::disk::sim::SimDisk;

use crate::fixture::{append, commit, group, open_clean, payload, read_whole, try_open};

const RESERVED: LogOptions =
    LogOptions { file_bytes: 4096, first_file_bytes: 4096, reserve_bytes: 400, spare_files_max: 1 };

/// As long as the simulated disk's blocks, so that its capacity is one of files.
const PLAIN: LogOptions = LogOptions { reserve_bytes: 0, ..RESERVED };

const FRAMES_BYTES: u64 = 4096 - 128;

fn fill(log: &mut FileLog) -> (usize, LogError) {
    for count in 0.. {
        let end = log.end();
        if let Err(error) = log.append(end, &mut group(&[[7; 8]])) {
            assert_eq!(log.end(), end);
            return (count, error);
        }
    }
    unreachable!()
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_space() {
    let disk = SimDisk::new(1);
    let mut log = try_open(&disk, &PLAIN, Position(0)).unwrap().0;
    disk.set_capacity(disk.held_bytes());
    let (count, error) = fill(&mut log);
    assert_eq!(count as u64, FRAMES_BYTES / 40);
    assert!(matches!(error, LogError::Full { needed: 40, .. }) && error.is_retryable(), "{error}");
    log.sync().unwrap();
    let whole = read_whole(&log);
    let job = log.next_file().unwrap();
    assert!(matches!(log.prepared(job.run()), Err(LogError::Full { .. })));
    assert_eq!(disk.held_bytes(), 4096, "nothing of the failed attempts stays");

    disk.set_capacity(2 * 4096);
    let more = commit(&mut log, &[[8; 8]]);
    assert_eq!(read_whole(&open_clean(&disk.crash(1))), [whole, more].concat());
}

#[test]
fn space_that_trimming_frees_is_used() {
    let disk = SimDisk::new(1);
    let mut log = try_open(&disk, &PLAIN, Position(0)).unwrap().0;
    disk.set_capacity(3 * 4096);
    fill(&mut log);
    log.sync().unwrap();
    log.trim(log.end()).unwrap();
    let (count, _) = fill(&mut log);
    assert!(count > 150, "{count}");
}

#[test]
fn the_reserve_is_for_those_who_may_use_it() {
    let disk = SimDisk::new(1);
    let mut log = try_open(&disk, &RESERVED, Position(0)).unwrap().0;
    disk.set_capacity(disk.held_bytes());
    assert_eq!(log.room().bytes, FRAMES_BYTES - 400);
    let (count, _) = fill(&mut log);
    assert_eq!(count as u64, (FRAMES_BYTES - 400) / 40);
    assert!(log.room().bytes < 40);

    log.set_reserve_use(ReserveUse::Whole);
    append(&mut log, &[payload(1), payload(2)]);
    log.set_reserve_use(ReserveUse::Nothing);
    assert!(log.append(log.end(), &mut group(&[payload(3)])).is_err());
    assert_eq!(log.room().bytes, 0);
    log.set_reserve_use(ReserveUse::Whole);
    let (count, _) = fill(&mut log);
    assert!(count > 5, "{count}");

    disk.set_capacity(4 * 4096);
    log.set_reserve_use(ReserveUse::Nothing);
    commit(&mut log, &[payload(4)]);
}

#[test]
fn the_last_quarter_of_the_reserve_is_for_what_frees_space() {
    let disk = SimDisk::new(1);
    let mut log = try_open(&disk, &RESERVED, Position(0)).unwrap().0;
    disk.set_capacity(disk.held_bytes());
    let (before, _) = fill(&mut log);
    log.set_reserve_use(ReserveUse::Upper);
    let (upper, _) = fill(&mut log);
    assert_eq!((before + upper) as u64, (FRAMES_BYTES - 100) / 40);
    log.set_reserve_use(ReserveUse::Whole);
    let (last, _) = fill(&mut log);
    assert_eq!((before + upper + last) as u64, FRAMES_BYTES / 40);
}

#[test]
fn what_room_promises_fits() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let mut log = try_open(&disk, &RESERVED, Position(0)).unwrap().0;
        if seed % 2 == 0
            && let Some(job) = log.next_file()
        {
            log.prepared(job.run()).unwrap();
        }
        disk.set_capacity(disk.held_bytes());
        let len = usize::try_from(seed % 37).unwrap();
        for _ in 0..100 {
            let mut group = group(&[vec![1; len], vec![2; 2 * len]]);
            let fits = group.bytes() <= log.room().bytes;
            let appended = log.append(log.end(), &mut group);
            assert!(appended.is_ok() || !fits, "seed {seed}: {appended:?}");
        }
    }
}

#[test]
fn a_log_that_was_full_opens_and_takes_what_may_use_the_reserve() {
    let disk = SimDisk::new(1);
    let mut log = try_open(&disk, &RESERVED, Position(0)).unwrap().0;
    disk.set_capacity(disk.held_bytes());
    fill(&mut log);
    drop(log);
    let mut log = try_open(&disk, &RESERVED, Position(0)).unwrap().0;
    assert!(log.append(log.end(), &mut group(&[payload(1)])).is_err());
    log.set_reserve_use(ReserveUse::Whole);
    commit(&mut log, &[payload(1)]);
}
