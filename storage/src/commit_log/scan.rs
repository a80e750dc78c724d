//! Reads the frames of one file, and finds the next good one behind a bad place.
//!
//! A frame is good when its magic, its position and its checksum are. Behind a bad place the scan goes on in steps
//! of eight bytes, so a damaged length costs one frame and no more.

use std::io;

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::names::{Epoch, Position};

use super::damage::DamageReason;
use super::file::{FILE_HEAD_BYTES, LogFile};
use super::frame::{FRAME_ALIGN, FRAME_MAGIC, FrameHead, HEAD_LEN, frame_bytes, u32_at};

/// Bytes read at a time. Payloads are slices of it.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// Zeroes are passed over in steps of this.
const BLOCK_LEN: usize = 4096;

/// A good frame.
#[derive(Debug)]
pub(super) struct FoundFrame {
    /// Where it begins in the file.
    pub(super) at: u64,
    /// Where the next one begins in the file.
    pub(super) end: u64,
    pub(super) proven: Position,
    pub(super) payload: Bytes,
    /// Whether the fill behind the payload is zero, as it was written.
    pub(super) padding_is_zero: bool,
}

/// What lies at the scan's place.
#[derive(Debug)]
pub(super) enum Step {
    Frame(FoundFrame),
    /// No good frame; the scan stays there until [`FileScan::resync`].
    Bad(DamageReason),
    /// The end of what was to be scanned.
    End,
}

/// A walk over the frames of a file.
#[derive(Debug)]
pub(super) struct FileScan<'a> {
    file: &'a dyn DiskFile,
    epoch: Epoch,
    first: Position,
    at: u64,
    end: u64,
    window: Bytes,
    window_at: u64,
    /// Bytes read from the disk so far.
    scanned_bytes: u64,
    /// End of the last bytes seen that are not zero.
    content_end: u64,
}

impl<'a> FileScan<'a> {
    /// A scan of `file`, whose frames are checked with `epoch`, over its bytes from `at` to `end`.
    pub(super) fn new(file: &'a LogFile, epoch: Epoch, at: u64, end: u64) -> Self {
        Self {
            file: &*file.file,
            epoch,
            first: file.first,
            at,
            end,
            window: Bytes::new(),
            window_at: 0,
            scanned_bytes: 0,
            content_end: at,
        }
    }

    /// Where the scan is, in bytes of the file.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    pub(super) const fn scanned_bytes(&self) -> u64 {
        self.scanned_bytes
    }

    /// End of the last bytes seen that are not zero.
    pub(super) const fn content_end(&self) -> u64 {
        self.content_end
    }

    /// The frame at the scan's place, which then moves behind it.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        if self.at >= self.end {
            return Ok(Step::End);
        }
        Ok(match self.frame_at(self.at)? {
            Ok(frame) => {
                self.at = frame.end;
                self.content_end = frame.end;
                Step::Frame(frame)
            }
            Err(reason) => Step::Bad(reason),
        })
    }

    /// Moves from a bad place to the next good frame. `false` when there is none: the scan is then at its end.
    pub(super) fn resync(&mut self) -> io::Result<bool> {
        let bad = self.at;
        let mut at = bad;
        while self.end.saturating_sub(at) >= FRAME_ALIGN {
            let block = self.view(at, BLOCK_LEN)?;
            let words = block.len() - block.len() % FRAME_ALIGN_LEN;
            if words == 0 {
                break;
            }
            if is_zero(&block) {
                at += words as u64;
                continue;
            }
            for word in block[..words].chunks_exact(FRAME_ALIGN_LEN) {
                if u32_at(word, 0) == FRAME_MAGIC && at != bad && self.frame_at(at)?.is_ok() {
                    self.at = at;
                    return Ok(true);
                }
                at += FRAME_ALIGN;
                if !is_zero(word) {
                    self.content_end = at;
                }
            }
        }
        self.at = self.end;
        Ok(false)
    }

    fn frame_at(&mut self, at: u64) -> io::Result<Result<FoundFrame, DamageReason>> {
        let position = Position(self.first.0 + (at - FILE_HEAD_BYTES));
        let bytes = self.view(at, HEAD_LEN)?;
        let Ok(head_bytes) = <&[u8; HEAD_LEN]>::try_from(&bytes[..]) else {
            return Ok(Err(DamageReason::Blank));
        };
        let head = match FrameHead::decode(head_bytes, position) {
            Ok(head) => head,
            Err(reason) => return Ok(Err(reason)),
        };
        let length = u64::from(head.length);
        let too_long = Ok(Err(DamageReason::Length { length }));
        let frame_len = frame_bytes(length);
        if frame_len > self.end - at {
            return too_long;
        }
        let Ok(len) = usize::try_from(frame_len) else { return too_long };
        let frame = self.view(at, len)?;
        if frame.len() < len {
            return too_long;
        }
        let payload_end = HEAD_LEN + head.length as usize;
        let payload = frame.slice(HEAD_LEN..payload_end);
        if let Err(reason) = head.check(head_bytes, &payload, self.epoch) {
            return Ok(Err(reason));
        }
        Ok(Ok(FoundFrame {
            at,
            end: at + frame_len,
            proven: head.proven,
            payload,
            padding_is_zero: is_zero(&frame[payload_end..]),
        }))
    }

    /// `len` bytes from `at` on; fewer at the end of the file or of the scan.
    fn view(&mut self, at: u64, len: usize) -> io::Result<Bytes> {
        let wanted = (len as u64).min(self.end - at);
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + wanted > window_end {
            let read = WINDOW_BYTES.max(wanted).min(self.end - at);
            self.window = read_window(self.file, at, read)?;
            self.window_at = at;
            self.scanned_bytes += self.window.len() as u64;
        }
        let have = self.window.len() as u64;
        let from = at - self.window_at;
        let to = (from + wanted).min(have);
        // Both lie within the window, whose length is one of memory.
        let in_memory = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
        Ok(self.window.slice(in_memory(from)..in_memory(to)))
    }
}

/// [`FRAME_ALIGN`] as a length in memory.
const FRAME_ALIGN_LEN: usize = 8;

fn read_window(file: &dyn DiskFile, at: u64, len: u64) -> io::Result<Bytes> {
    let mut window = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let read = file.read_at(at, &mut window)?;
    window.truncate(read);
    Ok(Bytes::from(window))
}

fn is_zero(bytes: &[u8]) -> bool {
    // Without an early exit, so that it becomes a loop over vectors: most of an unused log file is passed here.
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}
