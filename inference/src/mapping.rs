//! Model files as memory. The only unsafe code of this crate.
//!
//! A mapped file must not be cut while it is mapped: reading behind the cut ends the process. Model files are
//! written once, under another name, and renamed; whoever edits one in place does so at the risk of the process.
#![allow(unsafe_code, reason = "mapping a file is unsafe; each block says why it is sound")]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::OFlags;
use std::os::unix::fs::OpenOptionsExt;

/// From here on a file is mapped; a smaller one is read.
const MAPPED_BYTES_MIN: u64 = 64 * 1024;

/// A file's bytes.
#[derive(Debug)]
pub(crate) struct Mapping {
    bytes: Bytes,
    map: Option<Arc<memmap2::Mmap>>,
}

struct Owner(Arc<memmap2::Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Mapping {
    /// Of a file that is in memory.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, map: None }
    }
}

impl Mapping {
    /// The bytes. Slices of them keep the file mapped.
    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Lets the system take the pages back that were read so far; what is read later comes from the file again. For
    /// weights that were copied into another form while others are used in place.
    pub(crate) fn let_go(&self) {
        let Some(map) = &self.map else { return };
        // SAFETY: the mapping is private, of a file, and was never written, so that the pages hold nothing but what the
        // file holds: whoever reads a byte afterwards gets the file's again, as at the first time.
        let advised = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        // It was an offer.
        advised.ok();
    }
}

/// A file's bytes. Fails for what is no plain file and for one that is larger than `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Mapping> {
    // A FIFO that nobody writes to must not block.
    let mut options = File::options();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    read_open(&options.open(path)?, bytes_max)
}

/// The bytes of a file that is open.
pub(crate) fn read_open(file: &File, bytes_max: u64) -> io::Result<Mapping> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
    }
    let len = metadata.len();
    if len > bytes_max {
        let what = format!("it has {len} bytes, the limit is {bytes_max}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    if len < MAPPED_BYTES_MIN {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, bytes_max), &mut bytes)?;
        return Ok(Bytes::from(bytes).into());
    }
    // SAFETY: the mapping is private and read-only, and is only handed out as `Bytes`, which own it. Another process
    // that writes into the file would change bytes under a `&[u8]`; model files are not written in place (see above),
    // and nothing here relies on two reads of a byte being equal: every length was checked against the mapping's.
    let map = Arc::new(unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? });
    Ok(Mapping { bytes: Bytes::from_owner(Owner(Arc::clone(&map))), map: Some(map) })
}
