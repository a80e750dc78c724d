//! Work that a partition leaves to other threads: syncs before a snapshot, and removing names.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::segment::sync_in_steps;

/// A file or folder that must be synced before a snapshot may rely on a manifest.
#[derive(Debug)]
pub struct SyncHandle {
    path: PathBuf,
    target: SyncTarget,
}

#[derive(Debug)]
enum SyncTarget {
    File(Arc<dyn DiskFile>),
    Folder(Arc<dyn Disk>),
}

impl SyncHandle {
    pub(super) fn file(path: PathBuf, file: Arc<dyn DiskFile>) -> Self {
        Self { path, target: SyncTarget::File(file) }
    }

    pub(super) fn folder(path: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { path, target: SyncTarget::Folder(disk) }
    }

    /// Syncs, blocking.
    ///
    /// # Errors
    /// Final, unless [too many files are open](crate::disk::is_too_many_open): the manifest must not be relied on, and the bytes
    /// may be lost although they can still be read.
    pub fn run(&self) -> io::Result<()> {
        match &self.target {
            SyncTarget::File(file) => sync_in_steps(file.as_ref()),
            SyncTarget::Folder(disk) => disk.sync_dir(&self.path),
        }
        .map_err(|e| io::Error::new(e.kind(), format!("sync of {}: {e}", self.path.display())))
    }
}

/// Names to be removed. Readers that hold their files finish undisturbed.
#[derive(Debug)]
pub struct RemoveJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    what: Removal,
}

#[derive(Debug)]
enum Removal {
    Names(Vec<String>),
    Folder,
}

impl RemoveJob {
    pub(super) const fn names(disk: Arc<dyn Disk>, dir: PathBuf, names: Vec<String>) -> Self {
        Self { disk, dir, what: Removal::Names(names) }
    }

    pub(super) const fn folder(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, what: Removal::Folder }
    }

    /// Removes. What is gone already is no error, so it may be run again.
    ///
    /// # Errors
    /// What the disk says. Names that stay are removed when the partition is next recovered.
    pub fn run(&self) -> io::Result<()> {
        match &self.what {
            Removal::Names(names) => {
                for name in names {
                    gone(self.disk.remove(&self.dir.join(name)))?;
                }
                self.disk.sync_dir(&self.dir)
            }
            Removal::Folder => {
                gone(self.disk.remove_dir_all(&self.dir))?;
                match self.dir.parent() {
                    Some(parent) => self.disk.sync_dir(parent),
                    None => Ok(()),
                }
            }
        }
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
