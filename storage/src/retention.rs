//! Which records a partition may let go, decided from facts alone: no clock, no file.
//!
//! Only whole segments go. By age, a segment goes when its newest record is old enough; by size, when what
//! remains without it still holds the bytes that are to be kept. So a record within the limits is never lost, and
//! a partition holds at most one segment more than it has to.

use crate::names::{Offset, Timestamp};
use crate::partition::PartitionManifest;

/// What a partition keeps. Without any limit it keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Microseconds after which a record may go.
    pub age_us: Option<u64>,
    /// Bytes that are kept at least, if there are as many.
    pub bytes: Option<u64>,
}

/// The first offset to keep at the time `now`; never below the partition's start, never above its end. The newest
/// segment only ever goes by age.
#[must_use]
pub fn new_start(partition: &PartitionManifest, now: Timestamp, limits: RetentionLimits) -> Offset {
    let mut start = partition.start;
    let mut kept_bytes: u64 = partition.segments.iter().map(|segment| segment.bytes).sum();
    let newest = partition.segments.len().saturating_sub(1);
    for (at, segment) in partition.segments.iter().enumerate() {
        let without = kept_bytes.saturating_sub(segment.bytes);
        let expired = limits.age_us.is_some_and(|age_us| {
            now.0.saturating_sub(segment.last_time.0) >= i64::try_from(age_us).unwrap_or(i64::MAX)
        });
        let surplus = at < newest && limits.bytes.is_some_and(|bytes| without >= bytes);
        if segment.next > segment.base && !expired && !surplus {
            break;
        }
        kept_bytes = without;
        start = start.max(segment.next);
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::SegmentMeta;

    const NOW: Timestamp = Timestamp(1_000);

    fn partition() -> PartitionManifest {
        let segment = |base: u64, next: u64, bytes, last_time| SegmentMeta {
            base: Offset(base),
            next: Offset(next),
            bytes,
            first_time: Timestamp(0),
            last_time: Timestamp(last_time),
            sealed: true,
        };
        PartitionManifest {
            start: Offset(3),
            segments: vec![
                segment(0, 10, 100, 100),
                segment(10, 20, 100, 200),
                segment(20, 30, 50, 900),
            ],
        }
    }

    fn start(age_us: Option<u64>, bytes: Option<u64>) -> u64 {
        new_start(&partition(), NOW, RetentionLimits { age_us, bytes }).0
    }

    #[test]
    fn without_limits_everything_stays() {
        assert_eq!(start(None, None), 3);
    }

    #[test]
    fn by_age_a_segment_goes_with_its_newest_record() {
        assert_eq!(start(Some(901), None), 3);
        assert_eq!(start(Some(900), None), 10);
        assert_eq!(start(Some(800), None), 20);
        assert_eq!(start(Some(100), None), 30);
        assert_eq!(start(Some(u64::MAX), None), 3);
    }

    #[test]
    fn by_bytes_what_remains_still_holds_the_limit() {
        assert_eq!(start(None, Some(151)), 3);
        assert_eq!(start(None, Some(150)), 10);
        assert_eq!(start(None, Some(51)), 10);
        assert_eq!(start(None, Some(50)), 20);
        assert_eq!(start(None, Some(0)), 20);
    }

    #[test]
    fn an_old_segment_behind_a_young_one_stays() {
        let mut partition = partition();
        partition.segments[0].last_time = Timestamp(990);
        let limits = RetentionLimits { age_us: Some(500), bytes: None };
        assert_eq!(new_start(&partition, NOW, limits), Offset(3));
    }

    #[test]
    fn an_empty_partition_keeps_its_start() {
        let partition = PartitionManifest { start: Offset(7), segments: Vec::new() };
        let limits = RetentionLimits { age_us: Some(0), bytes: Some(0) };
        assert_eq!(new_start(&partition, NOW, limits), Offset(7));
    }
}
