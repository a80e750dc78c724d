//! The disk of the operating system (Linux).
//!
//! Files are created with mode 0600 and folders with 0700. A symbolic link in place of a file is refused
//! (`O_NOFOLLOW`), and no file leaks into a child process (`O_CLOEXEC`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::{BLOCK_BYTES, Disk, DiskFile, Folder, Mapping, mapping};

/// Zeroes written at a time where the file system cannot allocate or zero a range by itself.
const ZEROES: &[u8] = &[0; 64 * 1024];

/// The kernel takes at most this many pieces in one vectored write (`IOV_MAX`).
const PIECES_MAX: usize = 1_024;

/// What fails when there are too many mappings, and is told from a lack of memory by that.
const MAP: &str = "map";

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        open(path, OpenOptions::new().create_new(true).mode(0o600))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        open(path, &mut OpenOptions::new())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(|e| named(e, "rename", from))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(|e| named(e, "remove", path))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        // Opened first: where no more files can be opened, no name may stay that was not synced.
        let names = File::open(or_here(parent)).map_err(|e| named(e, "open", parent))?;
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {}
            // Somebody else was faster; the name still has to be durable when this returns.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(e) => return Err(named(e, "create", dir)),
        }
        names.sync_all().map_err(|e| named(e, "sync", parent))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir).map_err(|e| named(e, "remove", dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| named(e, "list", dir))? {
            // A name that is no text is none of ours; callers meet it as a stranger, which they skip or report.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Folder>> {
        let file = File::open(or_here(dir)).map_err(|e| named(e, "open", dir))?;
        Ok(Arc::new(RealFolder { file, path: dir.to_owned() }))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat =
            rustix::fs::statvfs(dir).map_err(|e| named(e.into(), "ask for free space", dir))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<Arc<dyn DiskFile>> {
    options.read(true).write(true);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(path).map_err(|e| named(e, "open", path))?;
    Ok(Arc::new(RealFile { file: Arc::new(file), path: path.to_owned() }))
}

fn or_here(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// The same error, saying what was tried and where, and which limit is in the way. A used-up quota is a full disk to us.
fn named(error: io::Error, verb: &str, path: &Path) -> io::Error {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    let (kind, advice) = if is(Errno::MFILE) {
        let advice = "; raise the limit of open files (systemd: LimitNOFILE, a shell: ulimit -n)";
        (io::ErrorKind::QuotaExceeded, advice)
    } else if is(Errno::NFILE) {
        (
            io::ErrorKind::QuotaExceeded,
            "; raise the machine's limit of open files (sysctl fs.file-max)",
        )
    } else if is(Errno::NOMEM) && verb == MAP {
        (io::ErrorKind::QuotaExceeded, "; raise the limit of mappings (sysctl vm.max_map_count)")
    } else if error.kind() == io::ErrorKind::QuotaExceeded {
        (io::ErrorKind::StorageFull, "")
    } else {
        (error.kind(), "")
    };
    io::Error::new(kind, format!("cannot {verb} {}: {error}{advice}", path.display()))
}

/// An open folder of the operating system.
#[derive(Debug)]
struct RealFolder {
    file: File,
    /// For errors.
    path: PathBuf,
}

impl Folder for RealFolder {
    fn sync(&self) -> io::Result<()> {
        self.file.sync_all().map_err(|e| named(e, "sync", &self.path))
    }
}

/// An open file of the operating system.
#[derive(Debug)]
struct RealFile {
    file: Arc<File>,
    /// What it was called when it was opened, for errors.
    path: PathBuf,
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(|e| named(e, "ask for the length of", &self.path))?.len())
    }

    fn write_at(&self, position: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        write_all(&self.file, position, slices).map_err(|e| named(e, "write", &self.path))
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(named(e, "read", &self.path)),
            }
        }
        Ok(filled)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let old = self.len()?;
        if len <= old {
            return Ok(());
        }
        let grown = match fallocate(&self.file, FallocateFlags::empty(), old..len) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => write_zeroes(&self.file, old..len),
            result => result,
        };
        if grown.is_err() {
            // ext4 keeps what it could allocate, and the longer length. The caller hears of the first error; a
            // file that cannot even be cut back is just longer than it need be.
            let _kept = self.file.set_len(old);
        }
        grown.map_err(|e| named(e, "allocate", &self.path))
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::ZERO_RANGE, range.clone()) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => write_zeroes(&self.file, range),
            result => result,
        }
        .map_err(|e| named(e, "zero", &self.path))
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        // The kernel would overwrite the ends of the range that fill no block with zeroes.
        let range =
            range.start.next_multiple_of(BLOCK_BYTES)..range.end / BLOCK_BYTES * BLOCK_BYTES;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, range) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
            result => result.map_err(|e| named(e, "punch", &self.path)),
        }
    }

    fn write_back(&self, range: Range<u64>) -> io::Result<()> {
        match mapping::write_back(&self.file, &range) {
            // Not every file system can.
            Err(e) if e.kind() == io::ErrorKind::Unsupported => self.sync_data(),
            result => result.map_err(|e| named(e, "write back", &self.path)),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|e| named(e, "sync", &self.path))
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        let mapped = mapping::MappedFile::new(Arc::clone(&self.file), len)
            .map_err(|e| named(e, MAP, &self.path))?;
        Ok(Arc::new(mapped))
    }
}

