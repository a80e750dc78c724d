//! A shard on a simulated disk whose power is cut: what simulations of one part of the state have in common.
//!
//! Each frame is noted with what it did and with the state behind it. After a cut the shard must stand behind the first k frames,
//! for some k that covers everything that was durable.

use std::path::PathBuf;
use std::sync::Arc;

use embermq_storage::commit_log::CommitLog;
use embermq_storage::disk::Disk;
use embermq_storage::disk::sim::{SeededEntropy, SimDisk};
use embermq_storage::{Entropy, Position, Timestamp};

use super::simulation::{open, setting};
use super::{Job, Shard};
use crate::catalog::Catalog;
use crate::error::CommitError;
use crate::state::State;
use crate::topic::Durability;

/// Seeds of one run when nothing else is said.
const SEEDS: u64 = 150;

/// `D` is what one frame did.
pub(super) struct Machine<D> {
    pub(super) random: SeededEntropy,
    pub(super) disk: SimDisk,
    pub(super) shard: Shard,
    pub(super) catalog: Arc<Catalog>,
    jobs: Vec<Job>,
    pub(super) now: Timestamp,
    /// The log behind each frame, what the frame did, and the state then.
    pub(super) history: Vec<(Position, Vec<D>, State)>,
    durable: Position,
    /// Frames that were cut off.
    pub(super) lost: u64,
}

impl<D: std::fmt::Debug> Machine<D> {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SeededEntropy::new(seed);
        let disk = SimDisk::new(random.next_u64());
        disk.create_dir_all(&PathBuf::from("/data")).unwrap();
        let (shard, catalog) = open(&disk, random.next_u64());
        Self {
            random,
            disk,
            shard,
            catalog,
            jobs: Vec::new(),
            now: Timestamp(1_000_000),
            history: Vec::new(),
            durable: Position(0),
            lost: 0,
        }
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    /// Where the log ends with what is staged.
    pub(super) fn end(&self) -> Position {
        Position(self.shard.log.end().0 + self.shard.group.bytes())
    }

    /// Notes what the frame did that was just staged, if there is one.
    pub(super) fn note(&mut self, did: Vec<D>) {
        let end = self.end();
        if self.history.last().is_none_or(|(last, ..)| *last < end) {
            self.history.push((end, did, self.shard.state.clone()));
        } else {
            assert!(did.is_empty(), "{did:?} without a frame");
        }
    }

    pub(super) fn run_a_job(&mut self) {
        // What a job's end stages has to find everything published.
        if self.jobs.is_empty() || self.shard.group.frames() > 0 {
            return;
        }
        let pick = usize::try_from(self.below(self.jobs.len() as u64)).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let done = self.jobs.swap_remove(pick).run(&disk);
        self.shard.done(done);
    }

    /// Writes what is staged.
    pub(super) fn write(&mut self) -> Result<(), CommitError> {
        let mut writes = Vec::new();
        self.shard.write()?;
        self.shard.take_writes(&mut writes);
        writes.iter().try_for_each(|write| write.run()).map_err(|error| self.shard.poison(&error))
    }

    /// Publishes a group that was written, and synced or not.
    pub(super) fn publish(&mut self, synced: bool) {
        if synced {
            self.durable = self.shard.log.durable();
        }
        self.shard.publish(if synced { Durability::Fsync } else { Durability::Os });
        while let Some(job) = self.shard.next_job() {
            self.jobs.push(job);
        }
    }

    /// Power comes back.
    pub(super) fn recover(&mut self) {
        let (crash, life) = (self.random.next_u64(), self.random.next_u64());
        self.disk = self.disk.crash(crash);
        self.jobs.clear();
        (self.shard, self.catalog) = open(&self.disk, life);
        let end = self.shard.log.end();
        assert!(end >= self.durable, "durable up to {}, found {end}", self.durable);
        let survived = self.history.partition_point(|(behind, ..)| *behind <= end);
        self.lost += (self.history.len() - survived) as u64;
        self.history.truncate(survived);
        self.durable = end;
    }
}

/// Runs each seed that is wanted, and says which one failed.
pub(crate) fn each_seed<T>(run: impl Fn(u64) -> T + std::panic::RefUnwindSafe) -> Vec<T> {
    let seeds = match setting("EMBERMQ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("EMBERMQ_SEEDS").unwrap_or(SEEDS),
    };
    let run = |seed| {
        std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| {
            panic!("seed {seed} failed; EMBERMQ_SEED={seed} runs it alone");
        })
    };
    seeds.map(run).collect()
}
