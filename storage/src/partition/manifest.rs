//! What a snapshot remembers of a partition's segments. Plain data: who keeps it decides how it is written.

use crate::names::{Offset, Timestamp};

/// The segments of a partition at some moment, and where its readable records start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionManifest {
    /// The first readable offset. Without any segment it is also the next one.
    pub start: Offset,
    /// In order of their offsets, each starting where the one before ends.
    pub segments: Vec<SegmentMeta>,
}

/// One segment in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// The first offset; it names the file.
    pub base: Offset,
    /// The offset behind the last one.
    pub next: Offset,
    /// Where the batches end, in bytes of the file. The file may be longer.
    pub bytes: u64,
    /// When the first batch was appended; of an empty segment: when the batch before was.
    pub first_time: Timestamp,
    /// When the last batch was appended.
    pub last_time: Timestamp,
    /// Padding and index are written: the file never changes again, other than by compaction as a whole.
    pub sealed: bool,
}

impl PartitionManifest {
    /// The offset behind the last record.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.segments.last().map_or(self.start, |segment| segment.next.max(self.start))
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}
