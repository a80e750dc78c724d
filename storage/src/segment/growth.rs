//! Allocation ahead of need.
//!
//! Space is allocated by a job on another thread, half a step before it is needed; the committer does it itself only
//! when the job was late. Either holds the lock of the segment's growth meanwhile, because a failed allocation sets
//! the file back to the length it found.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::disk::DiskFile;
use crate::segment::{Segment, SegmentError};

/// How far a segment's file is allocated.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    allocated: AtomicU64,
    /// The segment is finished: its file keeps its length from now on.
    closed: AtomicBool,
    job: AtomicBool,
    lock: Mutex<()>,
}

impl Growth {
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Acquire)
    }

    pub(crate) fn set_allocated(&self, len: u64) {
        self.allocated.store(len, Ordering::Release);
    }

    /// No allocation starts after this.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Waits for an allocation that is under way.
    pub(crate) fn settle(&self) -> MutexGuard<'_, ()> {
        self.lock.lock()
    }
}

impl Segment {
    /// Allocates the file up to `target` bytes, unless that has been done.
    pub(crate) fn grow(&self, file: &dyn DiskFile, target: u64) -> Result<(), SegmentError> {
        let _lock = self.growth.lock.lock();
        let allocated = self.growth.allocated();
        if allocated >= target || self.growth.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        file.allocate(target).map_err(|e| {
            SegmentError::of(self.home.disk.as_ref(), &self.path, target - allocated, e)
        })?;
        self.growth.set_allocated(target);
        Ok(())
    }

    /// A job when less than half a step is left behind `staged_end` and none is under way.
    pub(crate) fn grow_job(
        self: &Arc<Self>,
        file: &Arc<dyn DiskFile>,
        staged_end: u64,
        range: u64,
    ) -> Option<GrowJob> {
        let allocated = self.growth.allocated();
        let target = self.home.options.next_allocation(allocated, 0, range);
        let due =
            target > allocated && allocated.saturating_sub(staged_end) < (target - allocated) / 2;
        if !due || self.growth.job.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(GrowJob { segment: self.clone(), file: file.clone(), target })
    }
}

/// Allocates the next step of a growing segment. Runs on another thread than the committer's.
#[derive(Debug)]
pub struct GrowJob {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    target: u64,
}

impl GrowJob {
    /// Allocates.
    ///
    /// # Errors
    /// [`SegmentError::Full`] or [`SegmentError::Io`]. Nothing needs to be done about it: the reservation that
    /// finds the space missing tries again, and reports.
    pub fn run(self) -> Result<(), SegmentError> {
        self.segment.grow(self.file.as_ref(), self.target)
    }
}

impl Drop for GrowJob {
    fn drop(&mut self) {
        self.segment.growth.job.store(false, Ordering::Release);
    }
}
