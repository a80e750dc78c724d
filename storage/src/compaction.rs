//! Rewriting sealed segments with fewer records.
//!
//! Storage knows nothing of keys: the caller decides for each batch what stays of it. Offsets stay: a batch keeps its
//! base offset and span, a dropped one leaves a hole. The new file is written beside the old one, synced and renamed
//! over it, so that a crash leaves one or the other; readers that hold slices of the old one finish undisturbed.
//!
//! A rewritten segment gets a new epoch, says itself where it ends, and has no padding. A segment with damage in it
//! is left alone: rewriting would make the loss look intended.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::BatchHead;
use crate::disk::DiskFile;
use crate::gather::Gather;
use crate::index::SparseIndex;
use crate::names::{Entropy, Epoch, Timestamp};
use crate::partition::SegmentMeta;
use crate::segment::field::batch_front;
use crate::segment::walk::{Found, Step, Trust, Walk};
use crate::segment::{Published, Rewritten, Segment, SegmentError, SegmentHeader};

/// Bytes that are written at once, and read at once.
const BLOCK_BYTES: u64 = 1 << 20;

/// A batch to be decided on.
#[derive(Clone, Debug)]
pub struct BatchView {
    /// Its head.
    pub head: BatchHead,
    /// Its body, as it was staged.
    pub body: Bytes,
}

/// What stays of a batch.
#[derive(Clone, Debug)]
pub enum Keep {
    /// All of it.
    All,
    /// Nothing.
    None,
    /// Some of its records. Base offset and span stay those of the whole batch.
    Replace {
        /// The new body.
        body: Bytes,
        /// Records in it.
        record_count: u32,
    },
}

/// A sealed segment that may be rewritten. See [`PartitionLog::sealed`](crate::partition::PartitionLog::sealed).
#[derive(Debug)]
pub struct Rewrite {
    segment: Arc<Segment>,
    meta: SegmentMeta,
}

/// A segment that was rewritten, for [`PartitionLog::replace`](crate::partition::PartitionLog::replace).
#[derive(Debug)]
pub struct RewrittenSegment {
    old: Arc<Segment>,
    new: Arc<Segment>,
    bytes: u64,
}

impl RewrittenSegment {
    /// Bytes that the segment takes now.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn old(&self) -> &Arc<Segment> {
        &self.old
    }

    pub(crate) fn into_new(self) -> (Arc<Segment>, u64) {
        (self.new, self.bytes)
    }
}

impl Rewrite {
    pub(crate) const fn new(segment: Arc<Segment>, meta: SegmentMeta) -> Self {
        Self { segment, meta }
    }

    /// The segment, as it is now.
    #[must_use]
    pub const fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// Shows every batch of the segment, in order, without changing anything: for the pass that learns which keys
    /// are newest. Of offsets that were given up there are none.
    ///
    /// # Errors
    /// [`SegmentError::Unreadable`].
    pub fn scan(&self, see: &mut dyn FnMut(BatchView)) -> Result<(), SegmentError> {
        if self.segment.is_given_up() {
            return Ok(());
        }
        self.for_each(&mut |view, _| {
            see(view);
            Ok(())
        })
    }

    fn for_each(
        &self,
        see: &mut dyn FnMut(BatchView, &Found) -> Result<(), SegmentError>,
    ) -> Result<(), SegmentError> {
        let content = self.segment.content()?;
        let start = (content.data_start, self.segment.base);
        let mut walk = Walk::new(&self.segment, &content, start, BLOCK_BYTES, true);
        while let Some(step) = walk.step(Trust::Checksum)? {
            match step {
                Step::Batch(found) => {
                    let body = walk.bytes(found.body.clone())?;
                    see(BatchView { head: found.head, body }, &found)?;
                }
                Step::Damage(damage) => {
                    let (position, lost) = (damage.file_position, damage.lost);
                    return Err(self.segment.damaged_range(position, lost, damage.reason).into());
                }
            }
        }
        Ok(())
    }
}

