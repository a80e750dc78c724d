//! Frames that are committed together: one vectored write, one sync.
//!
//! Payloads are staged as they come. Large pieces are kept by reference; small ones, and room for each frame's head,
//! lie in one buffer, so a group of a thousand little frames is a single piece. What a head says (position, proven
//! mark, epoch) is known only when the group is written; it is filled in then, in place.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::gather::{Gather, GatherMark};
use crate::names::{Epoch, Position};

use super::frame::{FRAME_HEAD_BYTES, FRAME_PAYLOAD_BYTES_MAX, FrameHead, HEAD_LEN, frame_bytes};

/// From this size on the CRC of a body is joined to its frame's arithmetically; below, the body is hashed again.
///
/// Joining took 0.4 to 1.1 us for any length, hashing 0.2 us for 4 KiB, 0.8 for 16 KiB, 2.3 for 32 KiB and 75 for
/// 1 MiB (crc32fast 1.5, one core of an EPYC VM): even at 16 KiB, and clearly ahead where bodies are no longer copied.
const COMBINE_BYTES_MIN: usize = 32 * 1024;

/// What [`Group::clear`] keeps of the list of frames.
const KEPT_FRAMES_MAX: usize = 16 * 1024;

/// Zeroes to fill a frame with.
const PADDING: [u8; 8] = [0; 8];

/// Frames that are committed together.
///
/// ```
/// use bytes::Bytes;
/// use embermq_storage::commit_log::Group;
///
/// let body = Bytes::from_static(b"as it came from the socket");
/// let crc = crc32fast::hash(&body);
///
/// let mut group = Group::new();
/// group.begin_frame();
/// group.put(b"head");
/// group.put_body(&body, crc);
/// group.end_frame();
/// assert_eq!(group.frames(), 1);
/// ```
#[derive(Debug, Default)]
pub struct Group {
    gather: Gather,
    frames: Vec<StagedFrame>,
    open: Option<OpenFrame>,
}

#[derive(Debug)]
struct StagedFrame {
    head: GatherMark,
    payload_crc: u32,
    length: u32,
    /// Where it ends, counted from the start of the group.
    end: u64,
}

/// The frame that is being put together.
#[derive(Debug)]
struct OpenFrame {
    head: GatherMark,
    crc: u32,
    length: u64,
}

impl Group {
    /// No frames.
    #[must_use]
    pub const fn new() -> Self {
        Self { gather: Gather::new(), frames: Vec::new(), open: None }
    }

    /// Forgets all frames, and keeps a bounded part of the memory for the next group.
    pub fn clear(&mut self) {
        self.gather.clear();
        self.frames.clear();
        self.frames.shrink_to(KEPT_FRAMES_MAX);
        self.open = None;
    }

    /// Begins a frame; one that is still open ends here.
    ///
    /// A frame that gets no payload is a proof frame: readers pass over it, but it shows that everything up to the
    /// durable position really was durable.
    pub fn begin_frame(&mut self) {
        self.end_frame();
        self.open = Some(OpenFrame { head: self.gather.mark(HEAD_LEN), crc: 0, length: 0 });
    }

    /// Adds a copy of `bytes` to the frame's payload; begins a frame where none is open.
    pub fn put(&mut self, bytes: &[u8]) {
        let frame = Self::opened(&mut self.open, &mut self.gather);
        frame.crc = crc_behind(frame.crc, bytes);
        frame.length += bytes.len() as u64;
        self.gather.put(bytes);
    }

    /// Adds `body` to the frame's payload, without a copy when it is large; begins a frame where none is open.
    ///
    /// `crc` must be the CRC-32 of `body` alone: a wrong one makes a frame that no reader accepts.
    pub fn put_body(&mut self, body: &Bytes, crc: u32) {
        debug_assert_eq!(crc, crc32fast::hash(body), "the CRC of another body");
        let frame = Self::opened(&mut self.open, &mut self.gather);
        let length = body.len() as u64;
        frame.crc = if frame.length == 0 {
            crc
        } else if body.len() < COMBINE_BYTES_MIN {
            crc_behind(frame.crc, body)
        } else {
            let mut joined = crc32fast::Hasher::new_with_initial_len(frame.crc, frame.length);
            joined.combine(&crc32fast::Hasher::new_with_initial_len(crc, length));
            joined.finalize()
        };
        frame.length += length;
        self.gather.put_shared(body);
    }

    /// Ends the frame. Does nothing when none is open.
    pub fn end_frame(&mut self) {
        let Some(OpenFrame { head, crc, length }) = self.open.take() else { return };
        let padding = frame_bytes(length) - FRAME_HEAD_BYTES - length;
        self.gather.put(&PADDING[..usize::try_from(padding).unwrap_or(0)]);
        // A payload over the limit keeps a length that is over it too, and is refused when it is written.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.frames.push(StagedFrame { head, payload_crc: crc, length, end: self.gather.len() });
    }

    /// Frames in the group, not counting one that is still open.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Bytes of log that the group takes: payloads, and what frames add to them.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.gather.len()
    }

    /// The largest payload, where it is over the limit of frames.
    pub(super) fn too_large(&self) -> Option<u64> {
        let lengths = self.frames.iter().map(|frame| u64::from(frame.length));
        lengths.max().filter(|length| *length > FRAME_PAYLOAD_BYTES_MAX)
    }

    /// How many frames, from the first on, fit into `room` bytes.
    pub(super) fn fitting(&self, room: u64) -> usize {
        self.frames.partition_point(|frame| frame.end <= room)
    }

    /// Bytes of the first `frames` frames.
    pub(super) fn bytes_of(&self, frames: usize) -> u64 {
        frames.checked_sub(1).and_then(|last| self.frames.get(last)).map_or(0, |frame| frame.end)
    }

    /// Writes the frames `part` into `file` at byte `at`. The first of them will lie at `position` of the log.
    ///
    /// # Errors
    /// Those of the disk: any part may have been written.
    pub(super) fn write_to(&mut self, part: Range<usize>, place: &Place<'_>) -> io::Result<()> {
        let start = self.bytes_of(part.start);
        let end = self.bytes_of(part.end);
        let mut frame_start = start;
        for frame in &self.frames[part] {
            let position = Position(place.position.0 + (frame_start - start));
            let head = FrameHead::seal(
                frame.payload_crc,
                frame.length,
                position,
                place.proven,
                place.epoch,
            );
            self.gather.patch(&frame.head, &head);
            frame_start = frame.end;
        }
        self.gather.write_part_to(place.file, place.at, start..end)
    }

    fn opened<'a>(open: &'a mut Option<OpenFrame>, gather: &mut Gather) -> &'a mut OpenFrame {
        open.get_or_insert_with(|| OpenFrame { head: gather.mark(HEAD_LEN), crc: 0, length: 0 })
    }
}

/// Where frames are to be written.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) file: &'a dyn DiskFile,
    /// Byte in the file.
    pub(super) at: u64,
    /// Position in the log.
    pub(super) position: Position,
    pub(super) epoch: Epoch,
    pub(super) proven: Position,
}

fn crc_behind(crc: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(bytes);
    hasher.finalize()
}
