//! Finding a place in a segment.
//!
//! The index has two parts: what the writer notes as the segment grows, and what is older than this process, which
//! is read from the index file or rebuilt from the segment when it is first asked for. Only the first is under a
//! lock that the writer shares, and nobody holds that one for longer than a search takes.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::index::{IndexEntries, IndexEntry, IndexOrigin, SparseIndex};
use crate::names::{Offset, Timestamp};
use crate::segment::walk::{Step, Trust, Walk};
use crate::segment::{Content, ReadError, Segment, SegmentOptions};

/// Bytes that rebuilding an index looks at together.
const REBUILD_WINDOW_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Lookup {
    state: Mutex<State>,
    rebuilding: Mutex<()>,
}

#[derive(Debug)]
struct State {
    older: Older,
    recent: SparseIndex,
}

#[derive(Debug)]
enum Older {
    /// Entries of the bytes below `until` are still to be read.
    Unknown {
        until: u64,
    },
    Known(IndexEntries),
}

impl Lookup {
    /// Of a segment that this process writes from its first byte on.
    pub(super) const fn empty(base: Offset, options: &SegmentOptions) -> Self {
        let recent = SparseIndex::new(base, options.index_interval_bytes);
        let older = Older::Unknown { until: 0 };
        Self { state: Mutex::new(State { older, recent }), rebuilding: Mutex::new(()) }
    }

    /// Of a segment with `until` bytes of batches written before.
    pub(super) const fn unknown(base: Offset, options: &SegmentOptions, until: u64) -> Self {
        let recent = SparseIndex::new(base, options.index_interval_bytes);
        let older = Older::Unknown { until };
        Self { state: Mutex::new(State { older, recent }), rebuilding: Mutex::new(()) }
    }
}

/// A place where a batch starts, and its first offset.
pub(crate) type Place = (u64, Offset);

impl Segment {
    /// Notes a batch that the writer has staged.
    pub(crate) fn note_batch(&self, offset: Offset, position: u64, time: Timestamp) {
        self.lookup.state.lock().recent.note(offset, position, time);
    }

    /// A batch at or a little before the one that holds `offset`, which is published.
    pub(crate) fn place_of(&self, content: &Content, offset: Offset) -> Result<Place, ReadError> {
        let relative = offset.0.saturating_sub(self.base.0);
        self.search(content, |entry| u64::from(entry.relative) <= relative)
    }

    /// A batch at or a little before the first one appended at or after `time`.
    pub(crate) fn place_at(&self, content: &Content, time: Timestamp) -> Result<Place, ReadError> {
        let end = self.published().end;
        self.search(content, |entry| entry.time < time && u64::from(entry.position) < end)
    }

    /// Like [`place_of`](Self::place_of), as far as that can be told without reading anything; never too high.
    pub(crate) fn position_at_hand(&self, offset: Offset) -> u64 {
        let relative = offset.0.saturating_sub(self.base.0);
        let below = |entry: &IndexEntry| u64::from(entry.relative) <= relative;
        let state = self.lookup.state.lock();
        let older = || match &state.older {
            Older::Unknown { .. } => None,
            Older::Known(entries) => entries.last_where(below),
        };
        let entry = state.recent.last_where(below).or_else(older);
        entry.map_or(0, |entry| u64::from(entry.position))
    }

    fn search(
        &self,
        content: &Content,
        below: impl Fn(&IndexEntry) -> bool,
    ) -> Result<Place, ReadError> {
        let recent = self.lookup.state.lock().recent.last_where(&below);
        let entry = match recent {
            Some(entry) => Some(entry),
            None => self.older(content)?.last_where(&below),
        };
        Ok(entry.map_or((content.data_start, self.base), |entry| {
            (u64::from(entry.position), self.base.plus(u64::from(entry.relative)))
        }))
    }

    /// All entries, in two runs.
    pub(crate) fn index_entries(&self, content: &Content) -> Result<[IndexEntries; 2], ReadError> {
        let older = self.older(content)?;
        Ok([older, self.lookup.state.lock().recent.entries()])
    }

    /// What an index file of this segment says of it.
    pub(crate) fn index_origin(&self, content: &Content) -> IndexOrigin {
        let published = self.published();
        let (end, next) = content
            .rewritten
            .map_or((published.end, published.next), |rewritten| (rewritten.end, rewritten.next));
        IndexOrigin { epoch: content.epoch, base: self.base, next, end }
    }

    /// Gives the memory of the index back; the index file, or the segment, has it all.
    pub(crate) fn forget_index(&self) {
        let until = self.published().end;
        let mut state = self.lookup.state.lock();
        state.older = Older::Unknown { until };
        state.recent = SparseIndex::new(self.base, self.home.options.index_interval_bytes);
    }

    fn older(&self, content: &Content) -> Result<IndexEntries, ReadError> {
        if let Some(entries) = self.older_at_hand(content) {
            return Ok(entries);
        }
        // One reader does the work; the others wait for it, the writer does not.
        let _rebuilding = self.lookup.rebuilding.lock();
        if let Some(entries) = self.older_at_hand(content) {
            return Ok(entries);
        }
        let entries = match self.index_file(content) {
            Some(entries) => entries,
            None => self.rebuild(content)?,
        };
        self.lookup.state.lock().older = Older::Known(entries.clone());
        Ok(entries)
    }

    fn older_at_hand(&self, content: &Content) -> Option<IndexEntries> {
        match &self.lookup.state.lock().older {
            Older::Known(entries) => Some(entries.clone()),
            Older::Unknown { until } => (*until <= content.data_start).then(IndexEntries::default),
        }
    }

    /// The index file, mapped. Anything wrong with it is no loss: it is rebuilt.
    fn index_file(&self, content: &Content) -> Option<IndexEntries> {
        let file = self.home.disk.open(&self.home.index_path(self.base)).ok()?;
        let len = file.len().ok().filter(|len| *len > 0)?;
        let mapping = file.map(len).ok()?;
        mapping.populate(0..len).ok()?;
        let bytes: Bytes = Arc::clone(&mapping).bytes(0..len);
        self.index_origin(content).decode(&bytes)
    }

    /// Makes the entries of what was there before this process, hopping from front to front. Batches that get an
    /// entry are checked, so a rotten front leads astray for a few batches at most.
    fn rebuild(&self, content: &Content) -> Result<IndexEntries, ReadError> {
        let until = match (&self.lookup.state.lock().older, content.rewritten) {
            (Older::Unknown { until }, None) => *until,
            (Older::Known(_) | Older::Unknown { .. }, _) => u64::MAX,
        };
        let mut index = SparseIndex::new(self.base, self.home.options.index_interval_bytes);
        let start = (content.data_start, self.base);
        let mut walk = Walk::new(self, content, start, REBUILD_WINDOW_BYTES, true);
        while walk.position() < until {
            let trust = if index.wants(walk.position()) { Trust::Checksum } else { Trust::Front };
            match walk.step(trust)? {
                Some(Step::Batch(found)) => {
                    index.note(found.head.base_offset, found.field.start, found.head.append_time);
                }
                Some(Step::Damage(_)) => {}
                None => break,
            }
        }
        Ok(index.entries())
    }
}
