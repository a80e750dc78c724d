//! Sealing: what makes a finished segment a whole protobuf message, with its index beside it.
//!
//! The rest of the file becomes a padding field (a single byte left over grows the file by a block first), its whole
//! blocks are given back, the index is written, and the file and its name are synced. A crash in between loses
//! nothing: the batches stay where they are, and sealing again gives the same bytes.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::segment::field::padding_front;
use crate::segment::{Content, ReadError, Segment, SegmentError, sync_in_steps};

/// Bytes by which a file grows that has a single byte left.
const BLOCK_BYTES: u64 = 4_096;

/// Work on a segment that need not be done at once. Runs on another thread than the committer's.
#[derive(Debug)]
#[non_exhaustive]
pub enum SegmentJob {
    /// Seals a finished segment.
    Seal(SealJob),
}

impl SegmentJob {
    /// Does the work. The result goes back to the partition it came from.
    #[must_use]
    pub fn run(self) -> JobResult {
        match self {
            Self::Seal(job) => {
                let outcome = job.seal();
                JobResult { segment: job.segment, file: job.file, outcome }
            }
        }
    }
}

/// What became of a [`SegmentJob`].
#[derive(Debug)]
pub struct JobResult {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Option<Arc<dyn DiskFile>>,
    pub(crate) outcome: Result<Sealed, SegmentError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    Done,
    /// The file is gone, short or damaged, or retention dropped it: there is nothing to seal.
    Unsealable,
}

/// Seals one segment.
#[derive(Debug)]
pub struct SealJob {
    segment: Arc<Segment>,
    /// The writer's file; a segment of an earlier process is opened.
    file: Option<Arc<dyn DiskFile>>,
}

impl SealJob {
    pub(crate) const fn new(segment: Arc<Segment>, file: Option<Arc<dyn DiskFile>>) -> Self {
        Self { segment, file }
    }

    fn seal(&self) -> Result<Sealed, SegmentError> {
        let segment = &self.segment;
        if segment.is_retired() {
            return Ok(Sealed::Unsealable);
        }
        let content = match segment.content() {
            Ok(content) => content,
            Err(ReadError::Io { source, .. }) => return Err(self.failed(0, source)),
            Err(_) => return Ok(Sealed::Unsealable),
        };
        if content.rewritten.is_some() {
            return Ok(Sealed::Done);
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => match segment.home.disk.open(&segment.path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Sealed::Unsealable),
                Err(e) => return Err(self.failed(0, e)),
            },
        };
        let _settled = segment.growth.settle();
        let end = segment.published().end;
        let mut len = file.len().map_err(|e| self.failed(0, e))?;
        if len < end {
            return Ok(Sealed::Unsealable);
        }
        if len - end == 1 {
            len += BLOCK_BYTES;
            file.allocate(len).map_err(|e| self.failed(BLOCK_BYTES, e))?;
        }
        if len > end {
            let front = padding_front(len - end);
            let zeroes = end + front.len() as u64;
            file.write_at(end, &[IoSlice::new(&front)]).map_err(|e| self.failed(0, e))?;
            file.punch(zeroes..len).map_err(|e| self.failed(0, e))?;
        }
        sync_in_steps(file.as_ref()).map_err(|e| self.failed(0, e))?;
        self.write_index(&content)?;
        Ok(Sealed::Done)
    }

    /// Writes the index file and makes its name durable.
    fn write_index(&self, content: &Content) -> Result<(), SegmentError> {
        let segment = &self.segment;
        let disk = segment.home.disk.as_ref();
        let path = segment.home.index_path(segment.base);
        // An index that cannot be made now is made by the reader that needs it.
        let Ok(entries) = segment.index_entries(content) else { return Ok(()) };
        let bytes = segment.index_origin(content).encode(&entries);
        let fail = |e| SegmentError::of(disk, &path, bytes.len() as u64, e);
        match disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
            _ => {}
        }
        let file = disk.create(&path).map_err(fail)?;
        file.write_at(0, &[IoSlice::new(&bytes)]).map_err(fail)?;
        file.sync_data().map_err(fail)?;
        if segment.is_retired() {
            // Retention removed the names while this one was made; what it cannot remove, the next start does.
            let _gone = disk.remove(&path);
        }
        disk.sync_dir(&segment.home.dir).map_err(fail)
    }

    fn failed(&self, needed_bytes: u64, source: io::Error) -> SegmentError {
        SegmentError::of(self.segment.home.disk.as_ref(), &self.segment.path, needed_bytes, source)
    }
}
