//! Append, roll, read back, open again, trim: without failures.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use embermq_storage::Position;
use embermq_storage::commit_log::{CommitLog, FileLog, Group, LogError, LogOptions, verify_log};
use embermq_storage::disk::sim::{Fault, Operation, SeededEntropy, SimDisk};
use embermq_storage::disk::{Disk, RealDisk};

use crate::fixture::{
    DIR, OPTIONS, append, commit, group, log_files, open, open_clean, payload, placed, prove, read,
    read_whole, try_open,
};

#[test]
fn what_was_appended_is_read_back_after_reopening() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut written = Vec::new();
    for n in 0..60 {
        written.extend(commit(&mut log, &[payload(n), payload(n + 100)]));
    }
    assert!(log_files(&disk).len() > 5, "it should have rolled");
    assert_eq!(read_whole(&log), written);
    drop(log);
    for _ in 0..3 {
        let log = open_clean(&disk);
        assert_eq!(read_whole(&log), written);
        assert_eq!((log.end(), log.durable()), (written.last().unwrap().next, log.end()));
    }
}

#[test]
fn reading_starts_at_any_frame_and_at_the_end() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let payloads: Vec<_> = (0..30).map(payload).collect();
    let written = commit(&mut log, &payloads[..5]);
    let written = [written, commit(&mut log, &payloads[5..])].concat();
    for skip in 0..written.len() {
        assert_eq!(read(&log, written[skip].position).0, written[skip..]);
    }
    assert_eq!(read(&log, log.end()).0, []);
    for outside in [log.end().0 + 8, 4, u64::MAX] {
        let error = log.read(Position(outside)).map(drop).unwrap_err();
        assert!(matches!(error, LogError::OutOfRange { .. }), "{error}");
    }
}

#[test]
fn a_group_may_span_two_files() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut written = commit(&mut log, &[[1; 200]]);
    written.extend(append(&mut log, &[[2; 50], [3; 50], [4; 50]]));
    assert_eq!(log_files(&disk).len(), 2);
    assert_eq!(log.durable(), written[2].position, "the roll syncs the file before");
    log.sync().unwrap();
    assert_eq!(read_whole(&log), written);
    assert_eq!(read_whole(&open_clean(&disk.crash(7))), written);
}

#[test]
fn a_group_larger_than_a_file_gets_a_file_of_its_size() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut written = commit(&mut log, &[payload(1)]);
    let large: Vec<_> = (0..5).map(|n| vec![n; 3_000]).collect();
    written.extend(commit(&mut log, &large));
    written.extend(commit(&mut log, &[payload(2)]));
    assert_eq!(read_whole(&log), written);
    assert_eq!(read_whole(&open_clean(&disk.crash(7))), written);
}

#[test]
fn a_file_without_frames_is_replaced_when_it_is_too_small() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut written = commit(&mut log, &[[1; 3_000]]);
    assert_eq!(log_files(&disk).len(), 1);
    let end = log.end();
    log.trim(end).unwrap();
    assert_eq!(read_whole(&log), written);
    written.extend(commit(&mut log, &[[2; 3_000]]));
    assert_eq!(read_whole(&open_clean(&disk.crash(7))), written);
}

#[test]
fn large_bodies_are_joined_to_small_pieces() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut group = Group::new();
    let mut expected = Vec::new();
    for len in [0, 1, 31 * 1024, 32 * 1024, 100_001] {
        let body = Bytes::from(vec![0xAB; len]);
        let crc = crc32fast::hash(&body);
        for front in [&b""[..], b"front"] {
            group.begin_frame();
            group.put(front);
            group.put_body(&body, crc);
            group.put_body(&body, crc);
            group.put(b"back");
            group.end_frame();
            expected.push([front, &body, &body, b"back"].concat());
        }
    }
    log.append(log.end(), &mut group).unwrap();
    let payloads: Vec<_> = read_whole(&log).into_iter().map(|frame| frame.payload).collect();
    assert_eq!(payloads, expected);
}

#[test]
fn a_writer_that_is_behind_changes_nothing() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let written = commit(&mut log, &[payload(1)]);
    let changes = disk.changes();
    let error = log.append(Position(0), &mut group(&[payload(2)])).unwrap_err();
    assert!(matches!(error, LogError::Conflict { expected: Position(0), end } if end == log.end()));
    assert_eq!(disk.changes(), changes);
    assert_eq!(read_whole(&log), written);
}

#[test]
fn a_refused_group_can_be_appended_where_the_log_ends() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut written = commit(&mut log, &[payload(1)]);
    let mut group = group(&[payload(2), payload(3)]);
    log.append(Position(0), &mut group).unwrap_err();
    let start = log.end();
    log.append(start, &mut group).unwrap();
    written.extend(placed(start, &[payload(2), payload(3)]));
    assert_eq!(read_whole(&log), written);
}

