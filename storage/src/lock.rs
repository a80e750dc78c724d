//! One process per data folder.
//!
//! The file `LOCK` is locked with `flock` for as long as the process lives: the kernel lets go of it however the
//! process ends, so a lock is never stale. The pid that is written in it, and the time of that writing (the file's
//! modification time), only serve the message that a second process gets.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;

use crate::names::Timestamp;

/// The name of the lock file in the data folder.
const LOCK_FILE: &str = "LOCK";

/// More than this is none of ours.
const HOLDER_BYTES_MAX: u64 = 256;

/// A data folder that belongs to this process until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// A data folder that cannot be taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another broker in this one, has it.
    #[error(
        "the data folder {} is in use by {holder}; stop it, or choose another folder",
        folder.display()
    )]
    Held {
        /// The data folder.
        folder: PathBuf,
        /// Who has it, as far as that is known.
        holder: Holder,
    },
    /// The lock file cannot be made or locked.
    #[error(
        "cannot lock {}: {source}; the folder must be a local one that this user may write to",
        file.display()
    )]
    Io {
        /// The lock file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The process that holds a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, when the lock file told it.
    pub pid: Option<u32>,
    /// When it took the folder, as far as the file system knows.
    pub since: Option<Timestamp>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) if pid == std::process::id() => {
                write!(f, "this very process (pid {pid})")
            }
            Some(pid) => write!(f, "the process with pid {pid}"),
            None => f.write_str("another process"),
        }
    }
}

impl FolderLock {
    /// Takes the folder, which must exist, for this process.
    ///
    /// # Errors
    /// [`LockError::Held`] when somebody else has it, at once and without waiting.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(LOCK_FILE);
        let failed = |source| LockError::Io { file: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            // What the present holder wrote must still be there when the lock is refused.
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let holder = Holder { since: written_at(&file), pid: pid_in(&file) };
                return Err(LockError::Held { folder: folder.to_owned(), holder });
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let text = format!("pid {}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn written_at(file: &File) -> Option<Timestamp> {
    let modified = file.metadata().ok()?.modified().ok()?;
    let since_1970 = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since_1970.as_micros()).ok().map(Timestamp)
}

fn pid_in(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("pid "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_and_free_again_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        let refused = FolderLock::take(folder.path()).unwrap_err();
        let message = refused.to_string();
        assert!(message.contains(&folder.path().display().to_string()), "{message}");
        assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_broken_lock_file_does_not_hide_that_the_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = FolderLock::take(folder.path()).unwrap();
        std::fs::write(folder.path().join(LOCK_FILE), [0xFF; 1000]).unwrap();
        let refused = FolderLock::take(folder.path()).unwrap_err();
        assert!(matches!(refused, LockError::Held { holder: Holder { pid: None, .. }, .. }));
    }

    #[test]
    fn a_missing_folder_and_a_link_are_refused_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let missing = FolderLock::take(&folder.path().join("no")).unwrap_err();
        assert!(missing.to_string().contains("no/LOCK"), "{missing}");
        std::os::unix::fs::symlink("elsewhere", folder.path().join(LOCK_FILE)).unwrap();
        assert!(FolderLock::take(folder.path()).is_err());
    }
}
