//! Faults that a test plans: the n-th operation of a kind fails, once or from then on.

use std::io::ErrorKind;
use std::path::Path;

/// What a disk is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Create a file.
    Create,
    /// Open a file, or a folder to sync its names.
    Open,
    /// Rename a file.
    Rename,
    /// Remove one name (each name that `remove_dir_all` removes counts for itself).
    Remove,
    /// Create one folder.
    CreateDir,
    /// List a folder.
    List,
    /// Make a folder's names durable.
    SyncDir,
    /// Ask for a length or for free space.
    Ask,
    /// Write bytes.
    Write,
    /// Read bytes.
    Read,
    /// Allocate blocks.
    Allocate,
    /// Overwrite with zeroes.
    Zero,
    /// Give blocks back.
    Punch,
    /// Make a file's bytes durable.
    SyncData,
    /// Map a file.
    Map,
    /// Read a mapped range into memory.
    Populate,
}

impl Operation {
    /// Whether it changes the disk, or what is durable on it. Only these can be cut by a power loss.
    #[must_use]
    pub const fn changes_disk(self) -> bool {
        match self {
            Self::Create
            | Self::Rename
            | Self::Remove
            | Self::CreateDir
            | Self::SyncDir
            | Self::Write
            | Self::Allocate
            | Self::Zero
            | Self::Punch
            | Self::SyncData => true,
            Self::Open | Self::List | Self::Ask | Self::Read | Self::Map | Self::Populate => false,
        }
    }
}

/// An operation that will fail.
#[derive(Clone, Debug)]
pub struct Fault {
    operation: Operation,
    kind: ErrorKind,
    path_part: String,
    /// Matching operations that still pass.
    passes: u64,
    lasting: bool,
}

impl Fault {
    /// The next `operation` fails with `kind`, once.
    #[must_use]
    pub const fn new(operation: Operation, kind: ErrorKind) -> Self {
        Self { operation, kind, path_part: String::new(), passes: 0, lasting: false }
    }

    /// Lets `passes` matching operations through before.
    #[must_use]
    pub const fn after(mut self, passes: u64) -> Self {
        self.passes = passes;
        self
    }

    /// Fails every matching operation from then on.
    #[must_use]
    pub const fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// Concerns only paths that contain `part`.
    #[must_use]
    pub fn at(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path_part);
        self
    }
}

/// The faults that lie ahead.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn plan(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts `operation` on `path` and says how it fails, if it does.
    pub(super) fn strike(&mut self, operation: Operation, path: &Path) -> Option<ErrorKind> {
        let mut struck = None;
        self.0.retain_mut(|fault| {
            let matches = fault.operation == operation
                && (fault.path_part.is_empty()
                    || path.to_string_lossy().contains(fault.path_part.as_str()));
            if !matches || struck.is_some() {
                return true;
            }
            if fault.passes > 0 {
                fault.passes -= 1;
                return true;
            }
            struck = Some(fault.kind);
            fault.lasting
        });
        struck
    }
}
