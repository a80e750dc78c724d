//! Snapshots: a clone of the state, written by another thread, so that the log before it can be trimmed.
//!
//! A snapshot stands at the end of the log between two groups. It may count as kept only when everything that it says
//! is durable: the log up to its position, and the segments as its manifests describe them. So the job syncs the
//! segments first, then writes the state. The log is trimmed behind the older of the two snapshots that are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use embermq_storage::commit_log::CommitLog;
use embermq_storage::disk::is_too_many_open;
use embermq_storage::partition::{PartitionManifest, SyncHandle};
use embermq_storage::snapshot::{SnapshotError, SnapshotStore};
use embermq_storage::{Entropy, Offset, Position};
use prost::Message;

use super::{Job, Shard, slot_mut};
use crate::state::State;
use crate::topic::{PartitionId, TopicId};

/// A snapshot that is to be written.
#[derive(Debug)]
pub(crate) struct SnapshotJob {
    position: Position,
    state: State,
    manifests: BTreeMap<(TopicId, PartitionId), Arc<PartitionManifest>>,
    unsynced: Vec<Unsynced>,
    store: Arc<SnapshotStore>,
    /// Drawn by the shard, so that the job needs no randomness of its own.
    epoch: Epoch,
}

/// What a partition has to have synced.
type Unsynced = ((TopicId, PartitionId), SyncHandle);

/// A snapshot that was written: its position, and where each partition ended there.
#[derive(Debug)]
pub(crate) struct Taken {
    position: Position,
    ends: BTreeMap<(TopicId, PartitionId), Offset>,
}

/// One number, drawn beforehand.
#[derive(Debug)]
struct Epoch(u64);

impl Entropy for Epoch {
    fn next_u64(&mut self) -> u64 {
        self.0
    }
}

/// Why a snapshot was not written. The log is kept instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotFailed {
    /// The segments that it relies on may not be on the device: the shard is poisoned.
    #[error("segments could not be synced: {0}")]
    Segments(std::io::Error),
    /// No more files can be opened, not even folders to sync them: these are still to be synced. It is tried again later.
    #[error("{source}")]
    TooManyOpen {
        /// Those that were not synced.
        unsynced: Vec<Unsynced>,
        /// What the operating system said, and which limit to raise.
        source: std::io::Error,
    },
    /// The snapshot itself; it is tried again later.
    #[error(transparent)]
    Store(#[from] SnapshotError),
}

impl Shard {
    /// Plans a snapshot at the end of the log. Everything staged must be written, synced and published.
    pub(super) fn begin_snapshot(&mut self) {
        if self.read_only.is_some() || self.poison.is_some() || self.log.durable() != self.log.end()
        {
            return;
        }
        let job = self.snapshot_job();
        self.snapshot_running = true;
        (self.unsnapped, self.log_full) = (0, false);
        self.compaction_waits_no_more();
        self.jobs.push_back(Job::Snapshot(Box::new(job)));
    }

    pub(super) fn snapshot_job(&mut self) -> SnapshotJob {
        let mut manifests = BTreeMap::new();
        let mut unsynced = Vec::new();
        for (topic, slot) in &mut self.slots {
            for (number, slot) in (0..).zip(&mut slot.partitions) {
                let place = (*topic, PartitionId(number));
                manifests.insert(place, Arc::new(slot.log.manifest()));
                unsynced.extend(slot.log.unsynced().into_iter().map(|handle| (place, handle)));
            }
        }
        let (position, state) = (self.log.end(), self.state.clone());
        let store = Arc::clone(&self.snapshots);
        let epoch = Epoch(self.entropy.next_u64());
        SnapshotJob { position, state, manifests, unsynced, store, epoch }
    }

    /// Takes note of what came of a snapshot.
    pub(super) fn end_snapshot(&mut self, outcome: Result<Taken, SnapshotFailed>) {
        self.snapshot_running = false;
        match outcome {
            // What it relies on may have been lost meanwhile: the log is kept, so that somebody can still look.
            Ok(_) if self.poison.is_some() => {}
            Ok(Taken { position, ends }) => {
                self.note_settled(ends);
                self.metrics.snapshots.fetch_add(1, Ordering::Relaxed);
                self.snapshot_position = position;
                self.trim_log();
            }
            Err(error @ SnapshotFailed::Segments(_)) => {
                self.poison(&error);
            }
            Err(error) => {
                tracing::warn!(%error, "no snapshot was written; the commit log is kept instead");
                // Not at once again: when some space may have become free.
                (self.snapshot_refused, self.short_of_space) = (true, true);
                if let SnapshotFailed::TooManyOpen { unsynced, .. } = error {
                    self.note_unsynced(unsynced);
                }
            }
        }
    }

    /// The next snapshot syncs them; those of partitions that are gone nobody needs.
    fn note_unsynced(&mut self, unsynced: Vec<Unsynced>) {
        for ((topic, partition), handle) in unsynced {
            if let Some(slot) = slot_mut(&mut self.slots, topic, partition) {
                slot.log.note_unsynced(handle);
            }
        }
    }

    fn trim_log(&mut self) {
        let fallback = match self.snapshots.fallback() {
            Ok(fallback) => fallback,
            Err(error) => return tracing::warn!(%error, "the commit log was not trimmed"),
        };
        match fallback.map_or(Ok(None), |fallback| self.log.trim_job(fallback)) {
            Ok(job) => self.jobs.extend(job.map(Job::TrimLog)),
            Err(error) => tracing::warn!(%error, "the commit log was not trimmed"),
        }
    }

    /// The last snapshot, so that the next start has nothing to replay.
    pub(crate) fn close(&mut self) {
        let nothing_new = self.snapshot_position == self.log.end();
        if nothing_new || self.read_only.is_some() || self.poison.is_some() {
            return;
        }
        if let Err(error) = self.snapshot_job().run() {
            tracing::warn!(%error, "no snapshot was written at shutdown; the next start replays the log");
        }
    }
}

impl SnapshotJob {
    /// Syncs what the snapshot relies on, then writes it.
    pub(crate) fn run(mut self) -> Result<Taken, SnapshotFailed> {
        for at in 0..self.unsynced.len() {
            match self.unsynced[at].1.run() {
                Err(source) if is_too_many_open(&source) => {
                    let unsynced = self.unsynced.split_off(at);
                    return Err(SnapshotFailed::TooManyOpen { unsynced, source });
                }
                synced => synced.map_err(SnapshotFailed::Segments)?,
            }
        }
        let mut buffer = Vec::new();
        self.store.write(self.position, &mut self.epoch, &mut |writer| {
            let manifest = |topic, partition| self.manifests.get(&(topic, partition)).cloned();
            self.state.save(&manifest, &mut |record| {
                buffer.clear();
                record.encode_raw(&mut buffer);
                writer.record(&buffer)
            })
        })?;
        let ends =
            self.manifests.iter().map(|(place, manifest)| (*place, manifest.next())).collect();
        Ok(Taken { position: self.position, ends })
    }
}
