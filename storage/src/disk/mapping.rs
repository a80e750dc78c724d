//! Files mapped read-only, and the other call to the page cache that Rust has no safe door for.
//! The only `unsafe` of the project is in this file.
//!
//! A mapping covers a range of addresses once and for all, also where the file does not reach yet; as the file
//! grows, the same mapping shows the new bytes (measured on ext4 and tmpfs). Touching an address beyond the end of
//! the file, or one whose page the device cannot read, is a SIGBUS. Hence:
//!
//! - [`MappedFile::bytes`] refuses, with a panic, what lies beyond the end of the file;
//! - nothing here or elsewhere ever shortens or punches bytes that a reader may hold;
//! - a caller that cannot rule out a cold page runs [`MappedFile::populate`] first, which turns the SIGBUS of a
//!   broken device into an error. (Another process that truncates the file is kept out by the folder's lock.)

#![expect(
    unsafe_code,
    reason = "a mapping and sync_file_range have no safe door; each block proves itself"
)]

use std::ffi::{c_int, c_uint};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};

use super::Mapping;

/// Bytes read at a time where the kernel cannot populate a mapping by itself.
const POPULATE_READ_BYTES: u64 = 256 * 1024;

/// The first bytes of a file, mapped read-only.
pub(super) struct MappedFile {
    map: MmapRaw,
    file: Arc<File>,
    /// A length that the file is known to have reached; it may be longer, and is never shorter.
    reached: AtomicU64,
}

impl MappedFile {
    pub(super) fn new(file: Arc<File>, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{len} bytes cannot be mapped on this machine"),
            )
        })?;
        let map = MmapOptions::new().len(len).map_raw_read_only(&*file)?;
        let reached = AtomicU64::new(file.metadata()?.len());
        Ok(Self { map, file, reached })
    }

    /// Whether every byte of `range` is inside of the mapping and of the file.
    fn covers(&self, range: &Range<u64>) -> bool {
        let in_map = range.start <= range.end && range.end <= self.map.len() as u64;
        if !in_map || range.end <= self.reached.load(Ordering::Relaxed) {
            return in_map;
        }
        let Ok(metadata) = self.file.metadata() else { return false };
        self.reached.fetch_max(metadata.len(), Ordering::Relaxed);
        range.end <= metadata.len()
    }
}

impl Mapping for MappedFile {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "covers() proved that the range lies in the mapping, whose length is a usize"
    )]
    fn bytes(self: Arc<Self>, range: Range<u64>) -> Bytes {
        assert!(
            self.covers(&range),
            "bytes {}..{} lie beyond the mapping ({} bytes) or the end of its file",
            range.start,
            range.end,
            self.map.len()
        );
        let (start, len) = (range.start as usize, (range.end - range.start) as usize);
        Bytes::from_owner(MappedBytes { mapped: self, start, len })
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        if !self.covers(&range) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "bytes {}..{} lie beyond the mapping or the end of its file",
                    range.start, range.end
                ),
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "covers() proved that the range lies in the mapping, whose length is a usize"
        )]
        let (start, len) = (range.start as usize, (range.end - range.start) as usize);
        if len == 0 {
            return Ok(());
        }
        match self.map.advise_range(Advice::PopulateRead, start, len) {
            Ok(()) => Ok(()),
            // Before Linux 5.14 the advice is unknown. Reading brings the pages into the cache all the same, and
            // reports what the device says; a later touch then costs a minor fault, without waiting.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => self.read_through(range),
            // EFAULT and EHWPOISON stand for a page that could not be read. Reading it tells the true error.
            Err(e) => self.read_through(range).and(Err(e)),
        }
    }
}

impl MappedFile {
    fn read_through(&self, range: Range<u64>) -> io::Result<()> {
        let mut buffer = vec![0; usize::try_from(POPULATE_READ_BYTES).unwrap_or(4096)];
        let mut position = range.start;
        while position < range.end {
            match self.file.read_at(&mut buffer, position) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => position += read as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile")
            .field("len", &self.map.len())
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// A part of a mapping that keeps all of it alive.
struct MappedBytes {
    mapped: Arc<MappedFile>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY:
        // - in bounds: `start + len` was checked against the mapping's length when `self` was made (`bytes` is the
        //   only place that makes one), and neither changes afterwards;
        // - mapped as long as the slice lives: `self.mapped` owns the mapping, which is never unmapped or remapped
        //   before its last owner drops it, and the slice borrows `self`;
        // - readable and initialised: the mapping is shared with the file and `bytes` saw the file reach beyond the
        //   range; files are never shortened, so every page of it has contents;
        // - not written while borrowed: the mapping is read-only, so no store goes through it, and by the contract
        //   of `Mapping` only bytes that are never written again are asked for (segments hand out what lies below
        //   their published mark, and write only above it); other processes are kept out by the folder's lock;
        // - the length fits an isize, as it is part of one allocation made by mmap.
        unsafe { std::slice::from_raw_parts(self.mapped.map.as_ptr().add(self.start), self.len) }
    }
}

/// Writes the dirty pages of `range` to the device and waits for them, without any promise of durability.
pub(super) fn write_back(file: &File, range: &Range<u64>) -> io::Result<()> {
    // SAFETY: the declaration is that of the C library of Linux (glibc and musl): two ints around two 64-bit
    // offsets. The call takes no pointer and touches no memory of ours, so it is safe with any arguments.
    unsafe extern "C" {
        safe fn sync_file_range(fd: c_int, offset: i64, bytes: i64, flags: c_uint) -> c_int;
    }
    /// `SYNC_FILE_RANGE_WAIT_BEFORE`, `_WRITE` and `_WAIT_AFTER` of Linux.
    const WRITE_AND_WAIT: c_uint = 1 | 2 | 4;

    let bytes = range.end.saturating_sub(range.start);
    if let (Ok(offset), Ok(bytes @ 1..)) = (i64::try_from(range.start), i64::try_from(bytes)) {
        while sync_file_range(file.as_raw_fd(), offset, bytes, WRITE_AND_WAIT) != 0 {
            match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                // ESPIPE and EINVAL: a file system that knows no such thing.
                e if matches!(
                    e.kind(),
                    io::ErrorKind::NotSeekable | io::ErrorKind::InvalidInput
                ) =>
                {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                e => return Err(e),
            }
        }
    }
    Ok(())
}
