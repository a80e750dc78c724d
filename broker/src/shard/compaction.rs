//! Compaction: of each key's records only the latest stays, in segments that are sealed.
//!
//! A pass reads a partition once to learn where each key's latest record is, then rewrites the sealed segments that
//! hold older ones, oldest first. Offsets stay. A tombstone (a key without a value) stays until it is older than the
//! topic's tombstone retention, so that a reader who is that far behind still sees it; as everything older of its key
//! lies before it, and older segments are rewritten first, it never uncovers an older value.
//!
//! Only what no restart replays any more is rewritten, which two snapshots have to say. A broker with little to do takes one seldom, so
//! those that compaction waits for are asked for, with some time between them.
//!
//! Records without a key are never superseded. A pass holds every key of the partition in memory once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use embermq_protocol::batch::{FormError, ScanLimits, decode_batches, scan};
use embermq_storage::compaction::{BatchView, Keep, Rewrite, RewrittenSegment, rewrite};
use embermq_storage::reader::PartitionReader;
use embermq_storage::segment::{ReadError, SegmentError};
use embermq_storage::{Entropy, Offset, Timestamp};

use super::{Job, Shard, slot_mut};
use crate::topic::{Cleanup, PartitionId, TopicId};

/// Bytes read at a time behind the sealed segments.
const READ_BYTES: u64 = 4 << 20;

/// So long lies between snapshots that only compaction asks for: each may write out a large state.
const SETTLING_US: i64 = 300_000_000;

/// How far compaction has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    running: bool,
    /// The partition that the last pass was over.
    last: Option<(TopicId, PartitionId)>,
    /// Up to where each partition was compacted, and when its next tombstone falls due.
    done: BTreeMap<(TopicId, PartitionId), (Offset, Option<Timestamp>)>,
    /// Partitions' ends in the snapshots that a restart could use, oldest first.
    settled: Vec<BTreeMap<(TopicId, PartitionId), Offset>>,
    /// A snapshot is wanted, and when the next one may be.
    wants_snapshot: bool,
    snapshot_not_before: Timestamp,
    stop: Arc<AtomicBool>,
}

/// One pass over one partition.
#[derive(Debug)]
pub(crate) struct CompactionJob {
    topic: TopicId,
    partition: PartitionId,
    segments: Vec<Rewrite>,
    reader: PartitionReader,
    /// The end of what was durable when the pass was planned.
    until: Offset,
    now: Timestamp,
    tombstone_retention: Duration,
    epochs: Epochs,
    stop: Arc<AtomicBool>,
}

/// What a pass came to.
#[derive(Debug)]
pub(crate) struct Compacted {
    topic: TopicId,
    partition: PartitionId,
    end: Offset,
    tombstone_due: Option<Timestamp>,
    rewritten: Vec<RewrittenSegment>,
    failed: Option<CompactionFailed>,
}

/// Why a pass ended early. Nothing is lost by it.
#[derive(Debug, thiserror::Error)]
enum CompactionFailed {
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Form(#[from] FormError),
}

/// Random numbers for the files of a pass, each from the one before: the first was drawn by the shard.
#[derive(Debug)]
struct Epochs(u64);

impl Entropy for Epochs {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.0 ^ (self.0 >> 33)
    }
}

impl Shard {
    /// Notes the ends of all partitions in a snapshot that was written: what lies below the older snapshot's ends is
    /// never replayed again, and may be rewritten.
    pub(super) fn note_settled(&mut self, ends: BTreeMap<(TopicId, PartitionId), Offset>) {
        let settled = &mut self.compaction.settled;
        settled.push(ends);
        if settled.len() > 2 {
            settled.remove(0);
        }
    }

    /// Plans a pass over the next partition that has something new to compact. It goes round, so that a busy partition keeps
    /// none of the others waiting for long.
    pub(super) fn plan_compaction(&mut self, now: Timestamp) {
        if self.compaction.running {
            return;
        }
        let compacted =
            self.state.topics().filter(|topic| topic.settings.cleanup == Cleanup::Compact);
        let mut places: Vec<_> = compacted
            .flat_map(|topic| {
                let partitions = (0..).zip(&topic.partitions);
                partitions.map(|(number, _)| {
                    ((topic.id, PartitionId(number)), topic.settings.tombstone_retention)
                })
            })
            .collect();
        let behind = places.partition_point(|(place, _)| Some(*place) <= self.compaction.last);
        places.rotate_left(behind);
        for ((topic, partition), tombstone_retention) in places {
            if let Some(job) = self.compaction_job(topic, partition, tombstone_retention, now) {
                self.compaction.running = true;
                self.compaction.last = Some((topic, partition));
                self.jobs.push_back(Job::Compact(job));
                return;
            }
        }
        self.ask_for_snapshot(now);
    }

