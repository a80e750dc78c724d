//! Reading the dead letters of a group that are open, in steps of bounded bytes.
//!
//! Which are open is the group's state, as runs of offsets. What they say is read from the dead-letter topic, where the letters of
//! other groups and what anybody else has produced may stand beside them.

use std::sync::Arc;

use embermq_protocol::batch::{StoredRecord, decode_batches};
use embermq_protocol::names::{GroupName, TopicName};
use embermq_protocol::v1::Record;
use embermq_storage::Offset;
use embermq_storage::segment::ReadError;

use super::dead_letter::{self, header};
use crate::error::CommitError;
use crate::topic::Partition;

/// Bytes that are read of the letters at a time.
const STEP_BYTES: u64 = 1 << 20;
/// What a letter is taken to have before it is read.
pub(super) const LETTER_BYTES_GUESS: u64 = 4 << 10;

/// Which letters to read, and from where.
pub(super) struct LetterReader {
    /// Where they lie.
    pub(super) partition: Arc<Partition>,
    /// The topic that the group reads.
    pub(super) topic: TopicName,
    /// The group that they failed in.
    pub(super) group: GroupName,
    /// Only those whose reason or error holds this text.
    pub(super) contains: String,
}

/// What one step has found.
pub(super) struct Looked {
    /// Those that fit.
    pub(super) letters: Vec<StoredRecord>,
    /// Where to go on.
    pub(super) next: u64,
    /// Stored bytes that were looked through.
    pub(super) bytes: u64,
}

impl LetterReader {
    /// Letters of the run from `next` to `end` that fit, up to `most`. A step may find none and yet not be at the end. May read
    /// from the device.
    pub(super) fn read(&self, next: u64, end: u64, most: usize) -> Result<Looked, CommitError> {
        let unreadable = |detail: String| CommitError::ReadFailed {
            detail: format!("dead letters from offset {next} on: {detail}"),
        };
        let none = |next| Looked { letters: Vec::new(), next, bytes: 0 };
        let from = Offset(next).max(self.partition.start());
        if from.0 >= end || from >= self.partition.end() {
            return Ok(none(end));
        }
        let bytes = (end - from.0).saturating_mul(LETTER_BYTES_GUESS).min(STEP_BYTES);
        let slice = match self.partition.reader.read(from, bytes) {
            Ok(slice) => slice,
            // Retention was faster.
            Err(ReadError::OutOfRange { start, .. }) if from < start => {
                return Ok(none(start.0.min(end)));
            }
            Err(error) => return Err(CommitError::unreadable(&error)),
        };
        let mut looked = Looked {
            letters: Vec::new(),
            next: slice.next.0.max(from.0 + 1).min(end),
            bytes: slice.pieces.iter().map(|piece| piece.len() as u64).sum(),
        };
        for stored in decode_batches(slice.pieces, from.0) {
            let stored = stored.map_err(|error| unreadable(error.to_string()))?;
            if stored.offset >= end {
                break;
            }
            if looked.letters.len() == most {
                looked.next = stored.offset;
                break;
            }
            if self.is_ours(&stored.record) && says(&stored.record, &self.contains) {
                looked.letters.push(stored);
            }
        }
        Ok(looked)
    }

    /// Whether it is what this group has written.
    fn is_ours(&self, letter: &Record) -> bool {
        header(letter, dead_letter::GROUP) == Some(self.group.as_str())
            && header(letter, dead_letter::TOPIC) == Some(self.topic.as_str())
    }
}

/// Whether its reason or its error holds this text.
pub(crate) fn says(letter: &Record, text: &str) -> bool {
    let said = |name| header(letter, name).is_some_and(|said| said.contains(text));
    text.is_empty() || said(dead_letter::REASON) || said(dead_letter::ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_says_what_is_in_its_reason_or_its_error() {
        let letter = Record::new("text")
            .with_header(dead_letter::REASON, "failed")
            .with_header(dead_letter::ERROR, "exit status 3: no such picture");
        for text in ["", "fail", "picture"] {
            assert!(says(&letter, text), "{text}");
        }
        assert!(!says(&letter, "text") && !says(&letter, "rejected"));
    }
}
