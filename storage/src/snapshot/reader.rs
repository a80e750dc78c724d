//! Reads a snapshot block by block, and believes nothing that its checksum does not prove.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::SnapshotError;
use super::format::{
    BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, DamageReason, HEADER_BYTES, SnapshotDamage,
    TRAILER_BODY_BYTES, block_crc, decode_header, u32_at, u64_at,
};
use crate::disk::DiskFile;
use crate::names::{Epoch, Position};

/// A snapshot that was checked to its last byte, and gives its records in the order in which they were written.
#[derive(Debug)]
pub struct SnapshotReader {
    position: Position,
    damaged: Vec<SnapshotDamage>,
    records: Records,
}

impl SnapshotReader {
    /// Checks all of `file`, then starts at its front.
    pub(super) fn checked(
        file: Arc<dyn DiskFile>,
        path: &Path,
        position: Position,
    ) -> Result<Self, SnapshotDamage> {
        let mut check = Records::begin(Arc::clone(&file), path, position)?;
        while check.next()?.is_some() {}
        let records = Records::begin(file, path, position)?;
        Ok(Self { position, damaged: Vec::new(), records })
    }

    pub(super) fn set_damaged(&mut self, damaged: Vec<SnapshotDamage>) {
        self.damaged = damaged;
    }

    /// The log position whose state this is: replay starts there.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Newer snapshots that could not be used, the newest first.
    #[must_use]
    pub fn damaged(&self) -> &[SnapshotDamage] {
        &self.damaged
    }

    /// The next record, or `None` behind the last. Most records share memory with their whole block, so copy
    /// what is to be kept.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when the file changed, or became unreadable, after it was checked.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        Ok(self.records.next()?)
    }
}

/// Counts the whole records before the first damage.
pub(super) fn count(
    file: Arc<dyn DiskFile>,
    path: &Path,
    position: Position,
) -> (u64, Option<SnapshotDamage>) {
    let mut records = match Records::begin(file, path, position) {
        Ok(records) => records,
        Err(damage) => return (0, Some(damage)),
    };
    loop {
        match records.next() {
            Ok(Some(_)) => {}
            Ok(None) => return (records.count, None),
            Err(damage) => return (records.count, Some(damage)),
        }
    }
}

/// The records of a file.
#[derive(Debug)]
struct Records {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    epoch: Epoch,
    /// Where the next block begins.
    at: u64,
    blocks: u64,
    /// What is left of the block before `at`.
    block: Bytes,
    count: u64,
    stream_bytes: u64,
    ended: bool,
}

impl Records {
    fn begin(
        file: Arc<dyn DiskFile>,
        path: &Path,
        position: Position,
    ) -> Result<Self, SnapshotDamage> {
        let mut records = Self {
            file,
            path: path.to_owned(),
            epoch: Epoch::default(),
            at: HEADER_BYTES as u64,
            blocks: 0,
            block: Bytes::new(),
            count: 0,
            stream_bytes: 0,
            ended: false,
        };
        let mut header = [0; HEADER_BYTES];
        records.fill(0, &mut header, 0)?;
        records.epoch =
            decode_header(&header, position).map_err(|reason| records.damage(0, reason))?;
        Ok(records)
    }

    fn next(&mut self) -> Result<Option<Bytes>, SnapshotDamage> {
        if self.block.is_empty() && !self.next_block()? {
            return Ok(None);
        }
        let length = self.take(4)?;
        let record = self.take(u32_at(&length, 0) as usize)?;
        self.count += 1;
        Ok(Some(record))
    }

    /// The next `count` bytes of the stream, from as many blocks as it takes.
    fn take(&mut self, count: usize) -> Result<Bytes, SnapshotDamage> {
        if self.block.len() >= count {
            return Ok(self.block.split_to(count));
        }
        // Grown block by block, so that no length makes us ask for memory that the file cannot fill.
        let mut taken = Vec::with_capacity(count.min(BLOCK_BYTES_MAX));
        loop {
            let part = self.block.split_to(self.block.len().min(count - taken.len()));
            taken.extend_from_slice(&part);
            if taken.len() == count {
                return Ok(taken.into());
            }
            let at = self.at;
            if !self.next_block()? {
                return Err(self.damage(at, DamageReason::MiscountedRecords));
            }
        }
    }

    /// Reads and checks the next block into `block`; false when it was the trailer.
    fn next_block(&mut self) -> Result<bool, SnapshotDamage> {
        if self.ended {
            return Ok(false);
        }
        let start = self.at;
        let mut head = [0; BLOCK_HEAD_BYTES];
        self.fill(start, &mut head, start)?;
        let (length, crc) = (u32_at(&head, 0), u32_at(&head, 4));
        if length as usize > BLOCK_BYTES_MAX {
            return Err(self.damage(start, DamageReason::BadLength { length }));
        }
        let is_trailer = length == 0;
        let mut body = vec![0; if is_trailer { TRAILER_BODY_BYTES } else { length as usize }];
        self.fill(start + BLOCK_HEAD_BYTES as u64, &mut body, start)?;
        if crc != block_crc(&body, length, self.blocks, self.epoch) {
            return Err(self.damage(start, DamageReason::BadChecksum));
        }
        self.at = start + (BLOCK_HEAD_BYTES + body.len()) as u64;
        self.blocks += 1;
        if is_trailer {
            self.check_end(start, &body)?;
            self.ended = true;
            return Ok(false);
        }
        self.stream_bytes += body.len() as u64;
        self.block = body.into();
        Ok(true)
    }

    fn check_end(&self, trailer: u64, body: &[u8]) -> Result<(), SnapshotDamage> {
        if (u64_at(body, 0), u64_at(body, 8)) != (self.count, self.stream_bytes) {
            return Err(self.damage(trailer, DamageReason::MiscountedRecords));
        }
        match self.file.read_at(self.at, &mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damage(self.at, DamageReason::BytesBehindEnd)),
            Err(e) => Err(self.damage(self.at, DamageReason::Unreadable(e.kind()))),
        }
    }

    /// Reads exactly `buffer` from `position`, for the part that begins at `part`.
    fn fill(&self, position: u64, buffer: &mut [u8], part: u64) -> Result<(), SnapshotDamage> {
        match self.file.read_at(position, buffer) {
            Ok(read) if read == buffer.len() => Ok(()),
            Ok(_) => Err(self.damage(part, DamageReason::CutShort)),
            Err(e) => Err(self.damage(part, DamageReason::Unreadable(e.kind()))),
        }
    }

    fn damage(&self, file_position: u64, reason: DamageReason) -> SnapshotDamage {
        SnapshotDamage { file: self.path.clone(), file_position, reason }
    }
}
