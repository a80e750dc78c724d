//! Checking a segment file that nobody is writing.
//!
//! Every batch's checksum is checked. Behind damage the check goes on at the next batch that proves itself, so that
//! every damaged place is reported, with its position and the offsets that are lost there.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::batch::BatchDamage;
use crate::disk::Disk;
use crate::names::{Epoch, Offset};
use crate::segment::field::{BATCH_TAG, BatchField, PADDING_TAG, padding_front_len, resync};
use crate::segment::header::{HEADER_BYTES_MAX, SalvagedHeader, SegmentHeader};
use crate::segment::{Rewritten, SegmentDamage};

/// What a segment file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub file: PathBuf,
    /// Its header, unless that is damaged.
    pub header: Option<SegmentHeader>,
    /// Valid batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// The first offset, as the header says; without a header, that of the first valid batch.
    pub first: Offset,
    /// The offset behind the last valid batch.
    pub next: Offset,
    /// Where the batches end, in bytes of the file.
    pub end: u64,
    /// The whole file is one protobuf message: the rest of it is padding, or there is no rest.
    pub sealed: bool,
    /// Damaged places, in order.
    pub damage: Vec<DamagedRange>,
}

/// A damaged place of a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// Where it starts: the field that is damaged.
    pub file_position: u64,
    /// Where the next good field starts, or the file ends.
    pub file_end: u64,
    /// The first offset that is lost.
    pub first: Offset,
    /// The offset of the next good batch. At the end of a file it may not be known how much is lost: then `first`.
    pub next: Offset,
    /// What is wrong.
    pub reason: SegmentDamage,
}

/// Reads and checks one segment file. It is held in memory meanwhile.
///
/// # Errors
/// Only those of the disk: whatever the bytes are, there is a report.
pub fn verify_segment(disk: &dyn Disk, path: &Path) -> io::Result<SegmentReport> {
    let file = disk.open(path)?;
    let len = usize::try_from(file.len()?)
        .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "the segment exceeds memory"))?;
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Check::new(path, &bytes).run())
}

struct Check<'a> {
    bytes: &'a [u8],
    at: usize,
    epoch: Option<Epoch>,
    rewritten: Option<Rewritten>,
    report: SegmentReport,
}

impl<'a> Check<'a> {
    fn new(path: &Path, bytes: &'a [u8]) -> Self {
        let report = SegmentReport { file: path.to_owned(), ..SegmentReport::default() };
        Self { bytes, at: 0, epoch: None, rewritten: None, report }
    }

    fn run(mut self) -> SegmentReport {
        self.header();
        if let Some(epoch) = self.epoch {
            while self.at < self.bytes.len() {
                if !self.field(epoch) {
                    break;
                }
            }
            self.check_rewritten();
        }
        self.report
    }

    fn header(&mut self) {
        let front = &self.bytes[..self.bytes.len().min(HEADER_BYTES_MAX)];
        match SegmentHeader::decode(front) {
            Ok((header, len)) => {
                self.at = len;
                self.epoch = Some(header.epoch);
                self.rewritten = header.rewritten;
                self.report.first = header.base;
                self.report.header = Some(header);
            }
            Err(damage) => {
                // The epoch may be whole; the first batch that passes under it proves that.
                let all = Offset(0)..Offset(u64::MAX);
                let guess = SalvagedHeader::find(front).and_then(|header| {
                    let (at, field) = resync(self.bytes, header.epoch, &all)?;
                    Some((header.epoch, at, field.head.base_offset))
                });
                let (end, first) = match guess {
                    Some((epoch, at, first)) => {
                        self.epoch = Some(epoch);
                        (at, first)
                    }
                    None => (self.bytes.len(), Offset(0)),
                };
                self.report.first = first;
                self.report.damage.push(DamagedRange {
                    file_position: 0,
                    file_end: end as u64,
                    first,
                    next: first,
                    reason: damage.into(),
                });
                self.at = end;
            }
        }
        self.report.next = self.report.first;
        self.report.end = self.at as u64;
        self.report.sealed = self.epoch.is_some();
    }

    /// Checks the field here; `false` at the end of the batches.
    fn field(&mut self, epoch: Epoch) -> bool {
        let rest = &self.bytes[self.at..];
        let reason = match batch(rest, epoch) {
            Ok(field) => {
                let (expected, found) = (self.report.next, field.head.base_offset);
                let hole = self.rewritten.is_some() && found >= expected;
                if found != expected && !hole {
                    let lost = expected..found.max(expected);
                    self.damaged(
                        self.at..self.at,
                        lost,
                        BatchDamage::Order { expected, found }.into(),
                    );
                }
                self.report.batches += 1;
                self.report.records += u64::from(field.head.record_count);
                self.report.next = field.head.next_offset();
                self.at += field.len();
                self.report.end = self.at as u64;
                return true;
            }
            Err(reason) => reason,
        };
        if self.is_end(rest) {
            return false;
        }
        let first = self.report.next;
        match resync(rest, epoch, &(first..Offset(u64::MAX))) {
            Some((skipped, field)) => {
                let from = self.at;
                self.at += skipped;
                self.damaged(from..self.at, first..field.head.base_offset, reason.into());
                self.report.next = field.head.base_offset;
                true
            }
            None => {
                self.damaged_tail(rest, reason);
                false
            }
        }
    }

    /// Whether the rest is what may stand behind the batches: padding, or the zeroes of a file that still grows.
    fn is_end(&mut self, rest: &[u8]) -> bool {
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        match padding_front_len(rest) {
            Some(front) => zero(&rest[front..]),
            None => {
                let growing = zero(rest);
                self.report.sealed &= !growing;
                growing
            }
        }
    }

    /// No valid batch follows.
    fn damaged_tail(&mut self, rest: &[u8], reason: BatchDamage) {
        let first = self.report.next;
        let from = self.at;
        self.at += rest.len();
        let reason = match rest.first() {
            Some(&BATCH_TAG) => reason.into(),
            Some(&PADDING_TAG) | None => SegmentDamage::Padding,
            Some(_) if self.rewritten.is_some() => reason.into(),
            Some(_) => SegmentDamage::Padding,
        };
        if padding_front_len(rest).is_none() {
            self.report.sealed = false;
        }
        self.damaged(from..self.at, first..first, reason);
    }

    /// A rewritten segment says itself where it ends.
    fn check_rewritten(&mut self) {
        let Some(rewritten) = self.rewritten else { return };
        let len = self.bytes.len() as u64;
        if len < rewritten.end {
            let lost = self.report.next..rewritten.next;
            let reason = SegmentDamage::Truncated { len, end: rewritten.end };
            let at = self.bytes.len();
            self.report.sealed = false;
            if self.report.damage.last().is_none_or(|damage| damage.file_end != len) {
                self.damaged(at..at, lost, reason);
            }
        }
        if self.report.damage.is_empty() {
            self.report.next = rewritten.next;
        }
    }

    fn damaged(&mut self, place: Range<usize>, lost: Range<Offset>, reason: SegmentDamage) {
        self.report.damage.push(DamagedRange {
            file_position: place.start as u64,
            file_end: place.end as u64,
            first: lost.start,
            next: lost.end,
            reason,
        });
    }
}

fn batch(bytes: &[u8], epoch: Epoch) -> Result<BatchField, BatchDamage> {
    let field = BatchField::parse(bytes, bytes.len() as u64)?;
    field.check(bytes, epoch)?;
    Ok(field)
}
