//! Segments: the files that readers read.
//!
//! A sealed segment file is one protobuf message:
//!
//! ```text
//! Segment { SegmentHeader header = 2; repeated RecordBatch batches = 1; bytes padding = 15; }
//!
//! 0x12 padded length  header                      whose it is, and its random epoch
//! 0x0A padded length  batch: head (56 bytes), body     any number of times; see the module batch
//! 0x7A padded length  zeroes                      what was allocated and not used, when the segment is sealed
//! ```
//!
//! How one lives:
//!
//! - It is *derived*: everything in it is in the commit log, so it is written behind the log and synced only before
//!   a snapshot lets the log be trimmed. Its end comes from that snapshot's manifest, never from a scan.
//! - It is mapped read-only once, over its whole range, and written with `pwrite` into space that was allocated
//!   ahead in steps. Nobody touches a mapped byte that is not allocated and published.
//! - What is published is never written again. `published <= taken for writing <= staged <= allocated <= range`.
//! - The mark that readers go by is an atomic number; they take no lock to read batches, and a short one to find
//!   their place in the index of the segment that grows.
//! - A sealed one is opened when somebody reads it. Its file may be gone, short or damaged: the reader is told which
//!   offsets are lost, and the others stay readable.

mod content;
mod error;
pub(crate) mod field;
mod growth;
pub(crate) mod header;
mod lookup;
pub(crate) mod seal;
pub(crate) mod staged;
mod sync;
mod verify;
pub(crate) mod walk;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::names::{Offset, Timestamp};

pub(crate) use content::Content;
pub use error::{ReadError, SegmentDamage, SegmentError};
pub use growth::GrowJob;
pub use header::{HeaderDamage, PartitionIdentity, Rewritten, SegmentHeader};
pub use seal::{JobResult, SegmentJob};
pub use staged::SegmentWrite;
pub use verify::{DamagedRange, SegmentReport, verify_segment};

pub(crate) use sync::sync_in_steps;

use growth::Growth;
use lookup::Lookup;

/// Sizes of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Bytes of a segment file. A batch that is larger gets a segment of its own size.
    pub segment_bytes: u64,
    /// Bytes that a new segment allocates.
    pub first_step_bytes: u64,
    /// Bytes that a segment allocates at once, at most; the steps double up to here.
    pub step_bytes_max: u64,
    /// Bytes of a segment per index entry.
    pub index_interval_bytes: u64,
    /// What was written last, and is taken to be in memory still.
    pub hot_bytes: u64,
    /// Files that are found are neither removed nor written, whatever a manifest says of them: where the commit log is
    /// damaged, they may hold the only copy. New segments are written beside them.
    pub keep_found: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            first_step_bytes: 256 << 10,
            step_bytes_max: 16 << 20,
            index_interval_bytes: 4 << 10,
            hot_bytes: 64 << 20,
            keep_found: false,
        }
    }
}

impl SegmentOptions {
    /// Positions in the index are 32 bits wide.
    pub(crate) const RANGE_BYTES_MAX: u64 = 1 << 31;

    pub(crate) fn range_bytes(&self) -> u64 {
        self.segment_bytes.min(Self::RANGE_BYTES_MAX)
    }

    /// The length to allocate next for a file of `allocated` bytes that needs `needed`, within `range`.
    pub(crate) fn next_allocation(&self, allocated: u64, needed: u64, range: u64) -> u64 {
        let mut len = allocated;
        while len < needed.max(allocated + 1) {
            let first = self.first_step_bytes.max(1);
            len += len.clamp(first, self.step_bytes_max.max(first));
        }
        len.min(range).max(needed)
    }
}

/// What stays the same for all segments of a partition.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) identity: PartitionIdentity,
    pub(crate) options: SegmentOptions,
}

impl Home {
    pub(crate) fn segment_path(&self, base: Offset) -> PathBuf {
        self.dir.join(segment_name(base))
    }

    pub(crate) fn index_path(&self, base: Offset) -> PathBuf {
        self.dir.join(index_name(base))
    }

    pub(crate) fn keys_path(&self, base: Offset) -> PathBuf {
        self.dir.join(keys_name(base))
    }
}

/// Behind the name of a segment that was found where a new one had to go.
pub(crate) const KEPT_SUFFIX: &str = ".kept";

pub(crate) fn segment_name(base: Offset) -> String {
    format!("{:020}.seg", base.0)
}

pub(crate) fn index_name(base: Offset) -> String {
    format!("{:020}.idx", base.0)
}

pub(crate) fn keys_name(base: Offset) -> String {
    format!("{:020}.keys", base.0)
}

/// Every name that a segment may have files under.
pub(crate) fn names_of(base: Offset) -> [String; 3] {
    [segment_name(base), index_name(base), keys_name(base)]
}

