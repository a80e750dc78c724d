//! Bytes staged for one vectored write.
//!
//! Small pieces are copied one behind the other into one buffer, so that a thousand little frames cost one entry
//! of the vector; pieces of [`SHARED_BYTES_MIN`] and more are kept by reference, so that large bodies are not copied.
//! The order in which they were put is the order in which they reach the file.

use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::Bytes;

use crate::disk::DiskFile;

/// From this size on a piece that could be shared is shared: copying it would cost more than another entry of the
/// vector does.
pub const SHARED_BYTES_MIN: usize = 32 * 1024;

/// What [`Gather::clear`] keeps of the buffer; a burst above it is given back.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What [`Gather::clear`] keeps of the list of pieces.
const KEPT_PIECES_MAX: usize = 4_096;

/// Pieces per call of the disk, below the kernel's limit of 1,024.
const PIECES_PER_WRITE: usize = 1_000;

/// Bytes staged for one vectored write.
#[derive(Debug, Default)]
pub struct Gather {
    copied: Vec<u8>,
    pieces: Vec<Piece>,
    len: u64,
}

#[derive(Debug)]
enum Piece {
    Copied(Range<usize>),
    Shared(Bytes),
}

/// Bytes that were reserved in a [`Gather`], to be filled before it is written.
#[derive(Debug)]
pub struct GatherMark(Range<usize>);

impl Gather {
    /// Nothing staged.
    #[must_use]
    pub const fn new() -> Self {
        Self { copied: Vec::new(), pieces: Vec::new(), len: 0 }
    }

    /// Forgets what was staged, and keeps a bounded part of the memory for the next time.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.pieces.clear();
        self.len = 0;
        self.copied.shrink_to(KEPT_BYTES_MAX);
        self.pieces.shrink_to(KEPT_PIECES_MAX);
    }

    /// Bytes staged.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is staged.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stages a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        let start = self.copied.len();
        self.copied.extend_from_slice(bytes);
        self.copied_since(start);
    }

    /// Stages `bytes`, by reference when they are large.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(bytes);
        }
        self.pieces.push(Piece::Shared(bytes.clone()));
        self.len += bytes.len() as u64;
    }

    /// Stages `count` zero bytes to be overwritten by [`patch`](Self::patch).
    pub fn mark(&mut self, count: usize) -> GatherMark {
        let start = self.copied.len();
        self.copied.resize(start + count, 0);
        self.copied_since(start);
        GatherMark(start..start + count)
    }

    /// Fills what `mark` reserved.
    ///
    /// # Panics
    /// When `bytes` has another length than was reserved, or the mark is of before a `clear`.
    pub fn patch(&mut self, mark: &GatherMark, bytes: &[u8]) {
        self.copied[mark.0.clone()].copy_from_slice(bytes);
    }

    /// Writes all of it from `position` on, in as few calls as the kernel allows. It stays staged.
    ///
    /// # Errors
    /// Those of [`DiskFile::write_at`]: any prefix may have been written.
    pub fn write_to(&self, file: &dyn DiskFile, position: u64) -> io::Result<()> {
        self.write_part_to(file, position, 0..self.len)
    }

    /// Writes the bytes `part`, counted from the first that was staged, from `position` on. They stay staged.
    ///
    /// # Errors
    /// Those of [`DiskFile::write_at`]: any prefix may have been written.
    pub fn write_part_to(
        &self,
        file: &dyn DiskFile,
        mut position: u64,
        part: Range<u64>,
    ) -> io::Result<()> {
        let mut slices = Vec::with_capacity(self.pieces.len().min(PIECES_PER_WRITE));
        let mut start = 0;
        for pieces in self.pieces.chunks(PIECES_PER_WRITE) {
            slices.clear();
            for piece in pieces {
                let bytes = self.bytes_of(piece);
                let inside = clip(&part, start, bytes.len());
                if !inside.is_empty() {
                    slices.push(IoSlice::new(&bytes[inside]));
                }
                start += bytes.len() as u64;
            }
            file.write_at(position, &slices)?;
            position += slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        }
        Ok(())
    }

    /// All of it in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| self.bytes_of(piece)).copied().collect()
    }

    fn bytes_of<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        match piece {
            Piece::Copied(range) => &self.copied[range.clone()],
            Piece::Shared(bytes) => bytes,
        }
    }

    /// Accounts for what was copied from `start` on: joined to the last piece where that was copied too.
    fn copied_since(&mut self, start: usize) {
        let end = self.copied.len();
        if start == end {
            return;
        }
        self.len += (end - start) as u64;
        match self.pieces.last_mut() {
            Some(Piece::Copied(range)) => range.end = end,
            Some(Piece::Shared(_)) | None => self.pieces.push(Piece::Copied(start..end)),
        }
    }
}

/// Which of the `len` bytes that begin at `start` lie in `part`.
fn clip(part: &Range<u64>, start: u64, len: usize) -> Range<usize> {
    let inside = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX).min(len);
    inside(part.start)..inside(part.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;

    fn large(byte: u8) -> Bytes {
        Bytes::from(vec![byte; SHARED_BYTES_MIN])
    }

    #[test]
    fn order_is_kept_across_copied_shared_and_patched_pieces() {
        let mut gather = Gather::new();
        let mark = gather.mark(2);
        gather.put(b"ab");
        gather.put_shared(&large(7));
        gather.put_shared(&Bytes::from_static(b"small"));
        gather.put(b"");
        gather.patch(&mark, b"<>");

        let mut expected = b"<>ab".to_vec();
        expected.extend_from_slice(&large(7));
        expected.extend_from_slice(b"small");
        assert_eq!(gather.to_vec(), expected);
        assert_eq!(gather.len(), expected.len() as u64);
        assert_eq!(gather.pieces.len(), 3);
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let mut gather = Gather::new();
        gather.put_shared(&large(1));
        assert!(gather.copied.is_empty());
    }

    #[test]
    fn a_part_may_begin_and_end_inside_of_pieces() {
        let disk = SimDisk::new(1);
        let mut gather = Gather::new();
        gather.put(b"abc");
        gather.put_shared(&large(7));
        gather.put(b"xyz");
        let all = gather.to_vec();
        for (index, part) in
            [0..3, 1..2, 2..40, 3..3, 5..32_770, 32_769..32_774].into_iter().enumerate()
        {
            let path = index.to_string();
            let file = disk.create(path.as_ref()).unwrap();
            gather.write_part_to(&*file, 0, part.clone()).unwrap();
            let wanted = usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap();
            assert_eq!(disk.contents(path.as_ref()).unwrap(), all[wanted], "{part:?}");
        }
    }

    #[test]
    fn clear_forgets_and_gives_back_a_burst() {
        let mut gather = Gather::new();
        gather.put(&vec![1; 3 * KEPT_BYTES_MAX]);
        gather.clear();
        assert!(gather.is_empty());
        assert!(gather.to_vec().is_empty());
        assert!(gather.copied.capacity() <= KEPT_BYTES_MAX);
    }
}
