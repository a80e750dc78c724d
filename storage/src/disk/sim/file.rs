//! Open files and mappings of a simulated disk.

use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::fault::Operation;
use super::image::{Contents, PAGE_BYTES};
use super::state::{Course, Request, State};
use super::tree::NodeId;
use crate::disk::{DiskFile, Mapping};

/// An open file; as long as one is there the file is, with or without a name.
#[derive(Debug)]
pub(super) struct SimFile {
    state: Arc<Mutex<State>>,
    id: NodeId,
    /// What it was called when it was opened, for faults and the trace.
    path: Arc<Path>,
}

impl SimFile {
    /// Opens `id` as `path`; the caller holds the lock of `shared` as `state`.
    pub(super) fn open(
        shared: &Arc<Mutex<State>>,
        state: &mut State,
        id: NodeId,
        path: &Path,
    ) -> io::Result<Self> {
        state.node(id)?.handles += 1;
        Ok(Self { state: Arc::clone(shared), id, path: path.into() })
    }

    /// Lets an operation in that wants blocks for `wanting`; `change` does as much of it as its course says.
    fn change(
        &self,
        request: Request,
        wanting: Option<Range<u64>>,
        change: impl FnOnce(&mut State, Course) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut course = state.begin(request, &self.path)?;
        if let (Course::Whole, Some(range)) = (course, wanting) {
            let bytes = state.node(self.id)?.contents.wanting_bytes(&range);
            if bytes > 0 && bytes > state.room() {
                course = Course::Fails(ErrorKind::StorageFull);
            }
        }
        change(&mut state, course)?;
        course.outcome(&self.path)
    }

    fn with_contents<T>(
        &self,
        state: &mut State,
        run: impl FnOnce(&mut Contents, &mut super::SeededEntropy) -> T,
    ) -> io::Result<T> {
        // The generator is copied out and back, so that contents and chance can be borrowed together.
        let mut random = state.random.clone();
        let result = run(&mut state.node(self.id)?.contents, &mut random);
        state.random = random;
        Ok(result)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if let Ok(node) = state.node(self.id) {
            node.handles -= 1;
            if node.handles == 0 && !state.tree.is_named(self.id) {
                state.nodes.remove(&self.id);
            }
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.look(Operation::Ask, &self.path)?;
        Ok(state.node(self.id)?.contents.live.len())
    }

    fn write_at(&self, position: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut hasher = crc32fast::Hasher::new();
        slices.iter().for_each(|slice| hasher.update(slice));
        let range = position..position + slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        let request =
            Request { crc: hasher.finalize(), ..Request::range(Operation::Write, &range) };
        self.change(request, Some(range.clone()), |state, course| {
            let mut room = state.room();
            self.with_contents(state, |contents, random| match course {
                Course::Whole => write_pieces(position, slices, |at, piece| {
                    contents.write(at, piece, random);
                }),
                // What a failed write leaves is a prefix, as far as there was room.
                Course::Fails(_) => {
                    let mut rest = random.below(range.end - position + 1);
                    write_pieces(position, slices, |at, piece| {
                        let len = usize::try_from(rest).unwrap_or(usize::MAX).min(piece.len());
                        let wanting = contents.wanting_bytes(&(at..at + len as u64));
                        if wanting > room {
                            rest = 0;
                        } else {
                            room -= wanting;
                            rest -= len as u64;
                            contents.write(at, &piece[..len], random);
                        }
                    });
                }
                Course::Cut => write_pieces(position, slices, |at, piece| {
                    if random.one_in(2) {
                        contents.write(at, piece, random);
                    }
                }),
            })
        })
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let range = position..position + buffer.len() as u64;
        state.begin(Request::range(Operation::Read, &range), &self.path)?.outcome(&self.path)?;
        Ok(state.node(self.id)?.contents.live.read(position, buffer))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let request = Request { end: len, ..Request::of(Operation::Allocate) };
        // Blocks are wanted behind the end only: the rest is held, or was given back on purpose.
        let old = self.state.lock().node(self.id)?.contents.live.len();
        self.change(request, (len > old).then_some(old..len), |state, course| {
            if state.happens(course) {
                state.node(self.id)?.contents.allocate(len);
            }
            Ok(())
        })
    }

    fn zero(&self, range: Range<u64>) -> io::Result<()> {
        let request = Request::range(Operation::Zero, &range);
        self.change(request, Some(range.clone()), |state, course| {
            if state.happens(course) {
                self.with_contents(state, |contents, random| contents.zero(range, random))?;
            }
            Ok(())
        })
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.change(Request::range(Operation::Punch, &range), None, |state, course| {
            if state.happens(course) {
                state.node(self.id)?.contents.punch(&range);
            }
            Ok(())
        })
    }

    fn write_back(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.power {
            self.with_contents(&mut state, |contents, random| contents.write_back(&range, random))?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Request::of(Operation::SyncData), None, |state, course| {
            self.with_contents(state, |contents, random| match course {
                Course::Whole => contents.sync(),
                Course::Fails(_) => contents.sync_badly(random),
                Course::Cut => contents.write_back(&(0..u64::MAX - PAGE_BYTES), random),
            })
        })
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        let mut state = self.state.lock();
        state.look(Operation::Map, &self.path)?;
        if len == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let file = Self::open(&self.state, &mut state, self.id, &self.path)?;
        Ok(Arc::new(SimMapping { file, len }))
    }
}

/// Calls `write` for every part of `slices` that lies in one page, which is what the kernel writes back at once.
fn write_pieces(position: u64, slices: &[IoSlice<'_>], mut write: impl FnMut(u64, &[u8])) {
    let mut at = position;
    for slice in slices {
        let mut rest: &[u8] = slice;
        while !rest.is_empty() {
            let in_page = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).unwrap_or(usize::MAX);
            let (piece, behind) = rest.split_at(rest.len().min(in_page));
            write(at, piece);
            at += piece.len() as u64;
            rest = behind;
        }
    }
}

/// The first bytes of a file. What is handed out is a copy of the live image.
#[derive(Debug)]
struct SimMapping {
    file: SimFile,
    len: u64,
}

impl SimMapping {
    fn covers(&self, state: &mut State, range: &Range<u64>) -> bool {
        let len = state.node(self.file.id).map_or(0, |node| node.contents.live.len());
        range.start <= range.end && range.end <= self.len.min(len)
    }
}

impl Mapping for SimMapping {
    fn bytes(self: Arc<Self>, range: Range<u64>) -> Bytes {
        let mut state = self.file.state.lock();
        assert!(
            self.covers(&mut state, &range),
            "bytes {}..{} lie beyond the mapping ({} bytes) or the end of its file",
            range.start,
            range.end,
            self.len
        );
        let mut copy = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
        if let Ok(node) = state.node(self.file.id) {
            node.contents.live.read(range.start, &mut copy);
        }
        copy.into()
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.file.state.lock();
        let path = &self.file.path;
        state.begin(Request::range(Operation::Populate, &range), path)?.outcome(path)?;
        if self.covers(&mut state, &range) { Ok(()) } else { Err(ErrorKind::InvalidInput.into()) }
    }
}
