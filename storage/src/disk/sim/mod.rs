//! A disk in memory that loses power, for tests and simulations.
//!
//! It behaves like a Unix file system that promises no more than it must:
//!
//! - bytes become durable at [`sync_data`](DiskFile::sync_data), names at [`sync_dir`](Disk::sync_dir), or earlier
//!   by chance, in any order, as the kernel may write back at any time;
//! - [`SimDisk::crash`] takes the power away: each page (4 KiB) that was not synced is found old, new, or torn
//!   between the two; each length and each change of names that was not synced is found or not. All handles to the
//!   old disk fail from then on;
//! - [`SimDisk::crash_after`] takes it away in the middle of a chosen operation, of which any part is done;
//! - a planned [`Fault`] fails an operation. A failed sync is the worst kind: some pages are durable, the others
//!   count as clean, still read as if they were fine, and are gone after the next crash unless they are rewritten;
//! - a full disk ([`SimDisk::set_capacity`]) refuses blocks and folders, and takes a prefix of a write;
//! - bits can be flipped and files cut as rot or a stranger would do it.
//!
//! Everything follows from the seed and the order of operations: one thread with one seed gives one
//! [`trace`](SimDisk::trace_hash). Bytes that a mapping hands out are copies of what was there when they were asked for.
//! Only what was written takes memory, so files of any length are cheap.
//!
//! Not modelled: renaming a folder, links, permissions, and holes (blocks are held from the start of the file on).

mod fault;
mod file;
mod image;
mod random;
mod state;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use fault::{Fault, Operation};
pub use random::SeededEntropy;

use super::{Disk, DiskFile, Folder};
use file::SimFile;
use image::{Contents, Image};
use state::{Course, Request, State};
use tree::Entry;

