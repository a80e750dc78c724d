//! A disk that reports errors.

use std::io::ErrorKind;

use embermq_storage::Position;
use embermq_storage::commit_log::{CommitLog, LogError, LogOptions};
use embermq_storage::disk::sim::{Fault, Operation, SimDisk};

use crate::fixture::{
    OPTIONS, Written, append, commit, group, log_files, open_clean, payload, placed, read,
    read_whole, try_open,
};

#[test]
fn a_failed_sync_is_final() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let durable = commit(&mut log, &[payload(1)]);
    append(&mut log, &[payload(2)]);
    disk.fail(Fault::new(Operation::SyncData, ErrorKind::Other));
    assert!(matches!(log.sync(), Err(LogError::Io(_))));
    for _ in 0..2 {
        let error = log.sync().unwrap_err();
        assert!(matches!(error, LogError::Poisoned { .. }) && !error.is_retryable());
        assert!(error.to_string().contains("simulated fault"), "{error}");
        let end = log.end();
        let error = log.append(end, &mut group(&[payload(3)])).unwrap_err();
        assert!(matches!(error, LogError::Poisoned { .. }));
    }
    assert_eq!(log.durable(), durable[0].next);
    assert_eq!(read(&log, Position(0)).0, durable, "what may be lost is not served");
    assert!(log.next_file().is_none());
}

#[test]
fn after_a_failed_sync_a_restart_makes_sure_of_what_it_finds() {
    // The kernel takes the lost pages for clean and shows them as if they were fine, until they are dropped.
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let mut log = open_clean(&disk);
        commit(&mut log, &[payload(1)]);
        append(&mut log, &[payload(2), payload(3)]);
        disk.fail(Fault::new(Operation::SyncData, ErrorKind::Other));
        log.sync().unwrap_err();
        drop(log);
        let mut log = open_clean(&disk);
        let mut found = read_whole(&log);
        found.extend(commit(&mut log, &[payload(4)]));
        assert_eq!(read_whole(&open_clean(&disk.crash(seed))), found, "seed {seed}");
    }
}

#[test]
fn names_that_were_not_made_durable_are_after_a_restart() {
    for passes in 0..5 {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            disk.fail(Fault::new(Operation::SyncDir, ErrorKind::Other).after(passes));
            let opened = try_open(&disk, &OPTIONS, Position(0));
            // Else the folder is synced by the first roll.
            if let Ok((mut log, _)) = opened {
                let error = log.append(log.end(), &mut group(&[[1; 600]])).unwrap_err();
                assert!(matches!(error, LogError::Io(_)));
            }
            disk.heal();
            let mut log = open_clean(&disk);
            let whole = commit(&mut log, &[payload(1)]);
            assert_eq!(read_whole(&open_clean(&disk.crash(seed))), whole, "{passes} {seed}");
        }
    }
}

#[test]
fn a_write_error_is_final() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let durable = commit(&mut log, &[payload(1)]);
    disk.fail(Fault::new(Operation::Write, ErrorKind::Other));
    let end = log.end();
    let error = log.append(end, &mut group(&[payload(2)])).unwrap_err();
    assert!(matches!(error, LogError::Io(_)));
    assert!(matches!(log.append(end, &mut group(&[payload(2)])), Err(LogError::Poisoned { .. })));
    drop(log);
    let log = try_open(&disk, &OPTIONS, Position(0)).unwrap().0;
    assert_eq!(read(&log, Position(0)).0[..1], durable);
}

#[test]
fn a_write_that_finds_no_space_is_taken_back() {
    // A file system that copies on write can be full although the blocks were allocated.
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let mut log = open_clean(&disk);
        let mut whole = commit(&mut log, &[payload(1)]);
        disk.fail(Fault::new(Operation::Write, ErrorKind::StorageFull));
        let end = log.end();
        let error = log.append(end, &mut group(&[[2; 40], [3; 40]])).unwrap_err();
        assert!(matches!(error, LogError::Full { .. }) && error.is_retryable(), "{error}");
        assert_eq!((log.end(), log.durable()), (end, end));
        assert_eq!(read_whole(&log), whole);
        whole.extend(commit(&mut log, &[[4; 40]]));
        assert_eq!(read_whole(&open_clean(&disk.crash(seed))), whole, "seed {seed}");
    }
}

#[test]
fn a_roll_opens_nothing() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut log = open_clean(&disk);
        let mut whole = commit(&mut log, &[[1; 300]]);
        let next = log.next_file().unwrap().run();
        log.prepared(next).unwrap();
        for operation in [Operation::Open, Operation::Create] {
            disk.fail(Fault::new(operation, ErrorKind::QuotaExceeded).lasting());
        }
        whole.extend(commit(&mut log, &[[2; 300]]));
        assert_eq!(log_files(&disk).len(), 2);
        // A file that has to be made is refused, and nothing has changed. One that is used again need not be.
        let error = log.append(log.end(), &mut group(&[[3; 300]])).unwrap_err();
        assert!(matches!(error, LogError::NextFile(_)) && error.is_retryable(), "{error}");
        log.trim(whole[1].position).unwrap();
        whole.extend(commit(&mut log, &[[3; 300]]));
        assert_eq!(read_whole(&log), whole[1..]);
        let disk = disk.crash(seed);
        assert_eq!(
            read_whole(&try_open(&disk, &OPTIONS, whole[1].position).unwrap().0),
            whole[1..]
        );
    }
}

