//! Bytes on their way into a segment.
//!
//! What a group stages for one segment is one vectored write. The buffers are kept by the process, a few of them,
//! so that a busy partition does not fault in fresh memory for every group.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::DiskFile;
use crate::gather::Gather;
use crate::names::Offset;

/// Buffers that wait for the next group, whoever it is from. What each keeps is bounded by [`Gather::clear`].
static SPARE: Mutex<Vec<Gather>> = Mutex::new(Vec::new());

const SPARE_MAX: usize = 4;

/// An empty buffer.
pub(crate) fn spare_gather() -> Gather {
    SPARE.lock().pop().unwrap_or_default()
}

/// A batch that was staged against the rules. The write that would carry it fails instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StageFault {
    #[error("a batch was staged that no reservation had made room for")]
    NotReserved,
    #[error("a batch from offset {found} was staged, the partition is at {expected}")]
    OutOfOrder { expected: Offset, found: Offset },
}

/// One write to a segment: what was staged since the last. Runs on any thread, before the partition publishes.
#[derive(Debug)]
pub struct SegmentWrite {
    pub(crate) path: PathBuf,
    /// The file, unless what was staged must not be written.
    pub(crate) target: Result<Arc<dyn DiskFile>, StageFault>,
    pub(crate) position: u64,
    pub(crate) gather: Gather,
}

impl SegmentWrite {
    /// Bytes to write.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.gather.len()
    }

    /// Writes. Nothing is durable by that.
    ///
    /// # Errors
    /// What the disk says; `InvalidInput` when a batch was staged without a reservation or out of order. Final:
    /// what was staged must not be published.
    pub fn run(&self) -> io::Result<()> {
        match &self.target {
            Ok(file) => self.gather.write_to(file.as_ref(), self.position),
            Err(fault) => {
                let error = format!("{}: {fault}", self.path.display());
                Err(io::Error::new(io::ErrorKind::InvalidInput, error))
            }
        }
    }
}

impl Drop for SegmentWrite {
    fn drop(&mut self) {
        let mut gather = std::mem::take(&mut self.gather);
        gather.clear();
        let mut spare = SPARE.lock();
        if spare.len() < SPARE_MAX {
            spare.push(gather);
        }
    }
}
