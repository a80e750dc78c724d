//! Walks the frames of all files of a log in order, and tells where there are none.

use std::io;

use bytes::Bytes;

use crate::names::Position;

use super::damage::{Damage, DamageReason};
use super::file::{FILE_HEAD_BYTES, HeadState, LogFile};
use super::scan::{FileScan, Step};

/// What comes next on a walk.
#[derive(Debug)]
pub(super) enum WalkStep {
    Frame(WalkFrame),
    /// A place without a good frame; the walk goes on behind it.
    Hole(Hole),
    End,
}

/// A frame with its place in the log.
#[derive(Debug)]
pub(super) struct WalkFrame {
    pub(super) file: usize,
    pub(super) position: Position,
    pub(super) next: Position,
    pub(super) proven: Position,
    pub(super) payload: Bytes,
    pub(super) padding_is_zero: bool,
}

/// A place without a good frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    pub(super) file: usize,
    pub(super) position: Position,
    pub(super) file_position: u64,
    pub(super) reason: DamageReason,
    pub(super) next_valid: Option<Position>,
}

impl Hole {
    pub(super) fn damage(self, files: &[LogFile]) -> Damage {
        let Self { file, position, file_position, reason, next_valid } = self;
        let file = files.get(file).map(|file| file.path.clone()).unwrap_or_default();
        Damage { file, position, file_position, reason, next_valid }
    }
}

/// A walk over files in order. It reads, and changes nothing.
#[derive(Debug)]
pub(super) struct LogWalk<'a> {
    files: &'a [LogFile],
    /// The file that the walk is in.
    index: usize,
    scan: Option<FileScan<'a>>,
    /// Where the walk is.
    position: Position,
    end: Position,
    scanned_bytes: u64,
}

impl<'a> LogWalk<'a> {
    /// A walk over `files` from `from` up to `end` (or the end of the last file, where that comes first).
    pub(super) fn new(files: &'a [LogFile], from: Position, end: Position) -> Self {
        let index = files.partition_point(|file| file.first <= from).saturating_sub(1);
        Self { files, index, scan: None, position: from, end, scanned_bytes: 0 }
    }

    /// Bytes read from the disk so far.
    pub(super) fn scanned_bytes(&self) -> u64 {
        self.scanned_bytes + self.scan.as_ref().map_or(0, FileScan::scanned_bytes)
    }

    /// End of the last bytes seen in the file that the walk is in, or ended in, that are not zero.
    pub(super) fn content_end(&self) -> u64 {
        self.scan.as_ref().map_or(FILE_HEAD_BYTES, FileScan::content_end)
    }

    pub(super) fn next(&mut self) -> io::Result<WalkStep> {
        let files = self.files;
        loop {
            let Some(file) = files.get(self.index) else { return Ok(WalkStep::End) };
            if self.position >= self.end {
                return Ok(WalkStep::End);
            }
            let end = self.end_of(file);
            if self.position < file.first {
                let hole = self.hole(self.position, DamageReason::Missing, Some(file.first));
                self.position = file.first;
                return Ok(WalkStep::Hole(Hole { file_position: 0, ..hole }));
            }
            let Some(epoch) = file.epoch else {
                if let Some(hole) = self.lost_file(file) {
                    return Ok(WalkStep::Hole(hole));
                }
                if self.leave() { continue } else { return Ok(WalkStep::End) }
            };
            let scan = self.scan.get_or_insert_with(|| {
                let at = file.byte_of(self.position);
                FileScan::new(file, epoch, at, file.byte_of(end).max(at))
            });
            match scan.step()? {
                Step::Frame(frame) => {
                    self.position = file.position_of(frame.end);
                    return Ok(WalkStep::Frame(WalkFrame {
                        file: self.index,
                        position: file.position_of(frame.at),
                        next: self.position,
                        proven: frame.proven,
                        payload: frame.payload,
                        padding_is_zero: frame.padding_is_zero,
                    }));
                }
                Step::Bad(reason) => return Ok(WalkStep::Hole(self.pass(file, reason)?)),
                Step::End => {
                    let missing = self.missing_behind();
                    if !self.leave() {
                        return Ok(WalkStep::End);
                    }
                    if let Some(hole) = missing {
                        return Ok(WalkStep::Hole(hole));
                    }
                }
            }
        }
    }

    /// Where the frames of `file`, which the walk is in, end at the latest.
    fn end_of(&self, file: &LogFile) -> Position {
        let next = self.next_file().unwrap_or(self.end);
        next.min(self.end).min(file.limit())
    }

    /// Passes a bad place in `file`, up to the next good frame, else up to the next file.
    fn pass(&mut self, file: &LogFile, reason: DamageReason) -> io::Result<Hole> {
        let next_file = self.next_file();
        let Some(scan) = self.scan.as_mut() else {
            return Ok(self.hole(self.position, reason, None));
        };
        let bad = scan.at();
        let position = file.position_of(bad);
        if scan.resync()? {
            self.position = file.position_of(scan.at());
            return Ok(self.hole(position, reason, Some(self.position)));
        }
        let blank = scan.content_end() <= bad;
        self.position = next_file.unwrap_or(file.position_of(scan.at()));
        let reason = if file.is_short() {
            DamageReason::Short { expected: file.file_bytes, actual: file.len }
        } else if blank && next_file.is_some() {
            DamageReason::Missing
        } else {
            reason
        };
        Ok(self.hole(position, reason, next_file))
    }

    /// The hole that a file is which has no readable head; `None` when the walk has passed it.
    fn lost_file(&mut self, file: &LogFile) -> Option<Hole> {
        let next = self.next_file();
        let end = next.unwrap_or(self.end.min(file.limit()));
        if self.position >= end {
            return None;
        }
        let hole = self.hole(self.position, DamageReason::Head, next);
        self.position = end;
        Some(Hole { file_position: 0, ..hole })
    }

    /// Where the file behind the one that the walk is in begins.
    fn next_file(&self) -> Option<Position> {
        self.files.get(self.index + 1).map(|next| next.first)
    }

    /// What lies between the end of the file that the walk is in and the next file, if they do not meet.
    fn missing_behind(&self) -> Option<Hole> {
        let next = self.next_file()?;
        (self.position < next).then(|| self.hole(self.position, DamageReason::Missing, Some(next)))
    }

    /// Goes to the next file. `false` when there is none.
    fn leave(&mut self) -> bool {
        let Some(next) = self.files.get(self.index + 1) else { return false };
        self.scanned_bytes += self.scan.take().map_or(0, |scan| scan.scanned_bytes());
        self.index += 1;
        self.position = next.first;
        true
    }

    fn hole(&self, position: Position, reason: DamageReason, next_valid: Option<Position>) -> Hole {
        let file_position =
            self.files.get(self.index).map_or(0, |file| file.byte_of(position.max(file.first)));
        Hole { file: self.index, position, file_position, reason, next_valid }
    }
}

/// The damage of files that have one good head left: their frames are not touched by it.
pub(super) fn damaged_heads(files: &[LogFile]) -> impl Iterator<Item = Damage> {
    files.iter().filter_map(|file| {
        let file_position = match file.head {
            HeadState::CopyOnly => 0,
            // A file that is too short is reported as that.
            HeadState::FirstOnly if !file.is_short() => file.file_bytes - FILE_HEAD_BYTES,
            HeadState::Both | HeadState::FirstOnly | HeadState::Neither => return None,
        };
        Some(Damage {
            file: file.path.clone(),
            position: file.first,
            file_position,
            reason: DamageReason::OneHead,
            next_valid: Some(file.first),
        })
    })
}
