//! What the files beside a damaged commit log still tell.
//!
//! Segments are written with the log, so where frames are lost they may show which offsets had been given out. They are
//! looked at before recovery changes anything.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;

use embermq_storage::Offset;
use embermq_storage::disk::Disk;
use embermq_storage::segment::verify_segment;

use crate::topic::{PartitionId, TopicId};

/// The offset behind the last good batch in each partition's last segment. Reads one segment per partition.
pub(super) fn ends_in_segments(
    disk: &dyn Disk,
    topics_dir: &Path,
) -> io::Result<BTreeMap<(TopicId, PartitionId), Offset>> {
    let mut ends = BTreeMap::new();
    for topic in names(disk, topics_dir)? {
        let Ok(id) = topic.parse() else { continue };
        for partition in names(disk, &topics_dir.join(&topic))? {
            let Ok(number) = partition.parse() else { continue };
            let dir = topics_dir.join(&topic).join(&partition);
            let segments = names(disk, &dir)?.into_iter().filter(|name| name.ends_with(".seg"));
            if let Some(last) = segments.max() {
                let end = verify_segment(disk, &dir.join(last))?.next;
                ends.insert((TopicId(id), PartitionId(number)), end);
            }
        }
    }
    Ok(ends)
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
