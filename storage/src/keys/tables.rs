//! The tables of one partition: found, made, kept.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::entries::{KeyEntries, KeyEntry};
use super::runs::Runs;
use super::{KeyHash, ReadKeys, file};
use crate::compaction::BatchView;
use crate::names::{Epoch, Offset};
use crate::reader::{PartitionReader, Shared};
use crate::segment::walk::{Step, Trust, Walk};
use crate::segment::{Content, ReadError, Segment, SegmentDamage};

/// Bytes of a segment that are looked at together.
const WINDOW_BYTES: u64 = 1 << 20;

/// Tables that are followed in memory: a segment has rolled, and the one before is not needed yet.
const GROWING_MAX: usize = 2;

/// Tables that could not be written and lie in memory, in bytes and per partition; the one in use is always kept.
const UNWRITTEN_BYTES_MAX: u64 = 64 << 20;

/// The tables of a partition. Questions block: they may read from the device, and make what is missing.
#[derive(Debug)]
pub struct KeyTables {
    shared: Arc<Shared>,
    /// Of segments that cannot grow any more, by their base offset.
    finished: Mutex<BTreeMap<Offset, Finished>>,
    /// The one that grows, and behind a roll the one before, until somebody needs it as a file.
    growing: Mutex<Vec<Growing>>,
    /// Bytes of the growing ones, which may be busy for a while.
    growing_bytes: AtomicU64,
    /// Held by whoever makes a table; the others wait for it.
    making: Mutex<()>,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Finished {
    /// Of the segment that it was made from.
    epoch: Epoch,
    entries: KeyEntries,
    /// Mapped, so that it takes no memory of its own.
    in_file: bool,
}

/// The table of the segment that grows, as far as it was followed.
#[derive(Debug)]
struct Growing {
    base: Offset,
    epoch: Epoch,
    /// Where the next batch starts.
    position: u64,
    next: Offset,
    runs: Runs,
}

impl PartitionReader {
    /// Tables of the keys of this partition, none of which is made yet.
    #[must_use]
    pub fn key_tables(&self) -> KeyTables {
        KeyTables {
            shared: Arc::clone(self.shared()),
            finished: Mutex::default(),
            growing: Mutex::default(),
            growing_bytes: AtomicU64::new(0),
            making: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }
}

impl KeyTables {
    /// The last offset below `below` whose record has a key of this hash, among what is readable. Its record may be gone:
    /// compaction removes some.
    ///
    /// # Errors
    /// [`ReadError`] when a segment that has to be looked through cannot be read as a whole.
    pub fn latest(
        &self,
        hash: KeyHash,
        below: Offset,
        read: ReadKeys<'_>,
    ) -> Result<Option<Offset>, ReadError> {
        let end = self.shared.end();
        let below = below.min(end);
        let segments = self.shared.segments();
        let mut at = segments.partition_point(|segment| segment.base < below);
        while let Some(before) = at.checked_sub(1) {
            let following = segments.get(at).map(|segment| segment.base);
            at = before;
            let is_gone = || following.is_some_and(|base| base <= self.shared.start());
            if is_gone() {
                break;
            }
            // Also where tables are at hand: a key that is rare has many to look through.
            if self.is_stopped() {
                return Err(segments[before].io(io::ErrorKind::Interrupted.into()));
            }
            // The end was loaded before: what lies below it is published, and no more comes in front of what follows.
            let is_final = following.is_some_and(|base| base <= end);
            let until = if is_final { None } else { Some(end) };
            match self.latest_in(&segments[before], until, (hash, below), read) {
                Ok(Some(offset)) => return Ok((offset >= self.shared.start()).then_some(offset)),
                Ok(None) => {}
                // Retention was faster.
                Err(_) if is_gone() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn latest_in(
        &self,
        segment: &Segment,
        growing_until: Option<Offset>,
        (hash, below): (KeyHash, Offset),
        read: ReadKeys<'_>,
    ) -> Result<Option<Offset>, ReadError> {
        if segment.is_given_up() {
            return Ok(None);
        }
        let content = segment.content()?;
        let below = below.0.saturating_sub(segment.base.0);
        let relative = match growing_until {
            None => self.finished(segment, &content, read)?.latest(hash, below),
            Some(end) => {
                let mut all = self.growing.lock();
                let at = Growing::of(&mut all, segment, &content);
                let followed = all[at].follow(segment, &content, &self.stopped, read);
                self.note_growing(&all);
                let growing = &all[at];
                match followed {
                    // The writer publishes the offset before the position: what is missing is not there yet.
                    Err(ReadError::Damaged { reason: SegmentDamage::Lost { .. }, .. })
                        if growing.next >= end => {}
                    followed => followed?,
                }
                growing.runs.latest(hash, below)
            }
        };
        Ok(relative.map(|relative| segment.base.plus(u64::from(relative))))
    }

    fn finished(
        &self,
        segment: &Segment,
        content: &Content,
        read: ReadKeys<'_>,
    ) -> Result<KeyEntries, ReadError> {
        if let Some(entries) = self.at_hand(segment, content) {
            return Ok(entries);
        }
        let _making = self.making.lock();
        if let Some(entries) = self.at_hand(segment, content) {
            return Ok(entries);
        }
        let origin = segment.index_origin(content);
        let (entries, in_file) = match file::open(segment, &origin) {
            Some(entries) => (entries, true),
            None => {
                let entries = self.make(segment, content, read)?;
                let written = file::write(segment, &origin, &entries);
                let mapped = written.then(|| file::open(segment, &origin)).flatten();
                let in_file = mapped.is_some();
                (mapped.unwrap_or(entries), in_file)
            }
        };
        let kept = Finished { epoch: content.epoch, entries: entries.clone(), in_file };
        self.keep(segment.base, kept);
        Ok(entries)
    }

    fn at_hand(&self, segment: &Segment, content: &Content) -> Option<KeyEntries> {
        let finished = self.finished.lock();
        let found = finished.get(&segment.base).filter(|table| table.epoch == content.epoch)?;
        Some(found.entries.clone())
    }

    /// From what was followed while the segment grew, or from the segment.
    fn make(
        &self,
        segment: &Segment,
        content: &Content,
        read: ReadKeys<'_>,
    ) -> Result<KeyEntries, ReadError> {
        let followed = {
            let mut all = self.growing.lock();
            let at = all.iter().position(|growing| growing.is_of(segment, content));
            let followed = at.map(|at| all.remove(at));
            self.note_growing(&all);
            followed
        };
        let mut growing = followed.unwrap_or_else(|| Growing::new(segment, content));
        growing.follow(segment, content, &self.stopped, read)?;
        Ok(growing.runs.into_entries())
    }

    fn note_growing(&self, all: &[Growing]) {
        let bytes = all.iter().map(|growing| growing.runs.bytes()).sum();
        self.growing_bytes.store(bytes, Ordering::Relaxed);
    }

    fn keep(&self, base: Offset, table: Finished) {
        let mut finished = self.finished.lock();
        // Of segments that are gone nobody will ask.
        let start = self.shared.segments().first().map_or(base, |segment| segment.base);
        finished.retain(|other, _| *other >= start);
        let mut room = UNWRITTEN_BYTES_MAX.saturating_sub(table.memory_bytes());
        finished.retain(|_, other| {
            let bytes = other.memory_bytes();
            let stays = bytes <= room;
            room -= if stays { bytes } else { 0 };
            stays
        });
        finished.insert(base, table);
    }

    /// Bytes of memory that the tables take, without those that are mapped.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let finished: u64 = self.finished.lock().values().map(Finished::memory_bytes).sum();
        finished + self.growing_bytes.load(Ordering::Relaxed)
    }

    /// Ends all questions, now and from now on: they fail with an I/O error of the kind `Interrupted`.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether [`stop`](Self::stop) was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Lets go of everything but what is being used. The next question finds the files, and makes the rest again.
    pub fn forget(&self) {
        self.finished.lock().clear();
        if let Some(mut growing) = self.growing.try_lock() {
            growing.clear();
            self.note_growing(&growing);
        }
    }
}

impl Finished {
    fn memory_bytes(&self) -> u64 {
        if self.in_file { 0 } else { self.entries.bytes().len() as u64 }
    }
}

impl Growing {
    fn new(segment: &Segment, content: &Content) -> Self {
        let (base, epoch) = (segment.base, content.epoch);
        Self { base, epoch, position: content.data_start, next: base, runs: Runs::default() }
    }

    /// Which of them is of this segment; the oldest goes when there are too many.
    fn of(all: &mut Vec<Self>, segment: &Segment, content: &Content) -> usize {
        if let Some(at) = all.iter().position(|growing| growing.is_of(segment, content)) {
            return at;
        }
        if all.len() == GROWING_MAX {
            all.remove(0);
        }
        all.push(Self::new(segment, content));
        all.len() - 1
    }

    fn is_of(&self, segment: &Segment, content: &Content) -> bool {
        (self.base, self.epoch) == (segment.base, content.epoch)
    }

    /// Adds what was published since.
    fn follow(
        &mut self,
        segment: &Segment,
        content: &Content,
        stopped: &AtomicBool,
        read: ReadKeys<'_>,
    ) -> Result<(), ReadError> {
        let place = (self.position, self.next);
        let mut walk = Walk::new(segment, content, place, WINDOW_BYTES, true);
        let mut entries = Vec::new();
        let followed = self.note_all(segment, &mut walk, &mut entries, stopped, read);
        // Also before an error: the position has moved with them.
        self.runs.add(entries);
        followed
    }

    fn note_all(
        &mut self,
        segment: &Segment,
        walk: &mut Walk<'_>,
        entries: &mut Vec<KeyEntry>,
        stopped: &AtomicBool,
        read: ReadKeys<'_>,
    ) -> Result<(), ReadError> {
        while let Some(step) = walk.step(Trust::Checksum)? {
            if stopped.load(Ordering::Relaxed) {
                return Err(segment.io(io::ErrorKind::Interrupted.into()));
            }
            if segment.is_retired() {
                let next = segment.published().next;
                return Err(ReadError::Missing { first: self.next, next });
            }
            let found = match step {
                Step::Batch(found) => found,
                Step::Damage(found) => {
                    let (position, lost) = (found.file_position, found.lost);
                    return Err(segment.damaged_range(position, lost, found.reason));
                }
            };
            let view = BatchView { head: found.head, body: walk.bytes(found.body)? };
            let noted = entries.len();
            let read = read(&view, &mut |hash, offset: Offset| {
                let relative = offset.0.checked_sub(self.base.0).map(u32::try_from);
                if let Some(Ok(relative)) = relative {
                    entries.push(KeyEntry { hash, relative });
                }
            });
            if let Err(error) = read {
                // The next question comes back to this batch, and must not find half of it noted.
                entries.truncate(noted);
                let lost = view.head.base_offset..view.head.next_offset();
                let reason = SegmentDamage::Keys { detail: error.to_string() };
                return Err(segment.damaged_range(found.field.start, lost, reason));
            }
            self.position = found.field.end;
            self.next = found.head.next_offset();
        }
        Ok(())
    }
}
