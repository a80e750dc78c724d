//! Steps through the batches of a segment, from any place where one starts.
//!
//! Damage does not end a walk: it is reported once, with the offsets that are lost, and the walk goes on at the next
//! batch that proves itself by its checksum.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::{BatchDamage, BatchHead};
use crate::names::Offset;
use crate::segment::field::{BatchField, FRONT_BYTES, resync};
use crate::segment::{Content, ReadError, Segment, SegmentDamage};

/// A batch met on a walk.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) head: BatchHead,
    /// The whole field in the file.
    pub(crate) field: Range<u64>,
    /// The body in the file.
    pub(crate) body: Range<u64>,
}

/// Damage met on a walk.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) file_position: u64,
    pub(crate) lost: Range<Offset>,
    pub(crate) reason: SegmentDamage,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Batch(Found),
    Damage(Damage),
}

/// Whether the checksum of each batch is checked, or its front is believed where it fits what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Checksum,
    Front,
}

#[derive(Debug)]
pub(crate) struct Walk<'a> {
    segment: &'a Segment,
    content: &'a Content,
    at: u64,
    expected: Offset,
    /// Where the batches end, and the offset behind them.
    end: u64,
    next: Offset,
    window: Bytes,
    window_at: u64,
    /// Bytes that are looked at together.
    window_bytes: u64,
    cold: bool,
}

impl<'a> Walk<'a> {
    /// A walk over what is published, from the batch at `position`, which starts with offset `expected`.
    pub(crate) fn new(
        segment: &'a Segment,
        content: &'a Content,
        (position, expected): (u64, Offset),
        window_bytes: u64,
        cold: bool,
    ) -> Self {
        let published = segment.published();
        let (end, next) = content
            .rewritten
            .map_or((published.end, published.next), |rewritten| (rewritten.end, rewritten.next));
        Self {
            segment,
            content,
            at: position.max(content.data_start),
            expected,
            end,
            next,
            window: Bytes::new(),
            window_at: 0,
            window_bytes,
            cold,
        }
    }

    /// Where the next step starts.
    pub(crate) const fn position(&self) -> u64 {
        self.at
    }

    /// The next batch or damage; `None` at the end.
    pub(crate) fn step(&mut self, trust: Trust) -> Result<Option<Step>, ReadError> {
        if self.at >= self.limit() {
            return Ok(self.finish().map(Step::Damage));
        }
        match self.batch(trust)? {
            Ok(found) => {
                self.at = found.field.end;
                self.expected = found.head.next_offset();
                Ok(Some(Step::Batch(found)))
            }
            Err(reason) => self.step_over(reason).map(|damage| Some(Step::Damage(damage))),
        }
    }

    /// Where bytes end: those of the batches, or those of the file where it was cut.
    fn limit(&self) -> u64 {
        self.end.min(self.content.file_len)
    }

    /// Damage at the end, when offsets are missing there.
    fn finish(&mut self) -> Option<Damage> {
        let lost = self.expected..self.next;
        let cut = self.limit() < self.end;
        if lost.is_empty() || (self.content.rewritten.is_some() && !cut) {
            return None;
        }
        self.expected = self.next;
        let reason = if cut { self.truncated() } else { SegmentDamage::Lost { next: self.next } };
        Some(Damage { file_position: self.at, lost, reason })
    }

    fn truncated(&self) -> SegmentDamage {
        SegmentDamage::Truncated { len: self.content.file_len, end: self.end }
    }

    fn batch(&mut self, trust: Trust) -> Result<Result<Found, SegmentDamage>, ReadError> {
        let room = self.limit() - self.at;
        let front = self.look(FRONT_BYTES as u64)?;
        let field = match BatchField::parse(front, room) {
            Ok(field) => field,
            Err(damage) => return Ok(Err(damage.into())),
        };
        let field_bytes = field.len() as u64;
        if trust == Trust::Checksum {
            let epoch = self.content.epoch;
            let bytes = self.look(field_bytes)?;
            if let Err(damage) = field.check(bytes, epoch) {
                return Ok(Err(damage.into()));
            }
        }
        if !self.fits(&field.head) {
            let (expected, found) = (self.expected, field.head.base_offset);
            return Ok(Err(BatchDamage::Order { expected, found }.into()));
        }
        let end = self.at + field_bytes;
        let body = self.at + field.body.start as u64..end;
        Ok(Ok(Found { head: field.head, field: self.at..end, body }))
    }

    /// Offsets are dense, but for the holes that compaction leaves.
    fn fits(&self, head: &BatchHead) -> bool {
        let in_order = if self.content.rewritten.is_some() {
            head.base_offset >= self.expected
        } else {
            head.base_offset == self.expected
        };
        in_order && head.offset_span > 0 && head.next_offset() <= self.next
    }

    /// Goes to the next valid batch, or to the end when there is none.
    fn step_over(&mut self, reason: SegmentDamage) -> Result<Damage, ReadError> {
        let reason = match reason {
            SegmentDamage::Batch(BatchDamage::Cut { .. } | BatchDamage::Length { .. })
                if self.limit() < self.end =>
            {
                self.truncated()
            }
            reason => reason,
        };
        let file_position = self.at;
        let first = self.expected;
        let epoch = self.content.epoch;
        let offsets = first..self.next;
        let rest = self.look(self.limit() - self.at)?;
        match resync(rest, epoch, &offsets) {
            Some((skipped, field)) => {
                self.at += skipped as u64;
                self.expected = field.head.base_offset;
            }
            None => {
                self.at = self.limit();
                self.expected = self.next;
            }
        }
        Ok(Damage { file_position, lost: first..self.expected, reason })
    }

    /// At least `count` bytes from here on, or those up to the end.
    fn look(&mut self, count: u64) -> Result<&[u8], ReadError> {
        let wanted = self.limit().min(self.at + count);
        let loaded = self.window_at..self.window_at + self.window.len() as u64;
        if self.at < loaded.start || wanted > loaded.end {
            let end = self.limit().min(self.at + count.max(self.window_bytes));
            self.window =
                self.content.bytes(self.at..end, self.cold).map_err(|e| self.segment.io(e))?;
            self.window_at = self.at;
        }
        let start = usize::try_from(self.at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(start..).unwrap_or_default())
    }

    /// The bytes of a place in the file that was walked over.
    pub(crate) fn bytes(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.content.bytes(range, false).map_err(|e| self.segment.io(e))
    }
}
