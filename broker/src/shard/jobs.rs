//! Work that takes too long for the committer: it comes out of the shard as a [`Job`], runs on another thread, and
//! what came of it goes back in as [`Done`].

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use embermq_storage::commit_log::{PrepareFile, Prepared, TrimJob, Trimmed};
use embermq_storage::disk::Disk;
use embermq_storage::partition::RemoveJob;
use embermq_storage::segment::{GrowJob, JobResult, SegmentJob};

use super::compaction::{Compacted, CompactionJob};
use super::snapshot::{SnapshotFailed, SnapshotJob, Taken};
use super::{Shard, slot_mut};
use crate::topic::{PartitionId, TopicId};

/// Work for another thread.
#[derive(Debug)]
pub(crate) enum Job {
    /// Make the next file of the commit log.
    PrepareLogFile(PrepareFile),
    /// Remove files of the commit log that no restart needs.
    TrimLog(TrimJob),
    /// Allocate ahead of need.
    Grow(GrowJob),
    /// Seal a segment that is full.
    Segment(TopicId, PartitionId, SegmentJob),
    /// Remove a segment that retention dropped.
    RemoveSegment(RemoveJob),
    /// Remove the folder of a deleted topic.
    RemoveTopic(PathBuf),
    /// Write a snapshot.
    Snapshot(Box<SnapshotJob>),
    /// Compact a partition.
    Compact(CompactionJob),
}

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Done {
    LogFilePrepared(Prepared),
    LogTrimmed(Trimmed),
    Grown,
    Segment(TopicId, PartitionId, JobResult),
    SegmentRemoved(io::Result<()>),
    TopicRemoved(PathBuf, io::Result<()>),
    Snapshot(Result<Taken, SnapshotFailed>),
    Compacted(Compacted),
    /// The job's thread panicked in it.
    Panicked,
}

impl Job {
    /// True for what may take minutes and must not stand in the way of what the next groups need.
    pub(crate) const fn is_long(&self) -> bool {
        matches!(
            self,
            Self::TrimLog(_)
                | Self::RemoveSegment(_)
                | Self::RemoveTopic(_)
                | Self::Snapshot(_)
                | Self::Compact(_)
        )
    }

    /// Does it. Blocks.
    pub(crate) fn run(self, disk: &Arc<dyn Disk>) -> Done {
        match self {
            Self::PrepareLogFile(prepare) => Done::LogFilePrepared(prepare.run()),
            Self::TrimLog(job) => Done::LogTrimmed(job.run()),
            Self::Grow(job) => {
                // When it fails, the reservation that needs the space will say so.
                job.run().ok();
                Done::Grown
            }
            Self::Segment(topic, partition, job) => Done::Segment(topic, partition, job.run()),
            Self::RemoveSegment(job) => Done::SegmentRemoved(job.run()),
            Self::RemoveTopic(dir) => {
                let removed = match disk.remove_dir_all(&dir) {
                    // A topic that never had a record has no folder.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    removed => removed,
                };
                Done::TopicRemoved(dir, removed)
            }
            Self::Snapshot(job) => Done::Snapshot(job.run()),
            Self::Compact(job) => Done::Compacted(job.run()),
        }
    }
}

impl Shard {
    /// Takes back what came of a job.
    pub(crate) fn done(&mut self, done: Done) {
        match done {
            Done::LogFilePrepared(prepared) => {
                // A full disk is no news to whoever produces; the attempt is made again when there may be room.
                self.short_of_space |= self.log.prepared(prepared).is_err();
            }
            Done::LogTrimmed(trimmed) => {
                if let Err(error) = self.log.trimmed(trimmed) {
                    tracing::warn!(%error, "old files of the commit log could not be removed");
                }
            }
            Done::Grown | Done::TopicRemoved(_, Ok(())) => {}
            Done::Segment(topic, partition, done) => self.end_segment_job(topic, partition, done),
            Done::SegmentRemoved(Ok(())) => {
                self.metrics.segments_removed.fetch_add(1, Ordering::Relaxed);
            }
            Done::SegmentRemoved(Err(error)) => {
                tracing::warn!(%error, "a segment beyond retention could not be removed");
            }
            Done::TopicRemoved(dir, Err(error)) => {
                tracing::warn!(%error, dir = %dir.display(), "the folder of a deleted topic could not be removed");
            }
            Done::Snapshot(outcome) => self.end_snapshot(outcome),
            Done::Compacted(outcome) => self.end_compaction(outcome),
            Done::Panicked => {
                self.poison(&"a background job panicked");
            }
        }
    }

    fn end_segment_job(&mut self, topic: TopicId, partition: PartitionId, done: JobResult) {
        let Some(slot) = slot_mut(&mut self.slots, topic, partition) else { return };
        match slot.log.finish(done) {
            Ok(()) => {}
            Err(error) if error.is_retryable() => self.short_of_space = true,
            Err(error) => {
                self.poison(&error);
            }
        }
    }
}