/// One segment, as its readers and its writer share it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) home: Arc<Home>,
    pub(crate) base: Offset,
    pub(crate) path: PathBuf,
    mark: Mark,
    content: ArcSwapOption<Content>,
    opening: Mutex<()>,
    lookup: Lookup,
    pub(crate) growth: Growth,
    heat: Heat,
    /// Retention dropped it: nothing of it is to be made durable any more.
    retired: AtomicBool,
    /// Its file was not there when the partition was recovered.
    absent: AtomicBool,
}

/// How far readers may go. Written by the committer alone: `end` first, then the partition's own end, which readers
/// load before it.
#[derive(Debug)]
struct Mark {
    end: AtomicU64,
    next: AtomicU64,
    last_time: AtomicI64,
}

/// Which bytes of a segment were written by this process, counted through all segments of its partition.
#[derive(Debug)]
struct Heat {
    /// Bytes that the partition had written when byte 0 of this segment's file would have been written.
    born_at: i64,
    /// Position from which on this process wrote the segment.
    written_from: u64,
}

/// What is published of a segment at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The position behind the last batch.
    pub(crate) end: u64,
    /// The offset behind the last record.
    pub(crate) next: Offset,
    /// When the last batch was appended; of an empty segment: when the batch before was.
    pub(crate) last_time: Timestamp,
}

impl Segment {
    /// A segment of which `published` can be read once it is opened.
    pub(crate) fn recovered(home: &Arc<Home>, base: Offset, published: Published) -> Self {
        let heat = Heat {
            born_at: 0_i64.wrapping_sub_unsigned(published.end),
            written_from: published.end,
        };
        Self::new(home, base, published, Lookup::unknown(base, &home.options, published.end), heat)
    }

    /// A segment that is about to be written, when the partition has written `written` bytes.
    pub(crate) fn created(
        home: &Arc<Home>,
        base: Offset,
        published: Published,
        written: u64,
    ) -> Self {
        let heat = Heat { born_at: 0_i64.wrapping_add_unsigned(written), written_from: 0 };
        Self::new(home, base, published, Lookup::empty(base, &home.options), heat)
    }

    fn new(
        home: &Arc<Home>,
        base: Offset,
        published: Published,
        lookup: Lookup,
        heat: Heat,
    ) -> Self {
        Self {
            home: home.clone(),
            base,
            path: home.segment_path(base),
            mark: Mark {
                end: AtomicU64::new(published.end),
                next: AtomicU64::new(published.next.0),
                last_time: AtomicI64::new(published.last_time.0),
            },
            content: ArcSwapOption::empty(),
            opening: Mutex::new(()),
            lookup,
            growth: Growth::default(),
            heat,
            retired: AtomicBool::new(false),
            absent: AtomicBool::new(false),
        }
    }

    /// Lets readers see everything below `published`, which was written before.
    pub(crate) fn publish(&self, published: Published) {
        self.mark.last_time.store(published.last_time.0, Ordering::Relaxed);
        self.mark.next.store(published.next.0, Ordering::Relaxed);
        self.mark.end.store(published.end, Ordering::Release);
    }

    pub(crate) fn published(&self) -> Published {
        let end = self.mark.end.load(Ordering::Acquire);
        Published {
            end,
            next: Offset(self.mark.next.load(Ordering::Relaxed)),
            last_time: Timestamp(self.mark.last_time.load(Ordering::Relaxed)),
        }
    }

    /// Whether the bytes from `position` on are taken to be in memory, when the partition has written `written`.
    pub(crate) fn is_hot(&self, position: u64, written: u64) -> bool {
        let behind = i128::from(written) - i128::from(self.heat.born_at) - i128::from(position);
        position >= self.heat.written_from && behind <= i128::from(self.home.options.hot_bytes)
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn set_absent(&self) {
        self.absent.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.absent.load(Ordering::Relaxed)
    }

    /// Whether it only stands for offsets that were given up: it never had a file, and holds nothing.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_absent() && self.published().end == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_up_to_their_limit_and_stay_in_the_range() {
        let options = SegmentOptions {
            first_step_bytes: 10,
            step_bytes_max: 40,
            ..SegmentOptions::default()
        };
        let mut steps = vec![options.next_allocation(0, 1, 150)];
        while let Some(last) = steps.last().copied().filter(|last| *last < 150) {
            steps.push(options.next_allocation(last, 0, 150));
        }
        assert_eq!(steps, [10, 20, 40, 80, 120, 150]);
        assert_eq!(options.next_allocation(10, 95, 150), 120);
        assert_eq!(options.next_allocation(0, 145, 150), 150);
    }
}
