//! Random work on a disk that loses power at random moments and keeps a random part of what was not synced.

use std::io::ErrorKind;

use embermq_storage::commit_log::{CommitLog, FileLog, Group, LogError};
use embermq_storage::disk::sim::{Fault, Operation, SeededEntropy, SimDisk};
use embermq_storage::{Entropy, Position};

use crate::fixture::{OPTIONS, Written, group, payload, placed, read, try_open};

const RUNS: u64 = 3_000;

/// What the log was told, and what it owes.
#[derive(Default)]
struct Model {
    /// Everything that may be there.
    written: Vec<Written>,
    /// The first so many of it must be.
    durable: usize,
    /// Where a snapshot would begin to replay: always durable.
    from: Position,
    next_payload: u64,
}

impl Model {
    /// Checks what a crash, or a restart that keeps all that was `written`, left.
    fn check(&mut self, log: &FileLog, context: &str) {
        let (found, damage) = read(log, log.start());
        assert_eq!(damage, [], "{context}");
        assert!(log.start() <= self.from, "{context}: trimmed too much");
        let skipped = self.written.partition_point(|frame| frame.position < log.start());
        let known = &self.written[skipped..];
        assert!(found.len() <= known.len(), "{context}: an invented frame");
        assert_eq!(found, known[..found.len()], "{context}: not a prefix of what was written");
        assert!(skipped + found.len() >= self.durable, "{context}: lost what was durable");
        self.written.truncate(skipped + found.len());
        // What was found was made durable, or it could be lost after it was served.
        self.durable = self.written.len();
        assert_eq!(log.durable(), log.end(), "{context}");
    }

    /// Appends while a sync is under way, if there is room in the present file.
    fn append_here(
        &mut self,
        log: &mut FileLog,
        payloads: &[Vec<u8>],
        start: Position,
        group: &mut Group,
    ) -> Result<(), LogError> {
        if log.has_room_here(group.bytes()) {
            self.written.extend(placed(start, payloads));
            log.append(start, group)?;
        }
        Ok(())
    }

    fn payloads(&mut self, random: &mut SeededEntropy) -> Vec<Vec<u8>> {
        let count = 1 + random.below(6);
        let mut next = || {
            self.next_payload += 1;
            let mut bytes = payload(self.next_payload);
            if random.one_in(20) {
                let more = usize::try_from(random.below(9_000)).unwrap();
                bytes.extend((0..more).map(|at| u8::try_from(at % 256).unwrap()));
            }
            bytes
        };
        (0..count).map(|_| next()).collect()
    }
}

/// Works until the disk fails.
fn work(log: &mut FileLog, model: &mut Model, random: &mut SeededEntropy) -> Result<(), LogError> {
    for _ in 0..40 {
        match random.below(12) {
            0..6 => {
                let payloads = model.payloads(random);
                let start = log.end();
                // A crash in the middle may leave any of its frames.
                model.written.extend(placed(start, &payloads));
                let mut group = group(&payloads);
                let job = if random.one_in(2) { log.write_job(start, &mut group)? } else { None };
                match job {
                    Some(job) => {
                        log.written(job.run())?;
                        model.durable = model.written.len();
                    }
                    None => {
                        log.append(start, &mut group)?;
                    }
                }
            }
            6..8 => {
                log.sync()?;
                model.durable = model.written.len();
            }
            8 => {
                let durable = model.written.len();
                let Some(job) = log.sync_job()? else { continue };
                let (payloads, start) = (model.payloads(random), log.end());
                let mut group = group(&payloads);
                if random.one_in(2) {
                    // What is written after the sync began may be lost.
                    let synced = job.run();
                    model.append_here(log, &payloads, start, &mut group)?;
                    log.synced(synced)?;
                } else {
                    model.append_here(log, &payloads, start, &mut group)?;
                    log.synced(job.run())?;
                }
                model.durable = durable;
            }
            9 => {
                if let Some(job) = log.next_file() {
                    log.prepared(job.run())?;
                }
            }
            10 => {
                let end = log.end();
                log.append(end, &mut group(&[""]))?;
            }
            _ => {
                let durable = model.written.get(..model.durable).unwrap_or_default();
                if let Some(last) = durable.last() {
                    model.from = last.position;
                    log.trim(last.position)?;
                }
            }
        }
    }
    Ok(())
}

/// One run: work, lose power or just die, recover, check, again. Gives a number that stands for all of it.
fn run(seed: u64) -> u64 {
    let mut random = SeededEntropy::new(seed);
    let mut disk = SimDisk::new(random.next_u64());
    let mut model = Model::default();
    let mut trace = 0_u64;
    for round in 0..4 {
        let context = format!("seed {seed} round {round}");
        if random.one_in(3) {
            let kind = if random.one_in(2) { ErrorKind::Other } else { ErrorKind::StorageFull };
            let sync = if random.one_in(3) { Operation::SyncDir } else { Operation::SyncData };
            disk.fail(Fault::new(sync, kind).after(random.below(12)));
        }
        disk.crash_after(random.below(100));
        if let Ok((mut log, recovery)) = try_open(&disk, &OPTIONS, model.from) {
            assert_eq!(recovery.damage, [], "{context}");
            model.check(&log, &context);
            let _until_it_fails = work(&mut log, &mut model, &mut random);
        }
        trace = trace.rotate_left(7) ^ disk.trace_hash();
        if disk.is_off() || random.one_in(2) {
            disk = disk.crash(random.next_u64());
        }
        disk.heal();
    }
    let (log, recovery) = try_open(&disk, &OPTIONS, model.from).unwrap();
    assert_eq!(recovery.damage, [], "seed {seed}");
    model.check(&log, &format!("seed {seed} at the end"));
    trace ^ disk.trace_hash()
}

#[test]
fn what_was_durable_survives_and_the_rest_is_lost_as_a_suffix() {
    (0..RUNS).for_each(|seed| {
        run(seed);
    });
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in [3, 77, 1_234] {
        assert_eq!(run(seed), run(seed));
    }
    assert_ne!(run(3), run(4));
}