#[test]
fn what_was_taken_back_never_follows_what_came_after() {
    // The refused frames may have reached the disk by chance. The next one is as long as the first of them, so the
    // second would lie just behind it.
    let options = LogOptions {
        file_bytes: 4096,
        first_file_bytes: 4096,
        reserve_bytes: 0,
        spare_files_max: 1,
    };
    for seed in 0..400 {
        let disk = SimDisk::new(seed);
        let mut log = try_open(&disk, &options, Position(0)).unwrap().0;
        let mut whole = commit(&mut log, &[payload(1)]);
        disk.fail(Fault::new(Operation::Write, ErrorKind::StorageFull));
        let refused = log.append(log.end(), &mut group(&[[2; 900], [3; 900], [4; 900]]));
        assert!(matches!(refused, Err(LogError::Full { .. })));
        whole.extend(append(&mut log, &[[5; 900]]));
        let log = try_open(&disk.crash(seed), &options, Position(0)).unwrap().0;
        let found = read_whole(&log);
        assert!(found == whole || found == whole[..1], "seed {seed}: {} frames", found.len());
    }
}

#[test]
fn what_cannot_be_taken_back_is_final() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    commit(&mut log, &[payload(1)]);
    disk.fail(Fault::new(Operation::Write, ErrorKind::StorageFull));
    disk.fail(Fault::new(Operation::Zero, ErrorKind::StorageFull));
    let end = log.end();
    let error = log.append(end, &mut group(&[payload(2)])).unwrap_err();
    assert!(matches!(error, LogError::Io(_)), "{error}");
    assert!(matches!(log.sync(), Err(LogError::Poisoned { .. })));
}

/// Appends, syncs, rolls and trims until something fails for good. Gives what was written and how much of it is
/// durable. What is refused is tried again.
fn work(disk: &SimDisk, written: &mut Vec<Written>, synced: &mut usize) -> Result<(), LogError> {
    let mut log = loop {
        match try_open(disk, &OPTIONS, Position(0)) {
            Err(error) if error.is_retryable() => {}
            opened => break opened?.0,
        }
    };
    for n in 0..16 {
        if n % 3 == 0
            && let Some(job) = log.next_file()
        {
            // Whether it could be made or not: the log makes it itself when it has to.
            let _made = log.prepared(job.run());
        }
        let payloads = [payload(n), payload(n + 50)];
        let (start, durable) = (log.end(), log.durable());
        while let Err(error) = log.append(start, &mut group(&payloads)) {
            if !error.is_retryable() {
                return Err(error);
            }
            assert_eq!(log.end(), start, "a refused append changes nothing");
            assert!(log.durable() >= durable);
        }
        written.extend(placed(start, &payloads));
        if n % 2 == 1 {
            log.sync()?;
            *synced = written.len();
        }
        if n == 12 {
            log.trim(written[6].position)?;
        }
    }
    Ok(())
}

#[test]
fn any_operation_may_fail() {
    let operations = [
        Operation::Create,
        Operation::Open,
        Operation::Rename,
        Operation::Remove,
        Operation::CreateDir,
        Operation::List,
        Operation::SyncDir,
        Operation::Ask,
        Operation::Write,
        Operation::Read,
        Operation::Allocate,
        Operation::Zero,
        Operation::SyncData,
    ];
    let untouched = SimDisk::new(1);
    work(&untouched, &mut Vec::new(), &mut 0).unwrap();
    let mut failed = 0;
    for operation in operations {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            for passes in 0.. {
                let disk = SimDisk::new(1);
                disk.fail(Fault::new(operation, kind).after(passes));
                let (mut written, mut synced) = (Vec::new(), 0);
                let result = work(&disk, &mut written, &mut synced);
                if disk.trace_hash() == untouched.trace_hash() {
                    // There were no more operations of this kind.
                    break;
                }
                disk.heal();
                let context = format!("{operation:?} {kind:?} after {passes}: {result:?}");
                for disk in [disk.copy(), disk.crash(passes)] {
                    check(&disk, &written, synced, &context);
                }
                failed += usize::from(result.is_err());
            }
        }
    }
    assert!(failed > 50, "{failed}");
}

/// Everything synced is there, and nothing that was not written.
fn check(disk: &SimDisk, written: &[Written], synced: usize, context: &str) {
    let (mut log, recovery) = try_open(disk, &OPTIONS, Position(0)).unwrap();
    let trimmed = log.start() > Position(0);
    // A trimmed log starts behind what the caller asked for, and says so.
    assert_eq!(recovery.damage.len(), usize::from(trimmed), "{context}");
    let found = read(&log, log.start()).0;
    let from = written.iter().position(|frame| frame.position == log.start()).unwrap_or(0);
    let known = found.len().min(written.len() - from);
    assert_eq!(found[..known], written[from..from + known], "{context}");
    assert!(from + known >= synced, "{context}: lost what was durable");
    // A group whose append failed for good may be there, in whole frames.
    assert!(found.len() - known <= 2, "{context}");
    let more = commit(&mut log, &[payload(99)]);
    assert_eq!(read(&log, more[0].position).0, more, "{context}");
}
