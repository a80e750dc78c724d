//! Which partitions were asked about keys last: their tables stay, those of the others are let go.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::topic::Partition;

/// Partitions whose tables are kept. Each may have as many maps as it has segments.
const PARTITIONS_MAX: usize = 256;
/// Memory that their tables may take together, beside that of the partition asked last.
const MEMORY_BYTES_MAX: u64 = 128 << 20;

/// The partitions that were asked last, the latest first.
#[derive(Debug, Default)]
pub(crate) struct KeyShelf(Mutex<Vec<Weak<Partition>>>);

impl KeyShelf {
    /// Notes a question that was answered.
    pub(super) fn note(&self, partition: &Arc<Partition>) {
        let gone = {
            let mut shelf = self.0.lock();
            let place = shelf.iter().position(|other| other.as_ptr() == Arc::as_ptr(partition));
            if place == Some(0) && shelf.len() == 1 {
                return;
            }
            match place {
                Some(at) => shelf[..=at].rotate_right(1),
                None => shelf.insert(0, Arc::downgrade(partition)),
            }
            shelf.retain(|other| other.strong_count() > 0);
            let kept = kept(&shelf);
            shelf.split_off(kept)
        };
        for partition in gone.iter().filter_map(Weak::upgrade) {
            partition.keys.tables.forget();
        }
    }
}

/// How many of them may keep their tables.
fn kept(shelf: &[Weak<Partition>]) -> usize {
    let mut memory_bytes = 0;
    let fits = |other: &&Weak<Partition>| {
        memory_bytes += other.upgrade().map_or(0, |other| other.keys.tables.memory_bytes());
        memory_bytes <= MEMORY_BYTES_MAX
    };
    let others = shelf.iter().skip(1).take(PARTITIONS_MAX - 1).take_while(fits).count();
    (1 + others).min(shelf.len())
}