/// Rewrites a segment with what `keep` leaves of each batch, asked in order. Blocks; runs on another thread than the
/// committer's.
///
/// # Errors
/// [`SegmentError::Full`] when there is no room for the new file, [`SegmentError::Unreadable`] when the old one is
/// missing or damaged, [`SegmentError::Io`]. The old file is then still in place, but for an I/O error of the last
/// step, after which either is.
pub fn rewrite(
    segment: &Rewrite,
    keep: &mut dyn FnMut(&BatchView) -> Keep,
    now: Timestamp,
    entropy: &mut dyn Entropy,
) -> Result<RewrittenSegment, SegmentError> {
    let old = &segment.segment;
    let home = &old.home;
    let epoch = Epoch(entropy.next_u64());
    let next = old.content()?.rewritten.map_or(segment.meta.next, |rewritten| rewritten.next);
    let header = |end| {
        let identity = home.identity.clone();
        let rewritten = Some(Rewritten { next, end });
        SegmentHeader { identity, epoch, base: old.base, created: now, rewritten }.encode()
    };
    let beside = Beside::new(&old.path);
    let index_beside = Beside::new(&home.index_path(old.base));
    let done = (|| {
        let file = create(old, &beside.path)?;
        let mut writer = Writer::new(old, file, &beside.path, header(0).len() as u64);
        segment.for_each(&mut |view, _| match keep(&view) {
            Keep::None => Ok(()),
            Keep::All => writer.put(&view.head, &view.body, epoch),
            Keep::Replace { body, record_count } => {
                writer.put(&BatchHead { record_count, ..view.head }, &body, epoch)
            }
        })?;
        let (end, index) = writer.finish(&header)?;

        let published =
            Published { end, next: segment.meta.next, last_time: segment.meta.last_time };
        let new = Arc::new(Segment::recovered(home, old.base, published));
        let origin = crate::index::IndexOrigin { epoch, base: old.base, next, end };
        write_index(old, &index_beside.path, &origin.encode(&[index.entries()]))?;
        Ok((new, end))
    })();
    let (new, bytes) = match done {
        Ok(done) => done,
        Err(error) => {
            // Whatever stays behind is removed when the partition is next recovered.
            let _gone = home.disk.remove(&beside.path);
            let _gone = home.disk.remove(&index_beside.path);
            return Err(error);
        }
    };
    let fail = |path: &Path, e| SegmentError::of(home.disk.as_ref(), path, 0, e);
    home.disk.rename(&beside.path, &old.path).map_err(|e| fail(&old.path, e))?;
    let index = home.index_path(old.base);
    home.disk.rename(&index_beside.path, &index).map_err(|e| fail(&index, e))?;
    // It is of the old one, and would not pass for the new one's.
    let _gone = home.disk.remove(&home.keys_path(old.base));
    home.disk.sync_dir(&home.dir).map_err(|e| fail(&home.dir, e))?;
    Ok(RewrittenSegment { old: old.clone(), new, bytes })
}

/// A name for a file until it takes the place of another.
struct Beside {
    path: PathBuf,
}

impl Beside {
    fn new(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        Self { path: name.into() }
    }
}

/// Creates a file; one of that name is left over from an attempt that failed.
fn create(old: &Segment, path: &Path) -> Result<Arc<dyn DiskFile>, SegmentError> {
    let disk = &old.home.disk;
    let fail = |e| SegmentError::of(disk.as_ref(), path, 0, e);
    match disk.create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path).map_err(fail)?;
            disk.create(path).map_err(fail)
        }
        result => result.map_err(fail),
    }
}

fn write_index(old: &Segment, path: &Path, bytes: &[u8]) -> Result<(), SegmentError> {
    let file = create(old, path)?;
    file.write_at(0, &[io::IoSlice::new(bytes)])
        .and_then(|()| file.sync_data())
        .map_err(|e| SegmentError::of(old.home.disk.as_ref(), path, bytes.len() as u64, e))
}

/// The new file while it is written, block by block.
struct Writer<'a> {
    old: &'a Segment,
    file: Arc<dyn DiskFile>,
    path: &'a Path,
    gather: Gather,
    gather_at: u64,
    index: SparseIndex,
}

impl<'a> Writer<'a> {
    fn new(old: &'a Segment, file: Arc<dyn DiskFile>, path: &'a Path, data_start: u64) -> Self {
        let index = SparseIndex::new(old.base, old.home.options.index_interval_bytes);
        Self { old, file, path, gather: Gather::new(), gather_at: data_start, index }
    }

    fn put(&mut self, head: &BatchHead, body: &Bytes, epoch: Epoch) -> Result<(), SegmentError> {
        let position = self.gather_at + self.gather.len();
        self.index.note(head.base_offset, position, head.append_time);
        let sealed = head.seal(crc32fast::hash(body), epoch);
        self.gather.put(&batch_front(&sealed, body.len()));
        self.gather.put_shared(body);
        if self.gather.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), SegmentError> {
        self.gather.write_to(self.file.as_ref(), self.gather_at).map_err(|e| self.failed(e))?;
        self.gather_at += self.gather.len();
        self.gather.clear();
        Ok(())
    }

    /// Writes the rest, then the header, which needs to know the end; syncs.
    fn finish(
        mut self,
        header: &dyn Fn(u64) -> Vec<u8>,
    ) -> Result<(u64, SparseIndex), SegmentError> {
        self.flush()?;
        let end = self.gather_at;
        self.file
            .write_at(0, &[io::IoSlice::new(&header(end))])
            .and_then(|()| self.file.sync_data())
            .map_err(|e| self.failed(e))?;
        Ok((end, self.index))
    }

    fn failed(&self, error: io::Error) -> SegmentError {
        SegmentError::of(self.old.home.disk.as_ref(), self.path, self.gather.len(), error)
    }
}
