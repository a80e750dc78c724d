//! Writing frames: room for them, the bytes, and the step into the next file.
//!
//! Every path out of here either leaves the log as it was, or fails it for good.

use std::io::{self, ErrorKind};
use std::ops::Range;

use crate::names::{Epoch, Position};

use super::super::LogError;
use super::super::file::{FileHead, HeadState, LogFile, file_name};
use super::super::group::{Group, Place};
use super::super::prepare::ReadyFile;
use super::super::room::Fit;
use super::FileLog;

impl FileLog {
    /// Finds or makes room for `group`, and says how many of its frames go into the present file.
    pub(super) fn make_room(&mut self, group: &Group) -> Result<usize, LogError> {
        loop {
            let (frames, at_front) = match self.space().fit(group) {
                Fit::Here(frames) => return Ok(frames),
                Fit::OverReserve => (0, false),
                Fit::NextTooSmall(frames) => (frames, true),
            };
            let bytes = self.file_bytes(frames);
            let ready = self.make_now(bytes).map_err(|e| self.no_file(e, group.bytes()))?;
            if at_front {
                self.ready.push_front(ready);
            } else {
                self.ready.push_back(ready);
            }
        }
    }

    /// The error for a file that could not be made: the log itself is as it was.
    pub(super) fn no_file(&self, error: io::Error, needed: u64) -> LogError {
        if error.kind() == ErrorKind::StorageFull {
            LogError::Full { needed, room: self.space().certain() }
        } else {
            LogError::NextFile(error)
        }
    }

    /// Writes some frames of `group`, the first of which began at `start`, into the present file.
    pub(super) fn write(
        &mut self,
        group: &mut Group,
        part: Range<usize>,
        start: Position,
    ) -> Result<(), LogError> {
        let bytes = group.bytes_of(part.end) - group.bytes_of(part.start);
        let Some(last) = self.files.last() else { return Ok(()) };
        let (Some(epoch), true) = (last.epoch, bytes > 0) else { return Ok(()) };
        let (end, in_one_file) = (Position(self.end.0 + bytes), start >= last.first);
        let place = Place {
            file: &*last.file,
            at: last.byte_of(self.end),
            position: self.end,
            epoch,
            proven: self.durable,
        };
        match group.write_to(part, &place) {
            Ok(()) => {
                self.end = end;
                Ok(())
            }
            // A file system that copies on write can be full even here. Frames that went into the file before
            // cannot be taken back any more: the next file already says that they are part of the log.
            Err(e) if e.kind() == ErrorKind::StorageFull && in_one_file => {
                Err(self.retract(start, end, group.bytes()))
            }
            Err(e) => Err(self.fail(e)),
        }
    }

    /// Takes the frames from `start` to `written` back, which nobody was told of, and says that the log is full.
    ///
    /// They are overwritten with zeroes, durably: else, after a later append of the same length and a crash, one
    /// of them could lie just where the log goes on.
    pub(super) fn retract(&mut self, start: Position, written: Position, needed: u64) -> LogError {
        if let Some(last) = self.files.last().filter(|_| start < written) {
            let range = last.byte_of(start)..last.byte_of(written);
            if let Err(e) = last.file.zero(range).and_then(|()| last.file.sync_data()) {
                return self.fail(e);
            }
        }
        self.end = start;
        self.durable = start;
        LogError::Full { needed, room: 0 }
    }

    /// Goes on in the next file, which must be ready.
    ///
    /// # Errors
    /// Final, but for a full disk before the file has its name.
    pub(super) fn roll(&mut self) -> Result<(), LogError> {
        let Some(ready) = self.ready.pop_front() else {
            return Err(LogError::NextFile(ErrorKind::NotFound.into()));
        };
        self.sync_last()?;
        let first = self.end;
        let head = FileHead { epoch: self.epoch_of(first), first, file_bytes: ready.bytes };
        if let Err(e) = head.write_to(&*ready.file) {
            return Err(self.not_rolled(e, ready));
        }
        // Not retryable, whatever its kind: a failed sync is final.
        ready.file.sync_data().map_err(|e| self.fail(e))?;
        let path = self.dir.join(file_name(first));
        if let Err(e) = self.disk.rename(&ready.path, &path) {
            return Err(self.not_rolled(e, ready));
        }
        self.folder.sync().map_err(|e| self.fail(e))?;
        // Opened by its new name, so that errors name it; the old handle serves as well.
        let file = self.disk.open(&path).unwrap_or(ready.file);
        // A file without frames, too small for the first ones, was replaced: the name is the same.
        self.files.pop_if(|last| last.first == first);
        self.files.push(LogFile {
            path,
            file,
            first,
            epoch: Some(head.epoch),
            head: HeadState::Both,
            file_bytes: ready.bytes,
            len: ready.bytes,
        });
        self.appendable = true;
        self.note_syncs(first);
        Ok(())
    }

    /// Notes how large the groups of the file were that ends at `end`.
    fn note_syncs(&mut self, end: Position) {
        let before = self.files.len().checked_sub(2).and_then(|at| self.files.get(at));
        let bytes = before.map_or(0, |before| end.0 - before.first.0);
        self.bytes_per_sync = bytes / self.syncs.max(1);
        self.syncs = 0;
    }

    fn not_rolled(&mut self, error: io::Error, ready: ReadyFile) -> LogError {
        if error.kind() == ErrorKind::StorageFull {
            self.ready.push_front(ready);
            return LogError::Full { needed: 0, room: 0 };
        }
        self.fail(error)
    }

    /// Epochs of one opening differ by position, those of two openings by the seed.
    const fn epoch_of(&self, first: Position) -> Epoch {
        Epoch(self.epoch_seed.wrapping_add(first.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}