#[test]
fn proof_frames_and_empty_groups_are_not_seen() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let end = log.end();
    assert_eq!(log.append(end, &mut Group::new()).unwrap(), end);
    prove(&mut log);
    let written = commit(&mut log, &[payload(1)]);
    prove(&mut log);
    assert_eq!(read_whole(&log), written);
    let report = verify_log(&disk, DIR.as_ref()).unwrap();
    assert_eq!((report.files[0].frames, report.files[0].proofs), (1, 2));
    assert_eq!(report.proven, written[0].next);
}

#[test]
fn a_frame_left_open_is_ended() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut group = Group::new();
    group.put(b"one");
    group.begin_frame();
    group.put(b"two");
    log.append(log.end(), &mut group).unwrap();
    let payloads: Vec<_> = read_whole(&log).into_iter().map(|frame| frame.payload).collect();
    assert_eq!(payloads, [&b"one"[..], b"two"]);
}

#[test]
fn a_file_prepared_elsewhere_is_used() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let job = log.next_file().unwrap();
    assert!(log.next_file().is_none(), "one is being made");
    assert!(!log.room().next_ready);
    let prepared = std::thread::spawn(|| job.run()).join().unwrap();
    log.prepared(prepared).unwrap();
    assert!(log.room().next_ready);
    assert!(log.next_file().is_none(), "one is ready");

    disk.set_capacity(disk.held_bytes());
    let mut written = commit(&mut log, &[[1; 300]]);
    written.extend(commit(&mut log, &[[2; 300]]));
    assert!(!log.room().next_ready);
    assert!(log.next_file().is_some());
    assert_eq!(read_whole(&log), written);
}

#[test]
fn trim_removes_whole_files_and_never_the_last() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let payloads: Vec<_> = (0..40).map(payload).collect();
    let mut written = Vec::new();
    for payload in &payloads {
        written.extend(commit(&mut log, &[payload]));
    }
    let before = written[20].position;
    log.trim(before).unwrap();
    assert!(log.start() > Position(0) && log.start() <= before);
    let kept: Vec<_> =
        written.iter().filter(|frame| frame.position >= log.start()).cloned().collect();
    assert_eq!(read_whole(&log), kept);
    assert!(matches!(log.read(Position(0)).map(drop), Err(LogError::OutOfRange { .. })));

    let (log, recovery) = try_open(&disk.copy().crash(3), &OPTIONS, before).unwrap();
    assert_eq!(recovery.damage, []);
    assert_eq!(read_whole(&log), kept);

    let mut log = open(&disk).0;
    log.trim(Position(u64::MAX)).unwrap();
    assert_eq!(log_files(&disk).len(), 1);
    assert_eq!(read(&log, log.end()).0, []);
    commit(&mut log, &[payload(1)]);
}

#[test]
fn a_group_written_elsewhere_is_like_any_other() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut written = commit(&mut log, &["first"]);
    let (start, mut group) = (log.end(), group(&["a", "b"]));
    let job = log.write_job(start, &mut group).unwrap().unwrap();
    assert_eq!(group.frames(), 0, "the job has it");
    assert_eq!(log.durable(), start, "not before the result is back");
    let result = std::thread::spawn(|| job.run()).join().unwrap();
    assert_eq!(log.written(result).unwrap().frames(), 0);
    assert_eq!(log.durable(), log.end());
    written.extend(placed(start, &["a", "b"]));
    written.extend(commit(&mut log, &["last"]));
    drop(log);
    assert_eq!(read_whole(&open_clean(&disk.crash(2))), written);
}

#[test]
fn a_sync_elsewhere_makes_durable_what_was_written_before_it() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    assert!(log.sync_job().unwrap().is_none(), "there is nothing to sync");
    let mut written = append(&mut log, &["first"]);
    let before = log.end();
    let job = log.sync_job().unwrap().unwrap();
    assert!(log.has_room_here(64));
    assert!(!log.has_room_here(1 << 20));
    let synced = std::thread::spawn(|| job.run()).join().unwrap();
    append(&mut log, &["meanwhile"]);
    assert_eq!(log.synced(synced).unwrap(), before);
    assert!(log.durable() < log.end(), "that was written later");
    let crashed = read_whole(&open_clean(&disk.copy().crash(2)));
    assert_eq!(crashed[..1], written[..]);
    written = read_whole(&log);
    log.sync().unwrap();
    drop(log);
    assert_eq!(read_whole(&open_clean(&disk.crash(2))), written);
}

#[test]
fn a_sync_elsewhere_that_fails_is_final() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    append(&mut log, &["first"]);
    disk.fail(Fault::new(Operation::SyncData, ErrorKind::Other));
    let job = log.sync_job().unwrap().unwrap();
    let synced = job.run();
    append(&mut log, &["meanwhile"]);
    assert!(matches!(log.synced(synced), Err(LogError::Io(_))));
    assert!(matches!(log.sync(), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.sync_job().map(drop), Err(LogError::Poisoned { .. })));
}

#[test]
fn a_group_that_needs_the_next_file_is_not_written_elsewhere() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut group = group(&[[1; 300], [2; 300]]);
    assert!(log.write_job(Position(0), &mut group).unwrap().is_none());
    assert_eq!(group.frames(), 2);
    let end = log.end();
    log.append(end, &mut group).unwrap();
}

