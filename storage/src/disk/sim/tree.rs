//! The names of a simulated disk: those that are seen, those that are durable, and the changes in between.
//!
//! A change of names is atomic, and waits until its folder is synced. At a power loss each waiting change is kept or
//! lost for itself, except that a change is lost with an earlier one of the same name: a rename cannot outlive the
//! loss of the creation before it. What hangs below a folder that was lost is lost too.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use super::random::SeededEntropy;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Folder,
    File(NodeId),
}

impl Entry {
    const fn file(&self) -> Option<NodeId> {
        match self {
            Self::File(id) => Some(*id),
            Self::Folder => None,
        }
    }
}

/// The number of a file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(pub(super) u64);

type Names = BTreeMap<PathBuf, Entry>;

#[derive(Clone, Debug)]
enum Change {
    Set(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    fn paths(&self) -> [&Path; 2] {
        match self {
            Self::Set(path, _) | Self::Remove(path) => [path, path],
            Self::Rename(from, to) => [from, to],
        }
    }

    fn shares_a_name(&self, other: &Self) -> bool {
        self.paths().iter().any(|path| other.paths().contains(path))
    }

    /// The file that it gives a name to.
    const fn file(&self) -> Option<NodeId> {
        match self {
            Self::Set(_, entry) => entry.file(),
            Self::Remove(_) | Self::Rename(..) => None,
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        self.paths().iter().any(|path| parent(path) == dir)
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Set(path, entry) => {
                names.insert(path.clone(), *entry);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(entry) = names.remove(from) {
                    names.insert(to.clone(), entry);
                }
            }
        }
    }
}

/// The names of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    live: Names,
    durable: Names,
    waiting: Vec<Change>,
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The folders that are there from the start.
fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.parent().is_none() || path == Path::new(".")
}

fn error(kind: ErrorKind, path: &Path) -> Error {
    Error::new(kind, format!("simulated disk: {kind}: {}", path.display()))
}

impl Tree {
    pub(super) fn file(&self, path: &Path) -> Result<NodeId> {
        match self.live.get(path) {
            Some(Entry::File(id)) => Ok(*id),
            Some(Entry::Folder) => Err(error(ErrorKind::IsADirectory, path)),
            None => Err(error(ErrorKind::NotFound, path)),
        }
    }

    pub(super) fn has_folder(&self, dir: &Path) -> bool {
        is_root(dir) || self.live.get(dir) == Some(&Entry::Folder)
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        is_root(path) || self.live.contains_key(path)
    }

    pub(super) fn check_folder(&self, dir: &Path) -> Result<()> {
        if self.has_folder(dir) { Ok(()) } else { Err(error(ErrorKind::NotFound, dir)) }
    }

    /// Whether `path` could be created.
    pub(super) fn check_free(&self, path: &Path) -> Result<()> {
        self.check_folder(parent(path))?;
        if self.has(path) { Err(error(ErrorKind::AlreadyExists, path)) } else { Ok(()) }
    }

    /// Whether `from` could be renamed to `to`; the files that they are.
    pub(super) fn check_rename(&self, from: &Path, to: &Path) -> Result<Option<NodeId>> {
        self.file(from)?;
        self.check_folder(parent(to))?;
        match self.live.get(to) {
            Some(Entry::Folder) => Err(error(ErrorKind::IsADirectory, to)),
            Some(Entry::File(replaced)) => Ok(Some(*replaced)),
            None => Ok(None),
        }
    }

