//! What the files beside a damaged commit log still tell.
//!
//! Segments are written with the log, so where frames are lost they may show which offsets had been given out. They are
//! looked at before recovery changes anything.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

use embermq_storage::Offset;
use embermq_storage::disk::Disk;
use embermq_storage::partition::PartitionManifest;
use embermq_storage::segment::verify_segment;

use crate::topic::{PartitionId, TopicId};

/// The offset behind the last good batch of each partition in the segments that `manifests` do not know as finished:
/// those that were found, and those that an earlier opening moved aside. Reads them all.
pub(super) fn ends_in_segments(
    disk: &dyn Disk,
    topics_dir: &Path,
    manifests: &BTreeMap<(TopicId, PartitionId), PartitionManifest>,
) -> io::Result<BTreeMap<(TopicId, PartitionId), Offset>> {
    let mut ends = BTreeMap::new();
    for topic in names(disk, topics_dir)? {
        let Ok(id) = topic.parse() else { continue };
        for partition in names(disk, &topics_dir.join(&topic))? {
            let Ok(number) = partition.parse() else { continue };
            let place = (TopicId(id), PartitionId(number));
            let last = manifests.get(&place).and_then(|manifest| manifest.segments.last());
            let from = last.map_or(Offset(0), |segment| segment.base);
            let dir = topics_dir.join(&topic).join(&partition);
            for name in names(disk, &dir)? {
                if base_of(&name).is_some_and(|base| base >= from) {
                    let end = verify_segment(disk, &dir.join(name))?.next;
                    let reached = ends.entry(place).or_insert(end);
                    *reached = end.max(*reached);
                }
            }
        }
    }
    Ok(ends)
}

/// The first offset of a segment, from its name.
fn base_of(name: &str) -> Option<Offset> {
    let name = name.strip_suffix(".kept").unwrap_or(name);
    name.strip_suffix(".seg")?.parse().ok().map(Offset)
}

/// Whether there is anything of a topic.
pub(super) fn has_topics(disk: &dyn Disk, topics_dir: &Path) -> io::Result<bool> {
    Ok(names(disk, topics_dir)?.iter().any(|name| name.parse::<u32>().is_ok()))
}

/// What a folder holds; nothing when it is not there, or is none.
pub(super) fn names(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    match disk.list(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        listed => listed,
    }
}