    /// Asks for a snapshot where sealed segments wait for one.
    fn ask_for_snapshot(&mut self, now: Timestamp) {
        let next = Timestamp(now.0.saturating_add(SETTLING_US));
        // A clock that was set back must not make it wait for longer.
        let not_before = self.compaction.snapshot_not_before.min(next);
        self.compaction.snapshot_not_before = not_before;
        if now < not_before || self.snapshot_running || self.unsynced() {
            return;
        }
        let topics = self.state.topics().filter(|topic| topic.settings.cleanup == Cleanup::Compact);
        let waits = topics.into_iter().any(|topic| {
            let slot = self.slots.get(&topic.id);
            let partitions = (0..).zip(slot.map_or(&[][..], |slot| &slot.partitions));
            partitions.into_iter().any(|(number, slot)| {
                let done = self.compaction.done.get(&(topic.id, PartitionId(number)));
                let done = done.map_or(Offset(0), |(done, _)| *done);
                slot.log.sealed(Offset(u64::MAX)).last().is_some_and(|last| last.meta().next > done)
            })
        });
        if waits {
            self.compaction.wants_snapshot = true;
            self.compaction.snapshot_not_before = next;
            self.plan_snapshot();
        }
    }

    /// Whether compaction waits for a snapshot.
    pub(super) const fn compaction_waits(&self) -> bool {
        self.compaction.wants_snapshot
    }

    /// A snapshot was begun.
    pub(super) const fn compaction_waits_no_more(&mut self) {
        self.compaction.wants_snapshot = false;
    }

    fn compaction_job(
        &mut self,
        topic: TopicId,
        partition: PartitionId,
        tombstone_retention: Duration,
        now: Timestamp,
    ) -> Option<CompactionJob> {
        // What is visible but not durable yet must not supersede what is.
        if self.unsynced() {
            return None;
        }
        let place = (topic, partition);
        let [older, _] = self.compaction.settled.as_slice() else { return None };
        let settled = *older.get(&place)?;
        let slot = slot_mut(&mut self.slots, topic, partition)?;
        let segments = slot.log.sealed(settled);
        let end = segments.last()?.meta().next;
        let (done, due) = self.compaction.done.get(&place).copied().unwrap_or_default();
        if end <= done && due.is_none_or(|due| due > now) {
            return None;
        }
        let epochs = Epochs(self.entropy.next_u64());
        let (reader, stop) = (slot.log.reader(), Arc::clone(&self.compaction.stop));
        let until = reader.end();
        Some(CompactionJob {
            topic,
            partition,
            segments,
            reader,
            until,
            now,
            tombstone_retention,
            epochs,
            stop,
        })
    }

    /// Swaps in what a pass has rewritten.
    pub(super) fn end_compaction(&mut self, compacted: Compacted) {
        let Compacted { topic, partition, end, tombstone_due, rewritten, failed } = compacted;
        self.compaction.running = false;
        self.metrics.segments_compacted.fetch_add(rewritten.len() as u64, Ordering::Relaxed);
        if let Some(slot) = slot_mut(&mut self.slots, topic, partition) {
            for segment in rewritten {
                self.jobs.extend(slot.log.replace(segment).map(Job::RemoveSegment));
            }
        }
        if let Some(error) = failed {
            tracing::warn!(%error, topic = topic.0, partition = partition.0, "compaction ended early");
        }
        // Also after a failure: a damaged segment would fail the same way each time until new ones are sealed.
        self.compaction.done.insert((topic, partition), (end, tombstone_due));
    }

    /// Asks a pass under way to end soon.
    pub(crate) fn stop_compaction(&self) {
        self.compaction.stop.store(true, Ordering::Relaxed);
    }
}

impl CompactionJob {
    /// Makes the pass. Blocks, for as long as reading the partition takes.
    pub(crate) fn run(mut self) -> Compacted {
        let (mut rewritten, mut tombstone_due) = (Vec::new(), None);
        let failed = self.pass(&mut rewritten, &mut tombstone_due).err();
        let end = self.segments.last().map_or(Offset(0), |segment| segment.meta().next);
        let Self { topic, partition, .. } = self;
        Compacted { topic, partition, end, tombstone_due, rewritten, failed }
    }

