//! A partition with a model beside it: the batches that were staged, in order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use embermq_storage::batch::{BATCH_HEAD_BYTES, BatchHead};
use embermq_storage::disk::Disk;
use embermq_storage::disk::sim::{SeededEntropy, SimDisk};
use embermq_storage::partition::{PartitionLog, PartitionManifest};
use embermq_storage::reader::{PartitionReader, ReadSlice};
use embermq_storage::segment::{
    PartitionIdentity, ReadError, SegmentError, SegmentOptions, SegmentWrite,
};
use embermq_storage::{Offset, Timestamp};

/// A batch as a reader gets it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) head: BatchHead,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}:{}B", self.head.base_offset, self.head.offset_span, self.body.len())
    }
}

pub(crate) struct Partition {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: SegmentOptions,
    pub(crate) log: PartitionLog,
    pub(crate) entropy: SeededEntropy,
    pub(crate) staged: Vec<Batch>,
    pub(crate) clock: i64,
}

pub(crate) fn identity() -> PartitionIdentity {
    PartitionIdentity { topic: "photos".to_owned(), partition: 3 }
}

/// Segments of a few batches, so that a short test rolls often.
pub(crate) fn tiny() -> SegmentOptions {
    SegmentOptions {
        segment_bytes: 1_000,
        first_step_bytes: 256,
        step_bytes_max: 512,
        index_interval_bytes: 200,
        hot_bytes: 100_000,
        ..SegmentOptions::default()
    }
}

pub(crate) fn sim() -> Arc<SimDisk> {
    Arc::new(SimDisk::new(1))
}

impl Partition {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, options: SegmentOptions) -> Self {
        Self::starting_at(disk, dir, options, Offset(0))
    }

    pub(crate) fn starting_at(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: SegmentOptions,
        start: Offset,
    ) -> Self {
        let log =
            PartitionLog::create(disk.clone(), dir.to_owned(), identity(), options.clone(), start)
                .unwrap();
        let entropy = SeededEntropy::new(7);
        Self { disk, dir: dir.to_owned(), options, log, entropy, staged: Vec::new(), clock: 1_000 }
    }

    pub(crate) fn tiny_on_sim() -> (Arc<SimDisk>, Self) {
        let disk = sim();
        let partition = Self::new(disk.clone(), Path::new("/p"), tiny());
        (disk, partition)
    }

    /// The same folder as another process finds it.
    pub(crate) fn reopen(&mut self, manifest: &PartitionManifest) {
        self.log = recover(self.disk.clone(), &self.dir, self.options.clone(), manifest);
    }

    pub(crate) fn try_stage(&mut self, records: u32, body: Vec<u8>) -> Result<(), SegmentError> {
        let bytes = (BATCH_HEAD_BYTES + body.len()) as u64;
        self.log.reserve(bytes, Timestamp(self.clock), &mut self.entropy)?;
        self.clock += 10;
        let head = BatchHead {
            base_offset: self.log.next_offset(),
            append_time: Timestamp(self.clock),
            record_count: records,
            offset_span: records,
            producer_id: 5,
            producer_epoch: 6,
            base_sequence: self.staged.len() as u64,
        };
        stage(&mut self.log, &Batch { head, body: body.clone() });
        self.staged.push(Batch { head, body });
        Ok(())
    }

    pub(crate) fn stage(&mut self, records: u32, body: Vec<u8>) {
        self.try_stage(records, body).unwrap();
    }

    pub(crate) fn commit(&mut self) {
        commit(&mut self.log);
    }

    /// Stages and publishes `count` batches, of two records and a few bytes each, one by one.
    pub(crate) fn fill(&mut self, count: usize) {
        for _ in 0..count {
            let tag = u8::try_from(self.staged.len() % 251).unwrap();
            self.stage(2, vec![tag; 20 + self.staged.len() % 90]);
            self.commit();
        }
    }

    /// Does all that other threads would.
    pub(crate) fn run_jobs(&mut self) {
        run_jobs(&mut self.log);
    }

    pub(crate) fn sync(&mut self) {
        for handle in self.log.unsynced() {
            handle.run().unwrap();
        }
    }

    /// What was staged from the batch that holds `from` on.
    pub(crate) fn staged_from(&self, from: Offset) -> Vec<Batch> {
        self.staged.iter().filter(|batch| batch.head.next_offset() > from).cloned().collect()
    }

    pub(crate) fn assert_all_readable(&self) {
        let reader = self.log.reader();
        let start = reader.start();
        for max_bytes in [0, 300, 1 << 20] {
            assert_eq!(read_all(&reader, start, max_bytes).unwrap(), self.staged_from(start));
        }
    }

    pub(crate) fn segment_path(&self, at: usize) -> PathBuf {
        self.dir.join(format!("{:020}.seg", self.log.manifest().segments[at].base.0))
    }
}