/// Writes all of `slices`, however little the kernel takes at a time.
fn write_all(file: &File, mut position: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
    let mut rest = slices;
    // How much of the first of `rest` is written already.
    let mut offset = 0;
    while let Some(first) = rest.first() {
        let written = if offset == 0 {
            rustix::io::pwritev(file, &rest[..rest.len().min(PIECES_MAX)], position)
        } else {
            rustix::io::pwrite(file, &first[offset..], position)
        };
        match written {
            // Nothing moves only where there is nothing to write (the kernel took a run of empty pieces).
            Ok(0) if offset == 0 && rest.iter().take(PIECES_MAX).all(|slice| slice.is_empty()) => {
                rest = &rest[rest.len().min(PIECES_MAX)..];
                continue;
            }
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                offset += written;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        while let Some(first) = rest.first().filter(|first| offset >= first.len()) {
            offset -= first.len();
            rest = &rest[1..];
        }
    }
    Ok(())
}

fn write_zeroes(file: &File, range: Range<u64>) -> io::Result<()> {
    let mut position = range.start;
    while position < range.end {
        let rest = usize::try_from(range.end - position).unwrap_or(usize::MAX);
        let piece = &ZEROES[..rest.min(ZEROES.len())];
        write_all(file, position, &[IoSlice::new(piece)])?;
        position += piece.len() as u64;
    }
    Ok(())
}

/// `fallocate`, as often as signals interrupt it. `Unsupported` when the file system does not know `flags`.
fn fallocate(file: &File, flags: FallocateFlags, range: Range<u64>) -> io::Result<()> {
    if range.start >= range.end {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(file, flags, range.start, range.end - range.start) {
            Err(Errno::INTR) => {}
            // ENOSYS comes from old kernels and from emulated ones.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::is_too_many_open;

    #[test]
    fn a_file_too_many_is_told_from_a_failing_disk_and_says_which_limit_to_raise() {
        let of = |errno: Errno, verb| named(errno.into(), verb, Path::new("/data/f"));
        for (errno, verb, limit) in [
            (Errno::MFILE, "open", "LimitNOFILE"),
            (Errno::NFILE, "sync", "fs.file-max"),
            (Errno::NOMEM, MAP, "vm.max_map_count"),
        ] {
            let error = of(errno, verb);
            assert!(is_too_many_open(&error) && error.to_string().contains(limit), "{error}");
        }
        assert_eq!(of(Errno::DQUOT, "write").kind(), io::ErrorKind::StorageFull);
        // A sync that fails is final, for whatever reason.
        for (errno, verb) in [(Errno::NOMEM, "sync"), (Errno::IO, MAP), (Errno::IO, "open")] {
            assert!(!is_too_many_open(&of(errno, verb)), "{errno}");
        }
    }
}