    pub(super) fn set(&mut self, path: &Path, entry: Entry) {
        self.change(Change::Set(path.to_owned(), entry));
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.change(Change::Remove(path.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.waiting.push(change);
    }

    /// The names right below `dir`, sorted.
    pub(super) fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.check_folder(dir)?;
        let below = self.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(below.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    /// `dir` and everything below it, the deepest first.
    pub(super) fn all_below(&self, dir: &Path) -> Result<Vec<(PathBuf, Entry)>> {
        self.check_folder(dir)?;
        let below = self.live.iter().filter(|(path, _)| path.starts_with(dir));
        Ok(below.rev().map(|(path, entry)| (path.clone(), *entry)).collect())
    }

    /// Every file.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files = self.live.iter().filter(|(_, entry)| **entry != Entry::Folder);
        files.map(|(path, _)| path.clone()).collect()
    }

    /// Makes the names in `dir` durable, with the changes that they build on.
    pub(super) fn sync(&mut self, dir: &Path) -> Result<()> {
        self.check_folder(dir)?;
        let needed = self.needed_by(|change| change.is_in(dir));
        self.settle(&needed);
        Ok(())
    }

    /// A sync of `dir` that is cut: by chance some of its changes are durable.
    pub(super) fn sync_partly(&mut self, dir: &Path, random: &mut SeededEntropy) {
        let needed = self.needed_by(|change| change.is_in(dir) && random.one_in(2));
        self.settle(&needed);
    }

    /// The waiting changes that `wanted` picks, with all earlier ones that touch the same names.
    fn needed_by(&self, mut wanted: impl FnMut(&Change) -> bool) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        for (number, change) in self.waiting.iter().enumerate().rev() {
            let builds_on_it = |&later: &usize| self.waiting[later].shares_a_name(change);
            if wanted(change) || needed.iter().any(builds_on_it) {
                needed.insert(number);
            }
        }
        needed
    }

    fn settle(&mut self, needed: &BTreeSet<usize>) {
        let waiting = std::mem::take(&mut self.waiting);
        for (number, change) in waiting.into_iter().enumerate() {
            if needed.contains(&number) {
                change.apply(&mut self.durable);
            } else {
                self.waiting.push(change);
            }
        }
    }

    /// The names that are found after a power loss.
    pub(super) fn after_power_loss(&self, random: &mut SeededEntropy) -> Self {
        let count = self.waiting.len() as u64;
        // A journal keeps a prefix of all changes; other file systems keep each for itself.
        let prefix = random.one_in(2).then(|| random.below(count + 1));
        let mut names = self.durable.clone();
        let mut lost: Vec<&Change> = Vec::new();
        for (change, number) in self.waiting.iter().zip(0..) {
            let wanted = prefix.map_or_else(|| random.one_in(2), |prefix| number < prefix);
            if wanted && !lost.iter().any(|earlier| earlier.shares_a_name(change)) {
                change.apply(&mut names);
            } else {
                lost.push(change);
            }
        }
        Self::durable(names)
    }

    /// A tree that is wholly on disk; what hangs below a missing folder is dropped.
    fn durable(mut names: Names) -> Self {
        // Sorted order visits a folder before what is in it.
        let mut folders = BTreeSet::new();
        names.retain(|path, entry| {
            let reachable = is_root(parent(path)) || folders.contains(parent(path));
            if reachable && *entry == Entry::Folder {
                folders.insert(path.clone());
            }
            reachable
        });
        Self { live: names.clone(), durable: names, waiting: Vec::new() }
    }

    /// Everything that is seen becomes durable.
    pub(super) fn sync_all(&mut self) {
        self.durable = self.live.clone();
        self.waiting.clear();
    }

    /// The files that have a name now.
    pub(super) fn seen(&self) -> BTreeSet<NodeId> {
        self.live.values().filter_map(Entry::file).collect()
    }

    /// The files that have a name, or may have one again after a power loss.
    pub(super) fn named(&self) -> BTreeSet<NodeId> {
        let waiting = self.waiting.iter().filter_map(Change::file);
        self.live
            .values()
            .chain(self.durable.values())
            .filter_map(Entry::file)
            .chain(waiting)
            .collect()
    }

    /// Whether `id` is one of [`named`](Self::named).
    pub(super) fn is_named(&self, id: NodeId) -> bool {
        let mut entries = self.live.values().chain(self.durable.values());
        entries.any(|entry| entry.file() == Some(id))
            || self.waiting.iter().any(|change| change.file() == Some(id))
    }
}