    fn pass(
        &mut self,
        rewritten: &mut Vec<RewrittenSegment>,
        tombstone_due: &mut Option<Timestamp>,
    ) -> Result<(), CompactionFailed> {
        let latest = self.latest()?;
        let retention_us = i64::try_from(self.tombstone_retention.as_micros()).unwrap_or(i64::MAX);
        let choice = Choice { latest: &latest, retention_us, now: self.now };
        for segment in &self.segments {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let mut superfluous = false;
            segment.scan(&mut |view| {
                let due = choice.tombstone_due(&view);
                *tombstone_due = [*tombstone_due, due].into_iter().flatten().min();
                superfluous |= !matches!(choice.keep(&view), Keep::All);
            })?;
            if superfluous {
                let mut keep = |view: &BatchView| choice.keep(view);
                rewritten.push(rewrite(segment, &mut keep, self.now, &mut self.epochs)?);
            }
        }
        Ok(())
    }

    /// Where the latest record of each key is, in the whole partition.
    fn latest(&self) -> Result<HashMap<Box<[u8]>, u64>, CompactionFailed> {
        let mut latest = HashMap::new();
        for segment in &self.segments {
            segment.scan(&mut |view| {
                let Ok(scan) = scan(&view.body, ScanLimits::stored()) else { return };
                for index in 0..scan.records.len() {
                    if let Some(key) = scan.key(index) {
                        let offset = view.head.base_offset.0 + u64::from(scan.offset_delta(index));
                        note(&mut latest, key, offset);
                    }
                }
            })?;
        }
        let mut at = self.segments.last().map_or(Offset(0), |segment| segment.meta().next);
        while at < self.until && !self.stop.load(Ordering::Relaxed) {
            let slice = match self.reader.read(at, READ_BYTES) {
                // What is not there supersedes nothing.
                Err(ReadError::Missing { next, .. }) => {
                    at = next;
                    continue;
                }
                slice => slice?,
            };
            for record in decode_batches(slice.pieces, at.0) {
                let record = record?;
                if let Some(key) = &record.record.key
                    && record.offset < self.until.0
                {
                    note(&mut latest, key, record.offset);
                }
            }
            if slice.next <= at {
                break;
            }
            at = slice.next;
        }
        Ok(latest)
    }
}

fn note(latest: &mut HashMap<Box<[u8]>, u64>, key: &[u8], offset: u64) {
    match latest.get_mut(key) {
        Some(known) => *known = (*known).max(offset),
        None => {
            latest.insert(key.into(), offset);
        }
    }
}

/// Which records stay.
struct Choice<'a> {
    latest: &'a HashMap<Box<[u8]>, u64>,
    retention_us: i64,
    now: Timestamp,
}

