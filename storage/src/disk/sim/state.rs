//! The machine that a simulated disk belongs to: its power, its faults, its room and its trace.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::path::Path;

use super::fault::{Faults, Operation};
use super::image::Contents;
use super::random::SeededEntropy;
use super::tree::{NodeId, Tree};

/// The room of a disk without bounds: more than any run writes, and far enough from overflowing a sum.
pub(super) const UNBOUNDED: u64 = 1 << 60;

/// A file, named or only open.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) contents: Contents,
    pub(super) handles: usize,
}

/// How an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It is done whole.
    Whole,
    /// The power goes in the middle: any part of it is done.
    Cut,
    /// It fails.
    Fails(ErrorKind),
}

impl Course {
    /// What the caller hears.
    pub(super) fn outcome(self, path: &Path) -> Result<()> {
        match self {
            Self::Whole => Ok(()),
            Self::Cut => Err(no_power()),
            Self::Fails(kind) => {
                Err(Error::new(kind, format!("simulated fault: {kind}: {}", path.display())))
            }
        }
    }
}

pub(super) fn no_power() -> Error {
    Error::other("the simulated disk has lost power")
}

/// What was asked, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) start: u64,
    pub(super) end: u64,
    /// CRC-32 of the bytes that go with it.
    pub(super) crc: u32,
}

impl Request {
    pub(super) const fn of(operation: Operation) -> Self {
        Self { operation, start: 0, end: 0, crc: 0 }
    }

    pub(super) const fn range(operation: Operation, range: &Range<u64>) -> Self {
        Self { operation, start: range.start, end: range.end, crc: 0 }
    }
}

/// All of a disk.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) random: SeededEntropy,
    pub(super) faults: Faults,
    pub(super) capacity: u64,
    pub(super) power: bool,
    /// Changing operations that still pass before the power goes.
    pub(super) cut_after: Option<u64>,
    pub(super) operations: u64,
    pub(super) changes: u64,
    pub(super) trace_hash: u64,
    pub(super) trace: Option<Vec<String>>,
    next_node: u64,
}

impl State {
    pub(super) fn new(random: SeededEntropy) -> Self {
        Self {
            tree: Tree::default(),
            nodes: BTreeMap::new(),
            random,
            faults: Faults::default(),
            capacity: UNBOUNDED,
            power: true,
            cut_after: None,
            operations: 0,
            changes: 0,
            trace_hash: 0,
            trace: None,
            next_node: 0,
        }
    }

    /// Lets an operation in: counts it, writes it into the trace, and says how it will go.
    ///
    /// # Errors
    /// When the power is gone.
    pub(super) fn begin(&mut self, request: Request, path: &Path) -> Result<Course> {
        if !self.power {
            return Err(no_power());
        }
        let course = self.course(request.operation, path);
        self.operations += 1;
        let mut hasher = DefaultHasher::new();
        (self.trace_hash, request, path.as_os_str(), course == Course::Whole).hash(&mut hasher);
        self.trace_hash = hasher.finish();
        if let Some(trace) = &mut self.trace {
            let Request { operation, start, end, crc } = request;
            trace.push(format!(
                "{operation:?} {} {start}..{end} crc {crc:08x}: {course:?}",
                path.display()
            ));
        }
        Ok(course)
    }

    fn course(&mut self, operation: Operation, path: &Path) -> Course {
        if operation.changes_disk() {
            self.changes += 1;
            match &mut self.cut_after {
                Some(0) => {
                    self.power = false;
                    return Course::Cut;
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        self.faults.strike(operation, path).map_or(Course::Whole, Course::Fails)
    }

    /// Lets an operation in that has nothing to cut.
    ///
    /// # Errors
    /// When the power is gone, or a fault was planned.
    pub(super) fn look(&mut self, operation: Operation, path: &Path) -> Result<()> {
        self.begin(Request::of(operation), path)?.outcome(path)
    }

    /// Decides whether an atomic change still happens when the power goes in the middle of it.
    pub(super) fn happens(&mut self, course: Course) -> bool {
        match course {
            Course::Whole => true,
            Course::Cut => self.random.one_in(2),
            Course::Fails(_) => false,
        }
    }

    pub(super) fn add_node(&mut self, contents: Contents) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        self.nodes.insert(id, Node { contents, handles: 0 });
        id
    }

    pub(super) fn node(&mut self, id: NodeId) -> Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or_else(no_power)
    }

    /// Bytes of blocks that files hold which have a name or are open.
    pub(super) fn held_bytes(&self) -> u64 {
        let seen = self.tree.seen();
        let counts = |id: &NodeId, node: &Node| node.handles > 0 || seen.contains(id);
        let held = self.nodes.iter().filter(|(id, node)| counts(id, node));
        held.map(|(_, node)| node.contents.held_bytes()).sum()
    }

    /// Bytes of blocks that can still be held.
    pub(super) fn room(&self) -> u64 {
        if self.capacity == UNBOUNDED {
            // Nothing to count; files of any length are cheap.
            return UNBOUNDED;
        }
        self.capacity.saturating_sub(self.held_bytes())
    }

    /// Forgets files that nobody can reach any more.
    pub(super) fn forget_unreachable(&mut self) {
        let named = self.tree.named();
        self.nodes.retain(|id, node| node.handles > 0 || named.contains(id));
    }

    /// The disk as it is found when the power comes back.
    pub(super) fn after_power_loss(&self, mut random: SeededEntropy) -> Self {
        let tree = self.tree.after_power_loss(&mut random);
        let mut nodes = BTreeMap::new();
        let seen = tree.seen();
        for (id, node) in &self.nodes {
            if seen.contains(id) {
                let contents = node.contents.after_power_loss(&mut random);
                nodes.insert(*id, Node { contents, handles: 0 });
            }
        }
        let next_node = self.next_node;
        Self { tree, nodes, capacity: self.capacity, next_node, ..Self::new(random) }
    }

    /// The same disk for itself, wholly synced, without handles, faults and counts.
    pub(super) fn copy(&self) -> Self {
        let mut copy = self.clone();
        copy.tree.sync_all();
        for node in copy.nodes.values_mut() {
            node.contents.sync();
            node.handles = 0;
        }
        copy.forget_unreachable();
        Self {
            tree: copy.tree,
            nodes: copy.nodes,
            capacity: self.capacity,
            next_node: self.next_node,
            ..Self::new(copy.random)
        }
    }
}