pub(crate) fn recover(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: SegmentOptions,
    manifest: &PartitionManifest,
) -> PartitionLog {
    PartitionLog::recover(disk, dir.to_owned(), identity(), options, manifest).unwrap()
}

pub(crate) fn stage(log: &mut PartitionLog, batch: &Batch) {
    let body = Bytes::from(batch.body.clone());
    log.stage(&batch.head, &body, crc32fast::hash(&batch.body));
}

/// What the commit log would do after a restart: stages again what lies behind the manifest.
pub(crate) fn replay(log: &mut PartitionLog, staged: &[Batch], entropy: &mut SeededEntropy) {
    for batch in staged {
        if batch.head.base_offset >= log.next_offset() {
            let bytes = (BATCH_HEAD_BYTES + batch.body.len()) as u64;
            log.reserve(bytes, batch.head.append_time, entropy).unwrap();
            stage(log, batch);
        }
    }
    commit(log);
}

pub(crate) fn commit(log: &mut PartitionLog) {
    let mut writes: Vec<SegmentWrite> = Vec::new();
    log.take_writes(&mut writes);
    for write in &writes {
        write.run().unwrap();
    }
    log.publish();
}

pub(crate) fn run_jobs(log: &mut PartitionLog) {
    if let Some(job) = log.grow_job() {
        job.run().unwrap();
    }
    for job in log.take_jobs() {
        log.finish(job.run()).unwrap();
    }
}

/// The batches of a slice, by a walk that shares no code with the crate's.
pub(crate) fn decode(slice: &ReadSlice) -> Vec<Batch> {
    let mut batches = Vec::new();
    for piece in &slice.pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            assert_eq!(rest[0], 0x0A);
            assert!(rest[1..5].iter().all(|byte| byte & 0x80 != 0) && rest[5] < 0x80);
            let len: usize = (0..5).map(|at| usize::from(rest[1 + at] & 0x7F) << (7 * at)).sum();
            let (_, head) = BatchHead::decode(&rest[6..]).unwrap();
            batches.push(Batch { head, body: rest[6 + BATCH_HEAD_BYTES..6 + len].to_vec() });
            rest = &rest[6 + len..];
        }
    }
    batches
}

/// Reads from `from` to the end in steps.
pub(crate) fn read_all(
    reader: &PartitionReader,
    from: Offset,
    max_bytes: u64,
) -> Result<Vec<Batch>, ReadError> {
    let mut batches = Vec::new();
    let mut at = from;
    while at < reader.end() {
        let slice = reader.read(at, max_bytes)?;
        assert!(slice.next > at, "a read from {at} makes no progress");
        batches.extend(decode(&slice));
        at = slice.next;
    }
    Ok(batches)
}

/// Reads everything that can be read, and lists what cannot.
pub(crate) fn read_around_damage(reader: &PartitionReader) -> (Vec<Batch>, Vec<ReadError>) {
    let (mut batches, mut errors) = (Vec::new(), Vec::new());
    let mut at = reader.start();
    while at < reader.end() {
        match reader.read(at, 1 << 20) {
            Ok(slice) => {
                assert!(slice.next > at);
                batches.extend(decode(&slice));
                at = slice.next;
            }
            Err(error) => {
                let next = match &error {
                    ReadError::Damaged { next, .. } | ReadError::Missing { next, .. } => *next,
                    other => panic!("{other}"),
                };
                assert!(next > at, "{error} shows no way on from {at}");
                at = next;
                errors.push(error);
            }
        }
    }
    (batches, errors)
}
