//! Work that is handed out, so that nobody has to hold the log while the disk is slow: writing a group, syncing, removing
//! old files.
//!
//! Each is asked for, run anywhere, and its result brought back. There is one of each at a time.

use std::sync::Arc;

use crate::names::Position;

use super::super::LogError;
use super::super::group::Group;
use super::super::room::Fit;
use super::super::sync_job::{SyncJob, Synced};
use super::super::trim::{TrimJob, Trimmed};
use super::super::write_job::{WriteJob, Written};
use super::FileLog;

impl FileLog {
    /// The writing and syncing of `group`, if it fits into the present file: run it on another thread and hand the
    /// result to [`written`](Self::written) before anything else is appended or synced. The group is taken, and
    /// [`end`](super::super::CommitLog::end) lies behind it from now on. `None`, with nothing changed, when the log has to roll over
    /// for it, or it is empty: [`append`](super::super::CommitLog::append) it.
    ///
    /// # Errors
    /// As [`append`](super::super::CommitLog::append).
    pub fn write_job(
        &mut self,
        expected: Position,
        group: &mut Group,
    ) -> Result<Option<WriteJob>, LogError> {
        self.check(expected, group)?;
        let whole =
            matches!(self.space().fit(group), Fit::Here(frames) if frames == group.frames());
        let Some(last) = self.files.last().filter(|_| whole && group.frames() > 0) else {
            return Ok(None);
        };
        let Some(epoch) = last.epoch else { return Ok(None) };
        let end = Position(self.end.0 + group.bytes());
        let job = WriteJob {
            file: Arc::clone(&last.file),
            at: last.byte_of(self.end),
            position: self.end,
            end,
            epoch,
            proven: self.durable,
            group: std::mem::take(group),
        };
        self.writing = true;
        self.end = end;
        Ok(Some(job))
    }

    /// Takes the result of a [`WriteJob`], and gives its group back, cleared.
    ///
    /// # Errors
    /// Final, whatever it is: nobody knows what the disk holds.
    pub fn written(&mut self, written: Written) -> Result<Group, LogError> {
        self.usable()?;
        self.writing = false;
        let Written { mut group, end, outcome } = written;
        outcome.map_err(|e| self.fail(e))?;
        self.syncs += 1;
        self.durable = end;
        group.clear();
        Ok(group)
    }

    /// The sync of everything written so far: run it anywhere and hand the result to [`synced`](Self::synced). Meanwhile
    /// what has [room](Self::has_room_here) in the present file may be appended, but nothing else be synced. `None` when
    /// there is nothing to sync.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn sync_job(&mut self) -> Result<Option<SyncJob>, LogError> {
        self.usable()?;
        debug_assert!(!self.writing && !self.syncing, "two syncs at a time");
        let Some(last) = self.files.last().filter(|_| self.durable < self.end) else {
            return Ok(None);
        };
        self.syncing = true;
        Ok(Some(SyncJob { file: Arc::clone(&last.file), end: self.end }))
    }

    /// Takes the result of a [`SyncJob`], and gives the position up to where the log is durable.
    ///
    /// # Errors
    /// Final: as [`sync`](super::super::CommitLog::sync).
    pub fn synced(&mut self, synced: Synced) -> Result<Position, LogError> {
        self.usable()?;
        self.syncing = false;
        synced.outcome.map_err(|e| self.fail(e))?;
        self.syncs += 1;
        self.durable = self.durable.max(synced.end);
        Ok(self.durable)
    }

    /// The removal of the files that [`trim`](super::super::CommitLog::trim) would give back: run it on another thread and hand the
    /// result to [`trimmed`](Self::trimmed). The log starts behind them from now on. `None` when there are none, or
    /// while others are being removed.
    ///
    /// # Errors
    /// [`LogError::Poisoned`].
    pub fn trim_job(&mut self, before: Position) -> Result<Option<TrimJob>, LogError> {
        self.usable()?;
        let before = before.min(self.durable);
        let old = self.files.partition_point(|file| file.first <= before).saturating_sub(1);
        if self.trimming || old == 0 {
            return Ok(None);
        }
        self.trimming = true;
        let mut room = self.options.spare_files_max.saturating_sub(self.spare.len() as u64);
        let mut files = Vec::with_capacity(old);
        for old in self.files.drain(..old).collect::<Vec<_>>() {
            let usual = self.file_bytes(0);
            let keep = room > 0 && (old.file_bytes, old.len) == (usual, usual);
            room -= u64::from(keep);
            files.push((old, keep.then(|| self.unfinished_path())));
        }
        let (disk, folder) = (Arc::clone(&self.disk), Arc::clone(&self.folder));
        Ok(Some(TrimJob { disk, folder, files }))
    }

    /// Takes the result of a [`TrimJob`].
    ///
    /// # Errors
    /// As [`trim`](super::super::CommitLog::trim).
    pub fn trimmed(&mut self, trimmed: Trimmed) -> Result<(), LogError> {
        self.trimming = false;
        self.files.splice(..0, trimmed.left);
        self.spare.extend(trimmed.kept);
        trimmed.outcome.map_err(LogError::Io)
    }
}