impl Choice<'_> {
    fn keep(&self, view: &BatchView) -> Keep {
        // What cannot be read is not ours to drop.
        let Ok(scan) = scan(&view.body, ScanLimits::stored()) else { return Keep::All };
        let expired = self.due(view) <= self.now;
        let stays = |index: &u32| {
            let at = *index as usize;
            let Some(key) = scan.key(at) else { return true };
            let offset = view.head.base_offset.0 + u64::from(scan.offset_delta(at));
            let superseded = self.latest.get(key).is_some_and(|latest| *latest > offset);
            let tombstone = scan.records.get(at).is_some_and(|record| !record.has_value);
            !(superseded || (tombstone && expired))
        };
        let kept: Vec<u32> = (0..scan.count()).filter(stays).collect();
        if kept.len() == scan.records.len() {
            return Keep::All;
        }
        if kept.is_empty() {
            return Keep::None;
        }
        match scan.keep(&kept) {
            Ok(body) => Keep::Replace { body: body.bytes, record_count: body.records },
            Err(_) => Keep::All,
        }
    }

    /// When the tombstones of a batch, if it has any that are not due yet, may go.
    fn tombstone_due(&self, view: &BatchView) -> Option<Timestamp> {
        let scan = scan(&view.body, ScanLimits::stored()).ok()?;
        let any = scan.records.iter().any(|record| record.key.is_some() && !record.has_value);
        let due = self.due(view);
        (any && due > self.now).then_some(due)
    }

    fn due(&self, view: &BatchView) -> Timestamp {
        Timestamp(view.head.append_time.0.saturating_add(self.retention_us))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use embermq_storage::disk::Disk;
    use embermq_storage::disk::sim::SimDisk;

    use super::super::damage::finish_group;
    use super::super::simulation::{open, open_with, options};
    use super::super::{CatalogRequest, Done};
    use super::*;
    use crate::keys::KeyFacts;
    use crate::options::Options;
    use crate::state::Endings;
    use crate::{Batch, Commit, Record, TopicName, TopicSettings};

    /// Works off all jobs. How many snapshots were taken and how many passes made.
    fn work_off(shard: &mut Shard, disk: &Arc<dyn Disk>) -> (usize, usize) {
        let (mut snapshots, mut passes) = (0, 0);
        while let Some(job) = shard.next_job() {
            snapshots += usize::from(matches!(job, Job::Snapshot(_)));
            let done = job.run(disk);
            passes += usize::from(matches!(done, Done::Compacted(_)));
            shard.done(done);
        }
        (snapshots, passes)
    }

    fn append(shard: &mut Shard, topic: &TopicName) {
        let batch = Batch::of(&[Record::new(vec![7; 1_500]).with_key("k")]);
        let commit = Commit::of_batch(topic, PartitionId(0), batch);
        let (endings, keys) = (Endings::default(), KeyFacts::default());
        shard.stage_commit(&commit, &endings, &keys, Timestamp(2)).unwrap();
        finish_group(shard);
    }

    #[test]
    fn a_broker_with_little_to_do_compacts_too() {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/data")).unwrap();
        let options = || Options { snapshot_log_bytes: 1 << 30, ..options() };
        let (mut shard, catalog) = open_with(&disk, 1, options());
        let topic: TopicName = "latest".parse().unwrap();
        let settings = TopicSettings { cleanup: Cleanup::Compact, ..TopicSettings::default() };
        let create = CatalogRequest::Create(topic.clone(), settings);
        assert!(shard.stage_catalog(&create, Timestamp(1)).unwrap());
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        for _ in 0..10 {
            append(&mut shard, &topic);
        }
        assert_eq!(work_off(&mut shard, &shared), (0, 0));
        let look = |shard: &mut Shard, time| {
            append(shard, &topic);
            shard.plan_compaction(Timestamp(time));
            work_off(shard, &shared)
        };
        assert_eq!(look(&mut shard, 10), (1, 0), "the first snapshot");
        assert_eq!(look(&mut shard, 20), (0, 0), "not the next one at once");
        assert_eq!(look(&mut shard, 10 + SETTLING_US), (1, 0));
        assert_eq!(look(&mut shard, 20 + SETTLING_US), (0, 1));
        drop((shard, catalog));
        // A snapshot that it began with counts.
        let (mut shard, _catalog) = open_with(&disk, 2, options());
        assert_eq!(look(&mut shard, 10), (1, 0));
        assert_eq!(look(&mut shard, 20), (0, 1));
    }

    #[test]
    fn a_busy_partition_keeps_none_of_the_others_waiting() {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new("/data")).unwrap();
        let (mut shard, _catalog) = open(&disk, 1);
        let topic: TopicName = "latest".parse().unwrap();
        let settings =
            TopicSettings { partitions: 3, cleanup: Cleanup::Compact, ..TopicSettings::default() };
        let create = CatalogRequest::Create(topic.clone(), settings);
        assert!(shard.stage_catalog(&create, Timestamp(1)).unwrap());
        let shared: Arc<dyn Disk> = Arc::new(disk);
        let mut passes = Vec::new();
        while passes.len() < 6 {
            // Each has new sealed segments every time.
            for _ in 0..6 {
                for number in 0..3 {
                    let batch = Batch::of(&[Record::new(vec![7; 1_500]).with_key("k")]);
                    let commit = Commit::of_batch(&topic, PartitionId(number), batch);
                    let (endings, keys) = (Endings::default(), KeyFacts::default());
                    shard.stage_commit(&commit, &endings, &keys, Timestamp(2)).unwrap();
                }
                finish_group(&mut shard);
                while let Some(job) = shard.next_job() {
                    let done = job.run(&shared);
                    shard.done(done);
                }
            }
            shard.plan_compaction(Timestamp(3));
            while let Some(job) = shard.next_job() {
                let done = job.run(&shared);
                if let Done::Compacted(compacted) = &done {
                    assert!(compacted.failed.is_none());
                    passes.push(compacted.partition.0);
                }
                shard.done(done);
            }
        }
        assert_eq!(passes, [0, 1, 2, 0, 1, 2]);
    }
}
