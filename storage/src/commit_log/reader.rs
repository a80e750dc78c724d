//! Reads a log's frames in order.

use crate::names::Position;

use super::file::LogFile;
use super::walk::{LogWalk, WalkStep};
use super::{FrameSource, LogError, Next};

/// The frames of a [`FileLog`](super::FileLog) from a position to where the log ended when the reading began.
#[derive(Debug)]
pub(super) struct LogReader<'a> {
    files: &'a [LogFile],
    walk: LogWalk<'a>,
}

impl<'a> LogReader<'a> {
    pub(super) fn new(files: &'a [LogFile], from: Position, end: Position) -> Self {
        Self { files, walk: LogWalk::new(files, from, end) }
    }
}

impl FrameSource for LogReader<'_> {
    fn next(&mut self) -> Result<Next, LogError> {
        loop {
            match self.walk.next()? {
                WalkStep::Frame(frame) if frame.payload.is_empty() => {}
                WalkStep::Frame(frame) => {
                    return Ok(Next::Frame {
                        position: frame.position,
                        next: frame.next,
                        payload: frame.payload,
                    });
                }
                WalkStep::Hole(hole) => return Ok(Next::Damage(hole.damage(self.files))),
                WalkStep::End => return Ok(Next::End),
            }
        }
    }
}
