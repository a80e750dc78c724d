//! The segments of a data folder, each byte of them, against what the newest snapshot says that they held.
//!
//! Segments are written behind the log and synced only before a snapshot. So what the snapshot's manifests cover
//! must be whole, while what lies behind is the log's to keep: a crash may leave it torn, and the next start writes
//! it again.

use std::collections::BTreeMap;
use std::path::Path;

use embermq_storage::Position;
use embermq_storage::disk::Disk;
use embermq_storage::partition::{PartitionManifest, SegmentMeta};
use embermq_storage::segment::{DamagedRange, SegmentReport, verify_segment};

use super::audit::{Audit, AuditError, Place, names_in};

/// What the newest readable snapshot says.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Where it stands in the log; 0 without a snapshot, which is where a log begins.
    pub(super) position: Position,
    /// The segments of each partition, by topic and partition number.
    pub(super) partitions: BTreeMap<(u32, u32), PartitionManifest>,
    /// There are commits behind it, which may have deleted or rewritten segments since.
    pub(super) log_follows: bool,
    /// Nothing is known: no segment's damage can be told from what a crash leaves.
    pub(super) everything_counts: bool,
}

/// Checks every segment file below `topics`.
pub(super) fn check_segments(
    disk: &dyn Disk,
    topics: &Path,
    known: &Known,
    audit: &mut Audit,
) -> Result<(), AuditError> {
    let mut unseen = known.partitions.clone();
    for topic in names_in(disk, topics)? {
        let Ok(topic_number) = topic.parse::<u32>() else { continue };
        for partition in names_in(disk, &topics.join(&topic))? {
            let Ok(number) = partition.parse::<u32>() else { continue };
            let dir = topics.join(&topic).join(&partition);
            let manifest = unseen.remove(&(topic_number, number)).unwrap_or_default();
            check_partition(disk, &dir, &manifest, known, audit)?;
        }
    }
    for ((topic, partition), manifest) in unseen {
        let dir = topics.join(topic.to_string()).join(partition.to_string());
        check_partition(disk, &dir, &manifest, known, audit)?;
    }
    Ok(())
}

fn check_partition(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &PartitionManifest,
    known: &Known,
    audit: &mut Audit,
) -> Result<(), AuditError> {
    let mut missing: BTreeMap<u64, &SegmentMeta> =
        manifest.segments.iter().map(|meta| (meta.base.0, meta)).collect();
    let mut first_present = u64::MAX;
    for name in names_in(disk, dir)? {
        let Some(base) = name.strip_suffix(".seg").and_then(|digits| digits.parse::<u64>().ok())
        else {
            continue;
        };
        first_present = first_present.min(base);
        let path = dir.join(&name);
        let report = verify_segment(disk, &path)
            .map_err(|source| AuditError::Io { path: path.clone(), source })?;
        audit.tally.segments += 1;
        audit.tally.batches += report.batches;
        audit.tally.records += report.records;
        check_segment(&report, missing.remove(&base), known, audit);
    }
    for (base, meta) in missing {
        // An empty segment has no file that must be there.
        if meta.next == meta.base {
            continue;
        }
        let place = Place {
            file: dir.join(format!("{base:020}.seg")),
            byte: None,
            what: format!("the segment with offsets {base} to {} is missing", meta.next),
        };
        // Since the snapshot, retention may have removed the oldest ones, or somebody the whole topic; the log says.
        let may_be_deleted = known.log_follows && base < first_present;
        if may_be_deleted {
            audit.repairable.push(Place {
                what: format!("{}; the log behind the snapshot may have deleted it", place.what),
                ..place
            });
        } else {
            audit.damage.push(place);
        }
    }
    Ok(())
}

fn check_segment(
    report: &SegmentReport,
    meta: Option<&SegmentMeta>,
    known: &Known,
    audit: &mut Audit,
) {
    let rewritten = report.header.as_ref().is_some_and(|header| header.rewritten.is_some());
    let durable_bytes = match meta {
        _ if rewritten || known.everything_counts => u64::MAX,
        Some(meta) if meta.sealed => u64::MAX,
        Some(meta) => meta.bytes,
        None => 0,
    };
    for range in &report.damage {
        let place = place_of(&report.file, range);
        if range.file_position < durable_bytes {
            audit.damage.push(place);
        } else {
            audit.repairable.push(Place {
                what: format!("{}; the next start writes it again from the log", place.what),
                ..place
            });
        }
    }
    // Lost pages read as zeroes, which look like the unused rest of a segment that still grows.
    if let Some(meta) = meta
        && !rewritten
        && report.damage.is_empty()
        && report.next < meta.next
    {
        audit.damage.push(Place {
            file: report.file.clone(),
            byte: Some(report.end),
            what: format!(
                "the batches end at offset {}, they were durable up to {}",
                report.next, meta.next
            ),
        });
    }
}

fn place_of(file: &Path, range: &DamagedRange) -> Place {
    let lost = if range.next > range.first {
        format!("; offsets {} to {} are lost", range.first, range.next)
    } else {
        format!("; from offset {} on", range.first)
    };
    Place {
        file: file.to_path_buf(),
        byte: Some(range.file_position),
        what: format!("{}{lost}, up to byte {}", range.reason, range.file_end),
    }
}