/// A disk in memory. A clone is another handle to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk, whose chances follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::from_state(State::new(SeededEntropy::new(seed)))
    }

    fn from_state(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Takes the power away, if it is not gone already, and gives the disk that is found when it comes back.
    /// Every seed finds another one; all are possible. Faults are gone, the capacity stays.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut state = self.state.lock();
        state.power = false;
        Self::from_state(state.after_power_loss(SeededEntropy::new(seed)))
    }

    /// Lets `changes` more operations that change the disk pass, and takes the power away in the middle of the next.
    pub fn crash_after(&self, changes: u64) {
        self.state.lock().cut_after = Some(changes);
    }

    /// Whether the power is gone.
    #[must_use]
    pub fn is_off(&self) -> bool {
        !self.state.lock().power
    }

    /// A disk of its own with all that is seen on this one, wholly synced, without faults.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::from_state(self.state.lock().copy())
    }

    /// Plans a fault, on top of those planned before.
    pub fn fail(&self, fault: Fault) {
        self.state.lock().faults.plan(fault);
    }

    /// Forgets all planned faults and a planned crash.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.cut_after = None;
    }

    /// Bounds the bytes of blocks that files can hold; no bound at first.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes of blocks that files hold now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.state.lock().held_bytes()
    }

    /// The paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().tree.files()
    }

    /// All bytes of a file, as a reader sees them.
    ///
    /// # Errors
    /// `NotFound` when there is none. Works without power.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock();
        let id = state.tree.file(path)?;
        let live = &state.node(id)?.contents.live;
        let mut bytes = vec![0; usize::try_from(live.len()).map_err(io::Error::other)?];
        live.read(0, &mut bytes);
        Ok(bytes)
    }

    /// Puts a file there that is wholly durable, with its folders, in place of what was there.
    ///
    /// # Errors
    /// When the path, or one above it, is taken by something else.
    pub fn plant(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            self.create_dir_all(dir)?;
        }
        let file = match self.create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.truncate(path, 0)?;
                self.open(path)?
            }
            created => created?,
        };
        file.write_at(0, &[io::IoSlice::new(bytes)])?;
        file.sync_data()?;
        self.sync_dir(path.parent().unwrap_or(Path::new("")))
    }

    /// Flips a bit (0 to 7) of the byte at `position`, seen and durable.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u32) -> io::Result<()> {
        self.tamper(path, |image| image.flip_bit(position, bit))
    }

    /// Cuts or lengthens a file to `len` bytes, seen and durable.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    pub fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.tamper(path, |image| image.set_len(len))
    }

    fn tamper(&self, path: &Path, change: impl FnMut(&mut Image)) -> io::Result<()> {
        let mut state = self.state.lock();
        let id = state.tree.file(path)?;
        state.node(id)?.contents.tamper(change);
        Ok(())
    }

    /// How many operations were asked of the disk.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// How many of them could change it: what [`crash_after`](Self::crash_after) counts.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// A number that stands for every operation so far with its arguments: equal for equal runs.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.state.lock().trace_hash
    }

    /// Keeps every operation from now on as a line of text.
    pub fn keep_trace(&self) {
        self.state.lock().trace.get_or_insert_default();
    }

    /// The lines kept since [`keep_trace`](Self::keep_trace).
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.state.lock().trace.clone().unwrap_or_default()
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let course = state.begin(Request::of(Operation::Create), path)?;
        state.tree.check_free(path)?;
        let created = state.happens(course).then(|| {
            let id = state.add_node(Contents::default());
            state.tree.set(path, Entry::File(id));
            id
        });
        course.outcome(path)?;
        let id = created.ok_or_else(state::no_power)?;
        Ok(Arc::new(SimFile::open(&self.state, &mut state, id, path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.look(Operation::Open, path)?;
        let id = state.tree.file(path)?;
        Ok(Arc::new(SimFile::open(&self.state, &mut state, id, path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let course = state.begin(Request::of(Operation::Rename), from)?;
        state.tree.check_rename(from, to)?;
        if from != to && state.happens(course) {
            state.tree.rename(from, to);
            state.forget_unreachable();
        }
        course.outcome(from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let course = state.begin(Request::of(Operation::Remove), path)?;
        state.tree.file(path)?;
        remove_name(&mut state, path, course)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut missing: Vec<&Path> =
            dir.ancestors().take_while(|dir| !state.tree.has_folder(dir)).collect();
        missing.reverse();
        for dir in missing {
            let parent = dir.parent().unwrap_or(Path::new(""));
            state.look(Operation::Open, parent)?;
            let mut course = state.begin(Request::of(Operation::CreateDir), dir)?;
            state.tree.check_free(dir)?;
            if state.room() == 0 {
                course = Course::Fails(io::ErrorKind::StorageFull);
            }
            if state.happens(course) {
                state.tree.set(dir, Entry::Folder);
            }
            course.outcome(dir)?;
            sync_names(&mut state, parent)?;
        }
        if state.power { Ok(()) } else { Err(state::no_power()) }
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.power {
            return Err(state::no_power());
        }
        for (path, _) in state.tree.all_below(dir)? {
            let course = state.begin(Request::of(Operation::Remove), &path)?;
            remove_name(&mut state, &path, course)?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.look(Operation::List, dir)?;
        state.tree.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.open_dir(dir)?.sync()
    }

    fn open_dir(&self, dir: &Path) -> io::Result<Arc<dyn Folder>> {
        let mut state = self.state.lock();
        state.look(Operation::Open, dir)?;
        state.tree.check_folder(dir)?;
        Ok(Arc::new(SimFolder { state: Arc::clone(&self.state), path: dir.into() }))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.look(Operation::Ask, dir)?;
        Ok(state.room())
    }
}

/// An open folder.
#[derive(Debug)]
struct SimFolder {
    state: Arc<Mutex<State>>,
    path: Arc<Path>,
}

impl Folder for SimFolder {
    fn sync(&self) -> io::Result<()> {
        sync_names(&mut self.state.lock(), &self.path)
    }
}

fn remove_name(state: &mut State, path: &Path, course: Course) -> io::Result<()> {
    if state.happens(course) {
        state.tree.remove(path);
        state.forget_unreachable();
    }
    course.outcome(path)
}

fn sync_names(state: &mut State, dir: &Path) -> io::Result<()> {
    let course = state.begin(Request::of(Operation::SyncDir), dir)?;
    match course {
        Course::Whole => {
            state.tree.sync(dir)?;
            state.forget_unreachable();
        }
        Course::Cut => {
            let mut random = state.random.clone();
            state.tree.sync_partly(dir, &mut random);
            state.random = random;
        }
        Course::Fails(_) => {}
    }
    course.outcome(dir)
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SimDisk")
            .field("power", &state.power)
            .field("files", &state.tree.files().len())
            .field("operations", &state.operations)
            .finish_non_exhaustive()
    }
}
