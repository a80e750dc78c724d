//! Which partitions were asked about keys last: their tables stay, those of the others are let go. And how
//! many may ask at a time.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::topic::Partition;

/// Partitions whose tables are kept. Each may have as many maps as it has segments.
const PARTITIONS_MAX: usize = 256;
/// Memory that their tables may take together, beside that of the partition asked last.
const MEMORY_BYTES_MAX: u64 = 128 << 20;

/// How often their memory is looked at, in questions.
const LOOK_EVERY: u32 = 64;

/// Questions that are answered at the same time over all partitions: each takes a blocking thread, and reads, settlements
/// and all else that blocks needs some too.
pub(super) const TURNS: usize = 32;

/// The partitions that were asked last, the latest first, and whose turn it is to ask.
#[derive(Debug)]
pub(crate) struct KeyShelf {
    row: Mutex<Row>,
    pub(super) turns: Arc<Semaphore>,
}

impl Default for KeyShelf {
    fn default() -> Self {
        Self { row: Mutex::default(), turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

#[derive(Debug, Default)]
struct Row {
    partitions: Vec<Weak<Partition>>,
    /// Questions since their memory was looked at.
    questions: u32,
}

impl KeyShelf {
    /// Notes a question that was answered.
    pub(super) fn note(&self, partition: &Arc<Partition>) {
        let gone = self.row.lock().note(partition);
        for partition in gone.iter().filter_map(Weak::upgrade) {
            partition.keys.tables.forget();
        }
    }
}

impl Row {
    /// Gives those whose tables go.
    fn note(&mut self, partition: &Arc<Partition>) -> Vec<Weak<Partition>> {
        let is_it = |other: &Weak<Partition>| other.as_ptr() == Arc::as_ptr(partition);
        let is_new = match self.partitions.iter().position(is_it) {
            Some(at) => {
                self.partitions[..=at].rotate_right(1);
                false
            }
            None => {
                self.partitions.insert(0, Arc::downgrade(partition));
                true
            }
        };
        self.questions += 1;
        if !is_new && self.questions < LOOK_EVERY {
            return Vec::new();
        }
        self.questions = 0;
        self.partitions.retain(|other| other.strong_count() > 0);
        let kept = self.kept();
        self.partitions.split_off(kept)
    }

    /// How many of them may keep their tables.
    fn kept(&self) -> usize {
        let mut memory_bytes = 0;
        let fits = |other: &&Weak<Partition>| {
            memory_bytes += other.upgrade().map_or(0, |other| other.keys.tables.memory_bytes());
            memory_bytes <= MEMORY_BYTES_MAX
        };
        let others = self.partitions.iter().skip(1).take(PARTITIONS_MAX - 1).take_while(fits);
        (1 + others.count()).min(self.partitions.len())
    }
}
