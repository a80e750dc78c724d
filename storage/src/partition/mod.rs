//! A partition's segments, for the one thread that writes them.
//!
//! For every group of commits: [`reserve`](PartitionLog::reserve) and [`stage`](PartitionLog::stage) each batch,
//! [`take_writes`](PartitionLog::take_writes), run the writes (anywhere, while the commit log syncs), and, once the
//! commits are durable, [`publish`](PartitionLog::publish). Only then do readers see the batches.
//!
//! Everything slow is handed out as a job for another thread: allocation ahead of need, sealing, syncs before a
//! snapshot, unlinking. What stays is the creation of a file once per segment.
//!
//! `published <= taken <= staged`: the manifest speaks of what is staged, so it is asked for between two groups.

mod active;
mod jobs;
mod manifest;
mod recover;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::BatchHead;
use crate::compaction::{Rewrite, RewrittenSegment};
use crate::disk::{Disk, DiskFile};
use crate::gather::Gather;
use crate::names::{Entropy, Epoch, Offset, Timestamp};
use crate::reader::{PartitionReader, Shared};
use crate::segment::header::TOPIC_BYTES_MAX;
use crate::segment::seal::{SealJob, Sealed};
use crate::segment::staged::StageFault;
use crate::segment::{
    GrowJob, Home, JobResult, PartitionIdentity, Published, Segment, SegmentError, SegmentJob,
    SegmentOptions, SegmentWrite, names_of,
};

pub use jobs::{RemoveJob, SyncHandle};
pub use manifest::{PartitionManifest, SegmentMeta};

use active::{Active, field_bytes};

/// The writer's half of a partition. Owned by the one thread that commits.
#[derive(Debug)]
pub struct PartitionLog {
    home: Arc<Home>,
    shared: Arc<Shared>,
    /// What is staged, segment by segment. In step with `segments`.
    manifest: PartitionManifest,
    segments: Vec<Arc<Segment>>,
    /// The last segment, while it grows.
    active: Option<Active>,
    next: Offset,
    last_time: Option<Timestamp>,
    /// Bytes of all segments, as the manifest has them.
    bytes: u64,
    /// Bytes that this process has staged.
    written: u64,
    /// Writes of segments that were finished within the group.
    finished_writes: Vec<SegmentWrite>,
    /// What becomes visible with the next publication: staged, and taken.
    staged_marks: Vec<(Arc<Segment>, Published)>,
    taken_marks: Vec<(Arc<Segment>, Published)>,
    /// Finished and not sealed, with the end of each.
    closing: Vec<Closing>,
    unsynced: Vec<SyncHandle>,
    names_changed: bool,
}

#[derive(Debug)]
struct Closing {
    segment: Arc<Segment>,
    file: Option<Arc<dyn DiskFile>>,
    end: u64,
}

