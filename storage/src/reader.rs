//! Reading a partition, beside the thread that writes it.
//!
//! What a reader gets are slices of the segment files' mappings: no copy, and each slice keeps its mapping alive for
//! as long as somebody holds it, whatever becomes of the file's name. Every batch is checked before it is handed out.
//!
//! A reader goes by two marks, loaded in this order: the partition's end (an offset), then the segment's end (a
//! position). The writer stores them in the opposite order, so a position always covers the offsets below the end.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::names::{Offset, Timestamp};
use crate::partition::PartitionManifest;
use crate::segment::walk::{Damage, Step, Trust, Walk};
use crate::segment::{Content, ReadError, Segment};

/// Bytes that a look-up by time looks at together.
const TIME_WINDOW_BYTES: u64 = 64 << 10;

/// Bytes that are looked at together with what a read may return: those before the first batch.
const LEAD_BYTES: u64 = 8 << 10;

/// What the readers of a partition share with its writer.
#[derive(Debug)]
pub(crate) struct Shared {
    start: AtomicU64,
    end: AtomicU64,
    bytes: AtomicU64,
    /// Bytes that this process has published.
    written: AtomicU64,
    segments: ArcSwap<Vec<Arc<Segment>>>,
}

impl Shared {
    pub(crate) fn new(manifest: &PartitionManifest, segments: Vec<Arc<Segment>>) -> Self {
        Self {
            start: AtomicU64::new(manifest.start.0),
            end: AtomicU64::new(manifest.next().0),
            bytes: AtomicU64::new(manifest.bytes()),
            written: AtomicU64::new(0),
            segments: ArcSwap::from_pointee(segments),
        }
    }

    /// After the segments have published their part.
    pub(crate) fn publish(&self, end: Offset, written: u64, bytes: u64) {
        self.written.store(written, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.end.store(end.0, Ordering::Release);
    }

    pub(crate) fn set_segments(&self, segments: Vec<Arc<Segment>>) {
        self.segments.store(Arc::new(segments));
    }

    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Before segments are taken from the list, so that who misses one there finds the start moved.
    pub(crate) fn set_start(&self, start: Offset) {
        self.start.store(start.0, Ordering::Release);
    }

    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }

    pub(crate) fn start(&self) -> Offset {
        Offset(self.start.load(Ordering::Acquire))
    }

    pub(crate) fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    fn out_of_range(&self, from: Offset) -> ReadError {
        ReadError::OutOfRange { from, start: self.start(), end: self.end() }
    }
}

/// A run of batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSlice {
    /// Whole batch fields (`0x0A`, length, batch), from one segment each. One behind the other they are the front of
    /// a protobuf message with `repeated RecordBatch batches = 1`.
    pub pieces: Vec<Bytes>,
    /// The first offset of the first batch: at most the one that was asked for, unless compaction left a hole there.
    /// Without any batch: the offset that was asked for.
    pub first: Offset,
    /// Where reading goes on.
    pub next: Offset,
}

impl ReadSlice {
    /// Bytes of all pieces.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// The readers' half of a partition. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PartitionReader {
    shared: Arc<Shared>,
}

impl PartitionReader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The first readable offset.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.shared.start()
    }

    /// The offset behind the last published record.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.shared.end()
    }

    /// Bytes of all segments, as of the last publication.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Whether [`read`](Self::read) from there is not expected to wait for the disk. Where it is, the read belongs on a
    /// thread that may block; it then brings the pages in before it touches them.
    #[must_use]
    pub fn is_hot(&self, from: Offset) -> bool {
        if from >= self.end() {
            return true;
        }
        let segments = self.shared.segments.load();
        segment_of(&segments, from).is_none_or(|at| {
            let segment = &segments[at];
            let written = self.shared.written.load(Ordering::Relaxed);
            segment.is_hot(segment.position_at_hand(from), written)
        })
    }

    /// The batches from the one that holds `from` on (or the first behind it, where compaction left a hole), as many
    /// as fit in `max_bytes`, but at least one, if there is any.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] below [`start`](Self::start) and above [`end`](Self::end); the others when the very
    /// first batch to return cannot be read. Good batches before damage are returned first.
    pub fn read(&self, from: Offset, max_bytes: u64) -> Result<ReadSlice, ReadError> {
        let end = self.end();
        if from < self.start() || from > end {
            return Err(self.shared.out_of_range(from));
        }
        let mut slice = ReadSlice { pieces: Vec::new(), first: from, next: from };
        let cold = !self.is_hot(from);
        let segments = self.shared.segments.load();
        let mut room = max_bytes;
        let mut at = match segment_of(&segments, from) {
            Some(at) => at,
            // Retention was faster, or the partition has no segment yet.
            None if from < end => return Err(self.shared.out_of_range(from)),
            None => return Ok(slice),
        };
        while slice.next < end && (room > 0 || slice.pieces.is_empty()) {
            let Some(segment) = segments.get(at) else { break };
            let begin = Begin { from: slice.next, end, room, cold, first: slice.pieces.is_empty() };
            match read_segment(segment, begin) {
                Ok(Part { run, whole }) => {
                    if let Some(run) = run {
                        if slice.pieces.is_empty() {
                            slice.first = run.first;
                        }
                        room = room.saturating_sub(run.piece.len() as u64);
                        slice.pieces.push(run.piece);
                        slice.next = run.next;
                    } else if whole {
                        // A hole up to the end of this segment.
                        slice.next = slice.next.max(segment.published().next.min(end));
                    }
                    if !whole {
                        break;
                    }
                }
                Err(_) if !slice.pieces.is_empty() => break,
                Err(error) => return Err(self.explain(error, from)),
            }
            at += 1;
        }
        Ok(slice)
    }

    /// The offset of the first record appended at or after `time`; [`end`](Self::end) when there is none. Where
    /// damage leaves it open, the first offset that may be it, so that nothing is passed over in silence.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let (start, end) = (self.start(), self.end());
        let segments = self.shared.segments.load();
        for segment in segments.iter() {
            let published = segment.published();
            if published.next == segment.base || published.last_time < time {
                continue;
            }
            if let Some(offset) = first_at(segment, time)? {
                return Ok(offset.clamp(start.min(end), end));
            }
        }
        Ok(end)
    }

    /// A segment that retention removed while it was being opened is not missing.
    fn explain(&self, error: ReadError, from: Offset) -> ReadError {
        let start = self.start();
        if from < start {
            return self.shared.out_of_range(from);
        }
        match error {
            ReadError::Missing { first, next } => {
                ReadError::Missing { first: first.max(start), next }
            }
            error => error,
        }
    }
}

