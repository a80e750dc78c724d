//! The bytes of a segment, once somebody wants them.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{DiskFile, Mapping};
use crate::names::{Epoch, Offset};
use crate::segment::field::BatchField;
use crate::segment::header::{HEADER_BYTES_MAX, HeaderDamage, SalvagedHeader, SegmentHeader};
use crate::segment::{ReadError, Rewritten, Segment, SegmentDamage};

/// An opened segment.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) mapping: Arc<dyn Mapping>,
    pub(crate) epoch: Epoch,
    /// Where the batches start.
    pub(crate) data_start: u64,
    /// How far the file reached when it was opened; of a growing one: further than it will ever be published.
    pub(crate) file_len: u64,
    /// The file was rewritten and says itself where it ends.
    pub(crate) rewritten: Option<Rewritten>,
}

impl Content {
    /// `range` of the file, with its pages brought in first when they may be `cold`.
    pub(crate) fn bytes(&self, range: Range<u64>, cold: bool) -> io::Result<Bytes> {
        if cold {
            self.mapping.populate(range.clone())?;
        }
        Ok(self.mapping.clone().bytes(range))
    }
}

impl Segment {
    /// The segment's bytes; opens the file when nobody has yet.
    pub(crate) fn content(&self) -> Result<Arc<Content>, ReadError> {
        if let Some(content) = self.content.load_full() {
            return Ok(content);
        }
        let _opening = self.opening.lock();
        if let Some(content) = self.content.load_full() {
            return Ok(content);
        }
        let file = match self.home.disk.open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let next = self.published().next;
                return Err(ReadError::Missing { first: self.base, next });
            }
            Err(e) => return Err(self.io(e)),
        };
        let content = Arc::new(self.open_content(file.as_ref(), None)?);
        self.content.store(Some(content.clone()));
        Ok(content)
    }

    /// Reads the header of `file` and maps it: over `range` for a file that goes on growing, else as far as its
    /// batches go.
    pub(crate) fn open_content(
        &self,
        file: &dyn DiskFile,
        range: Option<u64>,
    ) -> Result<Content, ReadError> {
        let file_len = file.len().map_err(|e| self.io(e))?;
        let mut front = vec![0; HEADER_BYTES_MAX];
        let read = file.read_at(0, &mut front).map_err(|e| self.io(e))?;
        front.truncate(read);
        let published_end = self.published().end;
        let map = |rewritten: Option<Rewritten>| {
            let end = rewritten.map_or(published_end, |rewritten| rewritten.end);
            let mapped = range.unwrap_or_else(|| end.min(file_len)).max(1);
            file.map(mapped).map_err(|e| self.io(e))
        };
        let decoded = SegmentHeader::decode(&front).and_then(|(header, len)| {
            header.belongs_to(&self.home.identity, self.base).map(|()| (header, len))
        });
        match decoded {
            Ok((header, len)) => Ok(Content {
                mapping: map(header.rewritten)?,
                epoch: header.epoch,
                data_start: len as u64,
                file_len: range.unwrap_or(file_len),
                rewritten: header.rewritten,
            }),
            Err(damage @ HeaderDamage::Foreign { .. }) => Err(self.damaged(0, damage.into())),
            Err(damage) => {
                let salvaged = SalvagedHeader::find(&front)
                    .filter(|header| range.is_none() && self.proves(file, header));
                let Some(header) = salvaged else {
                    return Err(self.damaged(0, self.header_damage(damage, file_len)));
                };
                // Rewritten fields of a damaged header prove nothing; the manifest's do.
                Ok(Content {
                    mapping: map(None)?,
                    epoch: header.epoch,
                    data_start: header.len as u64,
                    file_len,
                    rewritten: None,
                })
            }
        }
    }

    /// Whether the first batch behind a damaged header belongs here and passes under the header's epoch.
    fn proves(&self, file: &dyn DiskFile, header: &SalvagedHeader) -> bool {
        let published = self.published();
        let start = header.len as u64;
        let read = |len: u64| {
            let mut bytes = vec![0; usize::try_from(len).ok()?];
            let read = file.read_at(start, &mut bytes).ok()?;
            bytes.truncate(read);
            Some(bytes)
        };
        let prove = || {
            let room = published.end.checked_sub(start)?;
            let front = read(room.min(HEADER_BYTES_MAX as u64))?;
            let field = BatchField::parse(&front, room.max(front.len() as u64)).ok()?;
            let bytes = read(field.len() as u64)?;
            field.check(&bytes, header.epoch).ok()?;
            (field.head.base_offset == self.base && field.head.next_offset() <= published.next)
                .then_some(())
        };
        header.rewritten.is_none() && prove().is_some()
    }

    fn header_damage(&self, damage: HeaderDamage, file_len: u64) -> SegmentDamage {
        match damage {
            HeaderDamage::Form { at } if at >= file_len => {
                SegmentDamage::Truncated { len: file_len, end: self.published().end }
            }
            damage => damage.into(),
        }
    }

    /// Uses `content` from now on.
    pub(crate) fn set_content(&self, content: Content) {
        self.content.store(Some(Arc::new(content)));
    }

    /// Everything from `file_position` on is lost.
    fn damaged(&self, file_position: u64, reason: SegmentDamage) -> ReadError {
        self.damaged_range(file_position, self.base..self.published().next, reason)
    }

    pub(crate) fn damaged_range(
        &self,
        file_position: u64,
        lost: Range<Offset>,
        reason: SegmentDamage,
    ) -> ReadError {
        ReadError::Damaged {
            file: self.path.clone(),
            file_position,
            first: lost.start,
            next: lost.end,
            reason,
        }
    }

    pub(crate) fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io { file: self.path.clone(), source }
    }
}
