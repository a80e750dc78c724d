//! The one door to files.
//!
//! Everything that storage keeps goes through [`Disk`], [`DiskFile`] and [`Mapping`]. [`RealDisk`] is
//! the operating system; [`SimDisk`](sim::SimDisk) is a disk in memory that can lose any subset of
//! unsynced pages, tear a write, flip a bit, fail a sync and run out of space.
//!
//! What is durable, and when:
//!
//! - bytes: after [`DiskFile::sync_data`] of the file returned `Ok` (this includes its length and allocation);
//! - a name (create, rename, remove): after [`Disk::sync_dir`] of its folder, or [`Folder::sync`], returned `Ok`.
//!
//! A full disk, and a quota that is used up, is `StorageFull`. `QuotaExceeded` says that no more files can be opened or mapped
//! ([`is_too_many_open`]): nothing has changed then, and the same call succeeds once some are closed.
//!
//! After a failed `sync_data` nothing may be assumed of the file ever again: the kernel may count the
//! lost pages as clean. Callers poison themselves and never retry.

mod give_back;
mod mapping;
mod real;
pub mod sim;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use give_back::give_back;
pub use real::RealDisk;

/// The granularity of giving space back, and of what a power loss keeps or loses at once: the block of common file
/// systems and the page of common machines.
pub const BLOCK_BYTES: u64 = 4_096;

/// Whether no more files could be opened or mapped: nothing has changed, and the same call may succeed later.
#[must_use]
pub fn is_too_many_open(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::QuotaExceeded
}

/// A place for files.
pub trait Disk: Debug + Send + Sync {
    /// Creates a file for reading and writing; its name must be free.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, else what the file system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives `from` the name `to`, replacing what was there, atomically.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Mappings and open files of it stay usable.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder and the missing ones above it, and makes their names durable.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Removes a folder with all that it holds.
    ///
    /// # Errors
    /// What the file system says; `NotFound` when there is none.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names in a folder (files and folders), sorted.
    ///
    /// # Errors
    /// `NotFound` when there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a folder durable. Opens it for that.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Opens a folder, for who has to sync its names also when no more files can be opened.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Folder>>;

    /// Bytes that can still be allocated under `dir`.
    ///
    /// # Errors
    /// What the file system says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open folder.
pub trait Folder: Debug + Send + Sync {
    /// Makes the names in it durable. Opens nothing.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. Positions and lengths are bytes.
#[expect(clippy::len_without_is_empty, reason = "a file is asked for its length, which can fail")]
pub trait DiskFile: Debug + Send + Sync {
    /// The file's length.
    ///
    /// # Errors
    /// What the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Writes all of `slices`, one behind the other, from `position` on (as many system calls as it takes).
    ///
    /// # Errors
    /// `StorageFull` (ENOSPC), or what the file system says; any prefix may have been written.
    fn write_at(&self, position: u64, slices: &[IoSlice<'_>]) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Grows the file to `len` bytes with blocks allocated behind all of them; new bytes read as zero.
    /// A `len` at or below the file's length does nothing.
    ///
    /// # Errors
    /// `StorageFull` when there is no room: the file then has its old length again and holds no more blocks than before.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Overwrites `range` with zeroes (it stays allocated).
    ///
    /// # Errors
    /// What the file system says.
    fn zero(&self, range: Range<u64>) -> io::Result<()>;

    /// Gives the whole blocks ([`BLOCK_BYTES`]) inside `range` back to the file system where that is possible; they
    /// read as zero and the file keeps its length. A file system that cannot leaves them as they are.
    ///
    /// # Errors
    /// What the file system says, other than "not supported".
    fn punch(&self, range: Range<u64>) -> io::Result<()>;

    /// Writes what is dirty in `range` out and waits for it. It proves nothing, but a later sync finds less to do: so
    /// much dirty data can be synced in small steps, with others' syncs between them.
    ///
    /// # Errors
    /// Final, as for [`sync_data`](Self::sync_data): the kernel tells of a lost page once.
    fn write_back(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes every byte written so far durable, with the file's length (`fdatasync`).
    ///
    /// # Errors
    /// Final: see the module's page.
    fn sync_data(&self) -> io::Result<()>;

    /// Maps the first `len` bytes read-only, once; `len` may lie beyond the end of the file.
    ///
    /// # Errors
    /// What the system says (out of maps or address space).
    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>>;
}

/// A read-only view of a file. Only bytes that are allocated and never written again may be asked for.
pub trait Mapping: Debug + Send + Sync {
    /// `range` as bytes that keep the mapping alive: no copy on a real disk.
    ///
    /// # Panics
    /// When `range` lies outside of the mapping.
    fn bytes(self: Arc<Self>, range: Range<u64>) -> Bytes;

    /// Reads `range` into memory now, blocking, so that touching it later does not.
    ///
    /// # Errors
    /// An I/O error of the device (which would else be a SIGBUS at the first touch).
    fn populate(&self, range: Range<u64>) -> io::Result<()>;
}