/// The segment that holds `offset`, or would.
fn segment_of(segments: &[Arc<Segment>], offset: Offset) -> Option<usize> {
    segments.partition_point(|segment| segment.base <= offset).checked_sub(1)
}

/// Where and how a read goes on in a segment.
#[derive(Clone, Copy, Debug)]
struct Begin {
    from: Offset,
    end: Offset,
    room: u64,
    cold: bool,
    /// Nothing has been read yet: one batch is returned whatever its size.
    first: bool,
}

/// Batches of one segment.
struct Run {
    piece: Bytes,
    first: Offset,
    next: Offset,
}

/// What a read found in one segment.
struct Part {
    run: Option<Run>,
    /// The segment has no more.
    whole: bool,
}

fn read_segment(segment: &Segment, begin: Begin) -> Result<Part, ReadError> {
    let content = segment.content()?;
    let place = segment.place_of(&content, begin.from)?;
    let window = begin.room.saturating_add(LEAD_BYTES);
    let mut walk = Walk::new(segment, &content, place, window, begin.cold);
    // An older manifest may end a rewritten segment earlier than the file does.
    let end = begin.end.min(segment.published().next);

    let mut run: Option<(Range<u64>, Offset, Offset)> = None;
    let mut whole = false;
    loop {
        match walk.step(Trust::Checksum)? {
            Some(Step::Batch(found)) => {
                let next = found.head.next_offset();
                if next <= begin.from {
                    continue;
                }
                if found.head.base_offset >= end {
                    whole = true;
                    break;
                }
                let bytes =
                    found.field.end - run.as_ref().map_or(found.field.start, |run| run.0.start);
                if bytes > begin.room && !(begin.first && run.is_none()) {
                    break;
                }
                match &mut run {
                    Some((range, _, run_next)) => {
                        range.end = found.field.end;
                        *run_next = next;
                    }
                    None => run = Some((found.field, found.head.base_offset, next)),
                }
            }
            Some(Step::Damage(damage)) if damage.lost.end <= begin.from => {}
            Some(Step::Damage(damage)) if run.is_none() => return Err(as_error(segment, damage)),
            Some(Step::Damage(_)) => break,
            None => {
                whole = true;
                break;
            }
        }
    }
    let run = match run {
        Some((range, first, next)) => Some(Run { piece: walk.bytes(range)?, first, next }),
        None => None,
    };
    Ok(Part { run, whole })
}

fn as_error(segment: &Segment, damage: Damage) -> ReadError {
    segment.damaged_range(damage.file_position, damage.lost, damage.reason)
}

/// The first offset of `segment` that was, or may have been, appended at or after `time`.
fn first_at(segment: &Segment, time: Timestamp) -> Result<Option<Offset>, ReadError> {
    let content: Arc<Content> = match segment.content() {
        Ok(content) => content,
        Err(error @ ReadError::Io { .. }) => return Err(error),
        // Reading from here says what is wrong.
        Err(_) => return Ok(Some(segment.base)),
    };
    let place = segment.place_at(&content, time)?;
    let mut walk = Walk::new(segment, &content, place, TIME_WINDOW_BYTES, true);
    let mut doubtful = None;
    while let Some(step) = walk.step(Trust::Checksum)? {
        match step {
            Step::Batch(found) if found.head.append_time >= time => {
                return Ok(Some(doubtful.unwrap_or(found.head.base_offset)));
            }
            // Time never goes back: what was damaged before this batch is older still.
            Step::Batch(_) => doubtful = None,
            Step::Damage(damage) => {
                doubtful.get_or_insert(damage.lost.start);
            }
        }
    }
    Ok(doubtful)
}