#[test]
fn a_trimmed_file_is_used_again_and_nothing_of_its_earlier_life_comes_back() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut written = Vec::new();
    for n in 0..6 {
        written.extend(commit(&mut log, &[payload(n), payload(n)]));
        written.extend(commit(&mut log, &[vec![7; 200]]));
    }
    let names = |ending: &str| {
        let names = disk.list(DIR.as_ref()).unwrap();
        names.iter().filter(|name| name.ends_with(ending)).count()
    };
    let files = names(".log");
    let end = log.end();
    log.trim(end).unwrap();
    assert_eq!((names(".log"), names(".tmp")), (1, 1), "of {files}; one is kept");

    let job = log.next_file().unwrap();
    assert_eq!(names(".tmp"), 1, "it is that one");
    log.prepared(job.run()).unwrap();
    let kept = written.partition_point(|frame| frame.position < log.start());
    let mut written = written.split_off(kept);
    while names(".log") == 1 {
        written.extend(commit(&mut log, &["again"]));
    }
    let start = log.start();
    drop(log);
    let (log, recovery) = try_open(&disk.crash(3), &OPTIONS, start).unwrap();
    assert_eq!((recovery.torn, recovery.damage), (None, Vec::new()));
    assert_eq!(read_whole(&log), written);
}

#[test]
fn an_opening_takes_the_files_over_that_were_kept() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    for n in 0..6 {
        commit(&mut log, &[payload(n), vec![7; 200]]);
    }
    let end = log.end();
    log.trim(end).unwrap();
    let kept = |disk: &SimDisk| -> Vec<String> {
        let names = disk.list(DIR.as_ref()).unwrap();
        names.into_iter().filter(|name| name.ends_with(".tmp")).collect()
    };
    let (before, start) = (kept(&disk), log.start());
    drop(log);
    let disk = disk.crash(4);
    let (mut log, _) = try_open(&disk, &OPTIONS, start).unwrap();
    assert_eq!(kept(&disk), before);
    assert!(log.drop_spare().unwrap());
    assert!(!log.drop_spare().unwrap());
    assert_eq!(kept(&disk), Vec::<String>::new());
}

#[test]
fn opening_reads_only_from_where_it_is_asked_to() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    for n in 0..40 {
        commit(&mut log, &[payload(n)]);
    }
    let end = log.end();
    let all = open(&disk).1.scanned_bytes;
    let (log, recovery) = try_open(&disk, &OPTIONS, end).unwrap();
    assert!(recovery.scanned_bytes <= OPTIONS.file_bytes && all > 4 * OPTIONS.file_bytes);
    assert_eq!(log.end(), end);
}

#[test]
fn leftovers_are_removed_and_strangers_kept() {
    let disk = SimDisk::new(1);
    disk.plant("log/next-7.tmp".as_ref(), b"half a file").unwrap();
    disk.plant("log/notes.txt".as_ref(), b"mine").unwrap();
    let mut log = open_clean(&disk);
    commit(&mut log, &[payload(1)]);
    assert_eq!(disk.list(DIR.as_ref()).unwrap(), ["00000000000000000000.log", "notes.txt"]);
}

#[test]
fn golden_file() {
    let disk = SimDisk::new(1);
    let mut entropy = SeededEntropy::new(42);
    let (mut log, _) =
        FileLog::open(Arc::new(disk.clone()), DIR.into(), OPTIONS, Position(0), &mut entropy)
            .unwrap();
    commit(&mut log, &["hello"]);
    prove(&mut log);
    let bytes = disk.contents(&log_files(&disk)[0]).unwrap();
    let golden = include_bytes!("../golden/commit_log_v1.log");
    assert_eq!(bytes, golden, "the format changed: old logs would not be readable");
}

#[test]
fn a_real_disk_does_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data/log");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let options = LogOptions {
        file_bytes: 16 * 1024,
        first_file_bytes: 4 * 1024,
        reserve_bytes: 512,
        spare_files_max: 1,
    };
    let mut entropy = SeededEntropy::new(1);
    let mut open = |from| {
        FileLog::open(Arc::clone(&disk), dir.clone(), options.clone(), from, &mut entropy).unwrap()
    };
    let (mut log, _) = open(Position(0));
    let mut written = Vec::new();
    for n in 0..50 {
        if let Some(job) = log.next_file() {
            log.prepared(job.run()).unwrap();
        }
        written.extend(commit(&mut log, &[payload(n), vec![7; 1_000], vec![8; 40_000]]));
    }
    drop(log);
    let (mut log, recovery) = open(Position(0));
    assert_eq!(recovery.damage, []);
    assert_eq!(recovery.torn, None);
    assert_eq!(read_whole(&log), written);
    log.trim(written[100].position).unwrap();
    let (log, _) = open(written[100].position);
    assert_eq!(read(&log, written[100].position).0, written[100..]);
}