impl PartitionLog {
    /// A partition without segments, whose first record will have the offset `start`. Its folder is made with the first
    /// segment, so that this needs no space.
    ///
    /// # Errors
    /// [`SegmentError::NameTooLong`].
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        identity: PartitionIdentity,
        options: SegmentOptions,
        start: Offset,
    ) -> Result<Self, SegmentError> {
        let manifest = PartitionManifest { start, segments: Vec::new() };
        let home = Self::home(disk, dir, identity, options)?;
        Ok(Self::over(home, manifest, Vec::new()))
    }

    fn home(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        identity: PartitionIdentity,
        options: SegmentOptions,
    ) -> Result<Arc<Home>, SegmentError> {
        let (name_bytes, limit_bytes) = (identity.topic.len(), TOPIC_BYTES_MAX);
        if name_bytes > limit_bytes {
            return Err(SegmentError::NameTooLong { name_bytes, limit_bytes });
        }
        Ok(Arc::new(Home { disk, dir, identity, options }))
    }

    fn over(home: Arc<Home>, manifest: PartitionManifest, segments: Vec<Arc<Segment>>) -> Self {
        let next = manifest.next();
        let last_time = manifest.segments.last().map(|segment| segment.last_time);
        let bytes = manifest.bytes();
        let shared = Shared::new(&manifest, segments.clone());
        Self {
            home,
            shared: Arc::new(shared),
            manifest,
            segments,
            active: None,
            next,
            last_time,
            bytes,
            written: 0,
            finished_writes: Vec::new(),
            staged_marks: Vec::new(),
            taken_marks: Vec::new(),
            closing: Vec::new(),
            unsynced: Vec::new(),
            names_changed: false,
        }
    }

    /// Makes room for one more batch of `batch_bytes` (head and body), starting a new segment where it does not fit
    /// in the present one. For several batches behind one reservation, ask for the sum of their bytes and
    /// [`BATCH_FIELD_BYTES`](crate::batch::BATCH_FIELD_BYTES) for each but the first.
    ///
    /// # Errors
    /// [`SegmentError::Full`] and [`SegmentError::TooManyOpen`] change nothing and succeed once there is room, or fewer files
    /// are open; [`SegmentError::BatchTooLarge`]; [`SegmentError::Io`].
    pub fn reserve(
        &mut self,
        batch_bytes: u64,
        now: Timestamp,
        entropy: &mut dyn Entropy,
    ) -> Result<(), SegmentError> {
        let limit_bytes = SegmentOptions::RANGE_BYTES_MAX / 2;
        if batch_bytes > limit_bytes {
            return Err(SegmentError::BatchTooLarge { batch_bytes, limit_bytes });
        }
        let field = field_bytes(batch_bytes);
        let staged_any =
            self.manifest.segments.last().is_some_and(|segment| segment.next > segment.base);
        match &mut self.active {
            Some(active) if active.fits(field) => active.allocate(field),
            Some(active) if !staged_any => {
                active.widen(field)?;
                active.allocate(field)
            }
            _ => self.roll(field, now, entropy),
        }
    }

    /// Starts a new segment at the next offset and finishes the present one.
    fn roll(
        &mut self,
        first_field: u64,
        now: Timestamp,
        entropy: &mut dyn Entropy,
    ) -> Result<(), SegmentError> {
        let (disk, dir) = (&self.home.disk, &self.home.dir);
        disk.create_dir_all(dir).map_err(|e| SegmentError::of(disk.as_ref(), dir, 0, e))?;
        let epoch = Epoch(entropy.next_u64());
        let last_time = self.last_time.unwrap_or(now);
        let before = (last_time, self.written);
        let active = Active::create(&self.home, self.next, (epoch, now), before, first_field)?;
        self.close_active();
        self.bytes += active.staged_end;
        self.manifest.segments.push(SegmentMeta {
            base: self.next,
            next: self.next,
            bytes: active.staged_end,
            first_time: last_time,
            last_time,
            sealed: false,
        });
        self.segments.push(active.segment.clone());
        self.active = Some(active);
        self.names_changed = true;
        self.shared.set_segments(self.segments.clone());
        Ok(())
    }

    /// Finishes the present segment: nothing is staged into it any more, and it is sealed once it is published.
    fn close_active(&mut self) {
        let Some(mut active) = self.active.take() else { return };
        active.segment.growth.close();
        if let Some(write) = active.take_write() {
            self.finished_writes.push(write);
            if let Some(meta) = self.manifest.segments.last() {
                self.staged_marks.push((active.segment.clone(), published(meta)));
            }
        }
        if active.dirty {
            let path = active.segment.path.clone();
            self.unsynced.push(SyncHandle::file(path, active.file.clone()));
        }
        let (segment, end) = (active.segment, active.staged_end);
        self.closing.push(Closing { segment, file: Some(active.file), end });
    }

    /// Stages a batch behind a reservation. `head.base_offset` is [`next_offset`](Self::next_offset) and its span at
    /// least 1; `body_crc` is the CRC-32 of `body`. A large body is kept by reference until it is written.
    ///
    /// A batch that breaks these rules is not staged, and the write of its group fails.
    pub fn stage(&mut self, head: &BatchHead, body: &Bytes, body_crc: u32) {
        let (Some(active), Some(meta)) = (&mut self.active, self.manifest.segments.last_mut())
        else {
            return self.refuse(StageFault::NotReserved);
        };
        if head.base_offset != self.next || head.offset_span == 0 {
            let (expected, found) = (self.next, head.base_offset);
            return active.fault(StageFault::OutOfOrder { expected, found });
        }
        let before = active.staged_end;
        active.stage(head, body, body_crc);
        if active.staged_end == before {
            return;
        }
        self.written += active.staged_end - before;
        self.bytes += active.staged_end - before;
        self.next = head.next_offset();
        if meta.next == meta.base {
            meta.first_time = head.append_time;
        }
        meta.next = self.next;
        meta.bytes = active.staged_end;
        meta.last_time = meta.last_time.max(head.append_time);
        self.last_time = Some(meta.last_time);
    }

    /// Where no segment is growing there is no write that could fail, so one is made for that.
    fn refuse(&mut self, fault: StageFault) {
        self.finished_writes.push(SegmentWrite {
            path: self.home.dir.clone(),
            target: Err(fault),
            position: 0,
            gather: Gather::new(),
        });
    }

    /// Gives up the offsets from [`next_offset`](Self::next_offset) up to `to`: the log's frames that held them are
    /// damaged. They are listed as a segment whose file is missing, so that readers are told, and nothing is numbered
    /// twice. Asked for between two groups, with everything published.
    pub fn lose(&mut self, to: Offset) {
        if to <= self.next {
            return;
        }
        self.close_active();
        let time = self.last_time.unwrap_or_default();
        let (base, next) = (self.next, to);
        let lost =
            SegmentMeta { base, next, bytes: 0, first_time: time, last_time: time, sealed: true };
        let segment = Arc::new(Segment::recovered(&self.home, base, published(&lost)));
        segment.set_absent();
        self.manifest.segments.push(lost);
        self.segments.push(segment);
        self.next = to;
        self.shared.set_segments(self.segments.clone());
        self.shared.publish(to, self.written, self.manifest.bytes());
    }

    /// Takes the writes that carry what was staged since the last call, one for each segment. All of them must have
    /// run when [`publish`](Self::publish) is called.
    pub fn take_writes(&mut self, out: &mut Vec<SegmentWrite>) {
        out.append(&mut self.finished_writes);
        self.taken_marks.append(&mut self.staged_marks);
        if let (Some(active), Some(meta)) = (&mut self.active, self.manifest.segments.last())
            && let Some(write) = active.take_write()
        {
            out.push(write);
            self.taken_marks.push((active.segment.clone(), published(meta)));
        }
    }

    /// Lets readers see everything whose writes were taken.
    pub fn publish(&mut self) {
        let Some((_, last)) = self.taken_marks.last() else { return };
        let end = last.next;
        for (segment, published) in self.taken_marks.drain(..) {
            segment.publish(published);
        }
        self.shared.publish(end, self.written, self.bytes);
    }

    /// The offset that the next record gets.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.next
    }

    /// The first readable offset.
    #[must_use]
    pub const fn start_offset(&self) -> Offset {
        self.manifest.start
    }

    /// Bytes of all segments, as far as they are staged.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the last batch was appended, if there is a segment that remembers.
    #[must_use]
    pub const fn last_append_time(&self) -> Option<Timestamp> {
        self.last_time
    }

    /// A reader; any number of them, on any thread.
    #[must_use]
    pub fn reader(&self) -> PartitionReader {
        PartitionReader::new(self.shared.clone())
    }

    /// What is staged, for a snapshot.
    #[must_use]
    pub fn manifest(&self) -> PartitionManifest {
        self.manifest.clone()
    }

    /// What has to be synced, in this order, before a snapshot may rely on the [`manifest`](Self::manifest) of this
    /// moment. Asked for after the writes of everything staged have run. A sync that fails is final.
    #[must_use]
    pub fn unsynced(&mut self) -> Vec<SyncHandle> {
        let mut handles = std::mem::take(&mut self.unsynced);
        if let Some(active) = self.active.as_mut().filter(|active| active.dirty) {
            active.dirty = false;
            handles.push(SyncHandle::file(active.segment.path.clone(), active.file.clone()));
        }
        if std::mem::take(&mut self.names_changed) {
            handles.push(SyncHandle::folder(self.home.dir.clone(), self.home.disk.clone()));
        }
        handles
    }

    /// Takes a handle back that could not even be tried, so that [`unsynced`](Self::unsynced) gives it once more.
    pub fn note_unsynced(&mut self, handle: SyncHandle) {
        self.unsynced.push(handle);
    }

    /// Allocation ahead of need, when it is due and not under way. Worth asking for after every group.
    #[must_use]
    pub fn grow_job(&self) -> Option<GrowJob> {
        self.active.as_ref()?.grow_job()
    }

    /// Finished segments to be sealed. Their results go to [`finish`](Self::finish).
    pub fn take_jobs(&mut self) -> Vec<SegmentJob> {
        self.closing
            .extract_if(.., |closing| closing.segment.published().end == closing.end)
            .map(|closing| SegmentJob::Seal(SealJob::new(closing.segment, closing.file)))
            .collect()
    }

    /// Takes the result of a job back.
    ///
    /// # Errors
    /// Those of the job. After one that is [retryable](SegmentError::is_retryable) the job comes again with
    /// [`take_jobs`](Self::take_jobs), for when there is room; any other is a failing disk.
    pub fn finish(&mut self, result: JobResult) -> Result<(), SegmentError> {
        let JobResult { segment, file, outcome } = result;
        if segment.is_retired() {
            // Its names are being removed; whatever the job ran into is of no consequence.
            return Ok(());
        }
        match outcome {
            Ok(Sealed::Unsealable) => Ok(()),
            Ok(Sealed::Done) => {
                let Some(at) = self.place_of(&segment) else { return Ok(()) };
                self.manifest.segments[at].sealed = true;
                // The one before has cooled down by now; its index file serves it.
                if let Some(before) = at.checked_sub(1) {
                    self.segments[before].forget_index();
                }
                Ok(())
            }
            Err(error) => {
                if error.is_retryable() {
                    let end = segment.published().end;
                    self.closing.push(Closing { segment, file, end });
                }
                Err(error)
            }
        }
    }

    fn recount_bytes(&mut self) {
        self.bytes = self.manifest.bytes();
        self.shared.set_bytes(self.bytes);
    }

    fn place_of(&self, segment: &Arc<Segment>) -> Option<usize> {
        let at = self.segments.partition_point(|other| other.base < segment.base);
        self.segments.get(at).filter(|other| Arc::ptr_eq(other, segment)).map(|_| at)
    }

    /// Lets go of everything below `start`: reads below it are out of range from now on, and segments that lie
    /// wholly below it are dropped. Their names are removed by the jobs; readers that hold slices of them finish.
    pub fn trim(&mut self, start: Offset) -> Vec<RemoveJob> {
        let start = start.min(self.next);
        if start <= self.manifest.start {
            return Vec::new();
        }
        self.manifest.start = start;
        self.shared.set_start(start);
        let mut dropped = self.manifest.segments.partition_point(|segment| segment.next <= start);
        if dropped == self.segments.len() && self.active.is_some() && !self.let_active_go() {
            dropped -= 1;
        }
        if dropped == 0 {
            return Vec::new();
        }
        self.manifest.segments.drain(..dropped);
        let gone: Vec<_> = self.segments.drain(..dropped).collect();
        let names = gone.iter().flat_map(|segment| names_of(segment.base)).collect();
        gone.iter().for_each(|segment| segment.retire());
        self.closing.retain(|closing| !closing.segment.is_retired());
        self.shared.set_segments(self.segments.clone());
        self.recount_bytes();
        vec![RemoveJob::names(self.home.disk.clone(), self.home.dir.clone(), names)]
    }

    /// Gives up the growing segment, unless it is empty or something of it is not published yet.
    fn let_active_go(&mut self) -> bool {
        let published = |active: &mut Active| {
            let published = active.segment.published();
            published.end == active.staged_end && published.next > active.segment.base
        };
        self.active.take_if(published).is_some()
    }

    /// Ends the partition. Readers find it empty; the job removes its folder.
    #[must_use]
    pub fn remove_all(self) -> RemoveJob {
        self.shared.set_start(self.shared.end());
        self.segments.iter().for_each(|segment| segment.retire());
        self.shared.set_segments(Vec::new());
        RemoveJob::folder(self.home.disk.clone(), self.home.dir.clone())
    }

    /// The sealed segments that may be rewritten: those from the first one on that lie wholly below `settled`.
    ///
    /// `settled` is this partition's next offset in the oldest snapshot that recovery could fall back to. Its
    /// manifest then knows these segments as finished, and nothing of them will ever be replayed into them.
    #[must_use]
    pub fn sealed(&self, settled: Offset) -> Vec<Rewrite> {
        self.manifest
            .segments
            .iter()
            .zip(&self.segments)
            // None behind one that stays as it is: a tombstone that goes must not uncover what lies there.
            .take_while(|(meta, _)| meta.sealed && meta.next <= settled)
            .map(|(meta, segment)| Rewrite::new(segment.clone(), meta.clone()))
            .collect()
    }

    /// Lets readers see a rewritten segment in place of the old one. When retention dropped that one meanwhile, the
    /// job removes the new file as well.
    #[must_use]
    pub fn replace(&mut self, rewritten: RewrittenSegment) -> Option<RemoveJob> {
        let Some(at) = self.place_of(rewritten.old()) else {
            let names = names_of(rewritten.old().base).into();
            let (disk, dir) = (self.home.disk.clone(), self.home.dir.clone());
            return Some(RemoveJob::names(disk, dir, names));
        };
        let (segment, bytes) = rewritten.into_new();
        self.manifest.segments[at].bytes = bytes;
        self.segments[at] = segment;
        self.shared.set_segments(self.segments.clone());
        self.recount_bytes();
        None
    }

    /// Ranges of readable offsets whose files were not there when the partition was recovered. Asked after replay:
    /// an older snapshot may name files that retention has removed since.
    #[must_use]
    pub fn missing(&self) -> Vec<(Offset, Offset)> {
        let start = self.manifest.start;
        self.manifest
            .segments
            .iter()
            .zip(&self.segments)
            .filter(|(meta, segment)| segment.is_absent() && meta.next > start.max(meta.base))
            .map(|(meta, _)| (meta.base.max(start), meta.next))
            .collect()
    }
}

const fn published(meta: &SegmentMeta) -> Published {
    Published { end: meta.bytes, next: meta.next, last_time: meta.last_time }
}
