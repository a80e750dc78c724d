//! The segment that grows: the writer's side of it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{BATCH_FIELD_BYTES, BatchHead};
use crate::disk::DiskFile;
use crate::gather::Gather;
use crate::names::{Epoch, Offset, Timestamp};
use crate::segment::field::{FRONT_BYTES, batch_front};
use crate::segment::staged::{StageFault, spare_gather};
use crate::segment::{
    Content, Home, KEPT_SUFFIX, Published, Segment, SegmentError, SegmentHeader, SegmentWrite,
    segment_name,
};

/// `gather_at <= staged_end <= allocated <= range`.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn DiskFile>,
    epoch: Epoch,
    /// Bytes that are mapped; the file never grows beyond them.
    range: u64,
    /// Position behind the last staged batch.
    pub(super) staged_end: u64,
    /// What is staged and not taken yet, and where it belongs.
    gather: Gather,
    gather_at: u64,
    fault: Option<StageFault>,
    /// Written since the last sync.
    pub(super) dirty: bool,
}

/// Bytes of the field around a batch of head and body.
pub(super) const fn field_bytes(batch_bytes: u64) -> u64 {
    batch_bytes.saturating_add(BATCH_FIELD_BYTES as u64)
}

impl Active {
    /// Creates the file of a segment whose first batch takes `first_field` bytes. The header is staged.
    pub(super) fn create(
        home: &Arc<Home>,
        base: Offset,
        (epoch, now): (Epoch, Timestamp),
        before: (Timestamp, u64),
        first_field: u64,
    ) -> Result<Self, SegmentError> {
        let header = SegmentHeader {
            identity: home.identity.clone(),
            epoch,
            base,
            created: now,
            rewritten: None,
        }
        .encode();
        let data_start = header.len() as u64;
        let needed = data_start + first_field;
        let range = home.options.range_bytes().max(needed);
        let (last_time, written) = before;
        let published = Published { end: data_start, next: base, last_time };
        let segment = Arc::new(Segment::created(home, base, published, written));
        let fail = |e| SegmentError::of(home.disk.as_ref(), &segment.path, needed, e);
        let file = create_file(home, &segment).map_err(fail)?;
        let allocated = segment
            .grow(file.as_ref(), home.options.next_allocation(0, needed, range))
            .and_then(|()| file.map(range).map_err(fail));
        let mapping = match allocated {
            Ok(mapping) => mapping,
            Err(error) => {
                // A name that stays behind is taken over by the next attempt.
                let _gone = home.disk.remove(&segment.path);
                return Err(error);
            }
        };
        segment.set_content(Content {
            mapping,
            epoch,
            data_start,
            file_len: u64::MAX,
            rewritten: None,
        });
        let mut gather = spare_gather();
        gather.put(&header);
        Ok(Self {
            segment,
            file,
            epoch,
            range,
            staged_end: data_start,
            gather,
            gather_at: 0,
            fault: None,
            dirty: true,
        })
    }

    /// Goes on with a segment of an earlier process, of which `allocated` bytes are there.
    pub(super) fn reopen(
        segment: Arc<Segment>,
        file: Arc<dyn DiskFile>,
        epoch: Epoch,
        range: u64,
        allocated: u64,
    ) -> Self {
        let staged_end = segment.published().end;
        segment.growth.set_allocated(allocated);
        Self {
            segment,
            file,
            epoch,
            range,
            staged_end,
            gather: Gather::new(),
            gather_at: staged_end,
            fault: None,
            dirty: false,
        }
    }

    /// Whether a field of that size fits into what is mapped.
    pub(super) const fn fits(&self, field: u64) -> bool {
        self.staged_end.saturating_add(field) <= self.range
    }

    /// Allocates for one more field, when the job that should have done it was late.
    pub(super) fn allocate(&self, field: u64) -> Result<(), SegmentError> {
        let needed = self.staged_end + field;
        let allocated = self.segment.growth.allocated();
        if needed <= allocated {
            return Ok(());
        }
        let target = self.segment.home.options.next_allocation(allocated, needed, self.range);
        self.segment.grow(self.file.as_ref(), target)
    }

    /// Maps an empty segment over a larger range, for a first batch larger than the range.
    pub(super) fn widen(&mut self, field: u64) -> Result<(), SegmentError> {
        let range = self.staged_end + field;
        let mapping = self.file.map(range).map_err(|e| {
            SegmentError::of(self.segment.home.disk.as_ref(), &self.segment.path, field, e)
        })?;
        self.segment.set_content(Content {
            mapping,
            epoch: self.epoch,
            data_start: self.staged_end,
            file_len: u64::MAX,
            rewritten: None,
        });
        self.range = range;
        Ok(())
    }

    /// Stages a batch that room was reserved for.
    pub(super) fn stage(&mut self, head: &BatchHead, body: &Bytes, body_crc: u32) {
        let field = (FRONT_BYTES + body.len()) as u64;
        if self.staged_end + field > self.segment.growth.allocated() {
            self.fault(StageFault::NotReserved);
            return;
        }
        if self.gather.is_empty() {
            self.gather = spare_gather();
        }
        self.gather.put(&batch_front(&head.seal(body_crc, self.epoch), body.len()));
        self.gather.put_shared(body);
        self.segment.note_batch(head.base_offset, self.staged_end, head.append_time);
        self.staged_end += field;
        self.dirty = true;
    }

    /// The write that carries what is staged now fails.
    pub(super) fn fault(&mut self, fault: StageFault) {
        self.fault.get_or_insert(fault);
    }

    /// Takes what is staged.
    pub(super) fn take_write(&mut self) -> Option<SegmentWrite> {
        if self.gather.is_empty() && self.fault.is_none() {
            return None;
        }
        let position = std::mem::replace(&mut self.gather_at, self.staged_end);
        Some(SegmentWrite {
            path: self.segment.path.clone(),
            target: match self.fault.take() {
                Some(fault) => Err(fault),
                None => Ok(self.file.clone()),
            },
            position,
            gather: std::mem::take(&mut self.gather),
        })
    }

    pub(super) fn grow_job(&self) -> Option<crate::segment::GrowJob> {
        self.segment.grow_job(&self.file, self.staged_end, self.range)
    }
}

fn is_there(home: &Home, path: &Path) -> io::Result<bool> {
    match home.disk.open(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Creates the file; one of that name is left over from an attempt that failed, or was found and is to be kept.
fn create_file(home: &Home, segment: &Segment) -> io::Result<Arc<dyn DiskFile>> {
    match home.disk.create(&segment.path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let kept = home.dir.join(segment_name(segment.base) + KEPT_SUFFIX);
            // What lies under that name is what was found first; this one is a copy made from the log.
            if home.options.keep_found && !is_there(home, &kept)? {
                home.disk.rename(&segment.path, &kept)?;
            } else {
                home.disk.remove(&segment.path)?;
            }
            home.disk.create(&segment.path)
        }
        result => result,
    }
}
