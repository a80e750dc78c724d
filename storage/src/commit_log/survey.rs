//! Judges a whole log as it was found: what is good, what is damaged, what is a torn tail. Pure reading.
//!
//! A group of frames spans many pages, and pages reach the disk in any order. So after a power cut a good frame may
//! lie behind a hole, and neither "the first bad frame ends the log" nor "a good frame behind it means damage" is
//! right. What decides is the proven mark *M*: the highest position that anything in the log shows to have been
//! durable. It is shown by frames (each carries what was durable when it was written) and by the beginning of the
//! last file (a file gets its name only after everything before it was synced). A bad place at *P* is
//!
//! - damage when *P* < *M*: it was durable, so no crash can have done this;
//! - the torn tail when *P* >= *M*: nobody was ever told that anything from there on is durable. Good frames behind
//!   it are unproven, and part of it.

use std::io;

use crate::names::Position;

use super::damage::{Damage, DamageReason, TornTail};
use super::file::LogFile;
use super::walk::{Hole, LogWalk, WalkFrame, WalkStep, damaged_heads};

/// Behind every position.
const EVERYTHING: Position = Position(u64::MAX);

/// What a file of the log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) frames: u64,
    pub(super) proofs: u64,
    pub(super) payload_bytes: u64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Survey {
    /// Where the log ends.
    pub(super) end: Position,
    /// Whether the last file can take frames from `end` on.
    pub(super) appendable: bool,
    pub(super) proven: Position,
    pub(super) damage: Vec<Damage>,
    pub(super) torn: Option<TornTail>,
    /// One for each file.
    pub(super) tallies: Vec<Tally>,
    pub(super) scanned_bytes: u64,
}

/// Reads `files` from `from` on.
pub(super) fn survey(files: &[LogFile], from: Position) -> io::Result<Survey> {
    let mut findings = Findings::new(files, from);
    let mut walk = LogWalk::new(files, from, EVERYTHING);
    loop {
        match walk.next()? {
            WalkStep::Frame(frame) => findings.frame(&frame),
            WalkStep::Hole(hole) => findings.hole(hole),
            WalkStep::End => break,
        }
    }
    let content_end = walk.content_end();
    Ok(findings.judge(content_end, walk.scanned_bytes()))
}

/// What the walk has met so far.
#[derive(Debug)]
struct Findings<'a> {
    files: &'a [LogFile],
    proven: Position,
    /// Behind the last good frame, or where the walk began.
    end: Position,
    tallies: Vec<Tally>,
    /// With what its file held before it.
    holes: Vec<(Hole, Tally)>,
    /// Good frames with a fill that is not zero.
    dirty_padding: Vec<Hole>,
}

impl<'a> Findings<'a> {
    fn new(files: &'a [LogFile], from: Position) -> Self {
        Self {
            files,
            proven: files.last().map_or(from, |last| last.first.max(from)),
            end: from,
            tallies: vec![Tally::default(); files.len()],
            holes: Vec::new(),
            dirty_padding: Vec::new(),
        }
    }

    fn frame(&mut self, frame: &WalkFrame) {
        self.proven = self.proven.max(frame.proven);
        self.end = frame.next;
        if !frame.padding_is_zero {
            self.dirty_padding.push(Hole {
                file: frame.file,
                position: frame.position,
                file_position: self.files[frame.file].byte_of(frame.position),
                reason: DamageReason::Padding,
                next_valid: Some(frame.next),
            });
        }
        let tally = &mut self.tallies[frame.file];
        if frame.payload.is_empty() {
            tally.proofs += 1;
        } else {
            tally.frames += 1;
            tally.payload_bytes += frame.payload.len() as u64;
        }
    }

    fn hole(&mut self, hole: Hole) {
        self.holes.push((hole, self.tallies[hole.file]));
    }

    /// Tells damage from the torn tail. `content_end`: of the last file.
    fn judge(mut self, content_end: u64, scanned_bytes: u64) -> Survey {
        let Some(last) = self.files.last() else { return self.report(false, None, scanned_bytes) };
        // A file that lost its head or its end was not left so by a crash: nothing in it is a torn tail.
        let appendable = last.epoch.is_some() && !last.is_short() && self.end <= last.limit();
        if !appendable {
            if self.end > last.limit() {
                self.missing_end(last);
            }
            self.end = self.end.max(last.limit());
            return self.report(false, None, scanned_bytes);
        }
        let unproven = self.holes.iter().position(|(hole, _)| hole.position >= self.proven);
        let mut torn = None;
        if let Some((hole, tally)) = unproven.and_then(|at| self.holes.drain(at..).next()) {
            self.end = hole.position;
            self.tallies[hole.file] = tally;
            self.dirty_padding.retain(|padding| padding.position < hole.position);
            torn = Some(TornTail {
                position: hole.position,
                file: last.path.clone(),
                file_position: hole.file_position,
                bytes: content_end.saturating_sub(hole.file_position),
            });
        }
        self.report(true, torn.filter(|torn| torn.bytes > 0), scanned_bytes)
    }

    /// The caller knows of a log that is longer than the last file can be.
    fn missing_end(&mut self, last: &LogFile) {
        let missing = Hole {
            file: self.files.len() - 1,
            position: last.limit(),
            file_position: last.len,
            reason: DamageReason::Missing,
            next_valid: None,
        };
        self.hole(missing);
    }

    fn report(self, appendable: bool, torn: Option<TornTail>, scanned_bytes: u64) -> Survey {
        let holes = self.holes.iter().map(|(hole, _)| *hole);
        let mut damage: Vec<_> =
            holes.chain(self.dirty_padding).map(|hole| hole.damage(self.files)).collect();
        damage.extend(damaged_heads(self.files));
        damage.extend(short_files(self.files, &damage));
        damage.sort_by_key(|damage| damage.position);
        let Self { end, proven, tallies, .. } = self;
        Survey { end, appendable, proven, damage, torn, tallies, scanned_bytes }
    }
}

/// Files that lost bytes at their end, but no frames.
fn short_files(files: &[LogFile], known: &[Damage]) -> Vec<Damage> {
    let short = files.iter().filter(|file| file.is_short());
    let unknown = short.filter(|file| known.iter().all(|damage| damage.file != file.path));
    let damage = unknown.map(|file| Damage {
        file: file.path.clone(),
        position: file.limit(),
        file_position: file.len,
        reason: DamageReason::Short { expected: file.file_bytes, actual: file.len },
        next_valid: None,
    });
    damage.collect()
}
