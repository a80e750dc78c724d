//! Fields of a segment as they lie in the file: padded varints, a batch, the padding; and how to find the next
//! valid batch behind damage.
//!
//! A length is written as a varint of five bytes whatever its value (`5` is `85 80 80 80 00`), so that it can be
//! stamped in place. Every protobuf decoder accepts that; we accept nothing else, so a flipped bit is noticed.

use std::ops::Range;

use crate::batch::{
    BATCH_FIELD_BYTES, BATCH_HEAD_BYTES, BatchDamage, BatchHead, HEAD_TAGS, continue_crc,
};
use crate::names::{Epoch, Offset};

/// Tag of `repeated RecordBatch batches = 1`.
pub(crate) const BATCH_TAG: u8 = 0x0A;
/// Tag of `SegmentHeader header = 2`.
pub(crate) const HEADER_TAG: u8 = 0x12;
/// Tag of `bytes padding = 15`.
pub(crate) const PADDING_TAG: u8 = 0x7A;

/// Bytes of a padded length.
pub(crate) const LENGTH_BYTES: usize = 5;

/// Bytes of a batch field up to the body.
pub(crate) const FRONT_BYTES: usize = BATCH_FIELD_BYTES + BATCH_HEAD_BYTES;

/// `len` as a varint of `width` bytes (at most five), padded; the rest of the array is zero.
pub(crate) fn padded_length(len: u64, width: usize) -> [u8; LENGTH_BYTES] {
    let mut bytes = [0; LENGTH_BYTES];
    for (at, byte) in bytes.iter_mut().take(width).enumerate() {
        let more = if at + 1 < width { 0x80 } else { 0 };
        *byte = (len >> (7 * at)).to_le_bytes()[0] & 0x7F | more;
    }
    bytes
}

/// The value of a varint that is padded to the whole of `bytes` (at most five).
pub(crate) fn unpad_length(bytes: &[u8]) -> Option<u64> {
    let (last, front) = bytes.split_last()?;
    if front.iter().any(|byte| byte & 0x80 == 0) || last & 0x80 != 0 {
        return None;
    }
    Some(bytes.iter().enumerate().map(|(at, byte)| u64::from(byte & 0x7F) << (7 * at)).sum())
}

/// The front of a batch field: tag, length, sealed head.
pub(crate) fn batch_front(head: &[u8; BATCH_HEAD_BYTES], body_len: usize) -> [u8; FRONT_BYTES] {
    let mut front = [0; FRONT_BYTES];
    front[0] = BATCH_TAG;
    let len = (BATCH_HEAD_BYTES + body_len) as u64;
    front[1..BATCH_FIELD_BYTES].copy_from_slice(&padded_length(len, LENGTH_BYTES));
    front[BATCH_FIELD_BYTES..].copy_from_slice(head);
    front
}

/// A batch field within some bytes.
#[derive(Clone, Debug)]
pub(crate) struct BatchField {
    pub(crate) head: BatchHead,
    pub(crate) crc: u32,
    /// Place of the body, counted from the field's tag.
    pub(crate) body: Range<usize>,
}

impl BatchField {
    /// Bytes of the field with its tag and length.
    pub(crate) const fn len(&self) -> usize {
        self.body.end
    }

    /// Reads the field that starts at the front of `bytes`; `room` (at least `bytes.len()`) counts the bytes up to
    /// the end of what was written. The body need not be in `bytes`, and the checksum is not checked.
    pub(crate) fn parse(bytes: &[u8], room: u64) -> Result<Self, BatchDamage> {
        match bytes.first() {
            Some(&BATCH_TAG) => {}
            Some(&found) => return Err(BatchDamage::NoBatch { found }),
            None => return Err(BatchDamage::Cut { found: 0, needed: FRONT_BYTES as u64 }),
        }
        if bytes.len() < FRONT_BYTES {
            let found = bytes.len() as u64;
            return Err(BatchDamage::Cut { found, needed: FRONT_BYTES as u64 });
        }
        let len = unpad_length(&bytes[1..BATCH_FIELD_BYTES]).ok_or(BatchDamage::LengthForm)?;
        let room = room - BATCH_FIELD_BYTES as u64;
        let end = match usize::try_from(len) {
            Ok(small) if len <= room && small >= BATCH_HEAD_BYTES => BATCH_FIELD_BYTES + small,
            _ => return Err(BatchDamage::Length { len, room }),
        };
        let (crc, head) = BatchHead::decode(&bytes[BATCH_FIELD_BYTES..])?;
        Ok(Self { head, crc, body: FRONT_BYTES..end })
    }

    /// Checks the whole field, of which `bytes` starts with all bytes, against its checksum.
    pub(crate) fn check(&self, bytes: &[u8], epoch: Epoch) -> Result<(), BatchDamage> {
        let head = bytes.get(BATCH_FIELD_BYTES..).and_then(<[u8]>::first_chunk);
        let (Some(head), Some(body)) = (head, bytes.get(self.body.clone())) else {
            let (found, needed) = (bytes.len() as u64, self.len() as u64);
            return Err(BatchDamage::Cut { found, needed });
        };
        let computed = continue_crc(crc32fast::hash(body), head, epoch);
        if computed == self.crc {
            Ok(())
        } else {
            Err(BatchDamage::Checksum { stored: self.crc, computed })
        }
    }
}

/// Finds the first place in `bytes` where a whole, valid batch of that epoch starts whose offsets lie within
/// `offsets`. The eight tags of the head are asked first, so that hardly ever a checksum is computed in vain.
pub(crate) fn resync(
    bytes: &[u8],
    epoch: Epoch,
    offsets: &Range<Offset>,
) -> Option<(usize, BatchField)> {
    let last = bytes.len().checked_sub(FRONT_BYTES)?;
    for at in 0..=last {
        if bytes[at] != BATCH_TAG
            || HEAD_TAGS.iter().any(|(place, tag)| bytes[at + BATCH_FIELD_BYTES + place] != *tag)
        {
            continue;
        }
        let rest = &bytes[at..];
        let Ok(field) = BatchField::parse(rest, rest.len() as u64) else { continue };
        let within =
            field.head.base_offset >= offsets.start && field.head.next_offset() <= offsets.end;
        if within && field.check(rest, epoch).is_ok() {
            return Some((at, field));
        }
    }
    None
}

/// The tag and length of a padding field that fills `remaining` bytes (at least two) together with its zeroes.
pub(crate) fn padding_front(remaining: u64) -> Vec<u8> {
    let width = usize::try_from(remaining - 1).unwrap_or(LENGTH_BYTES).min(LENGTH_BYTES);
    let mut front = vec![PADDING_TAG];
    let zeroes = remaining - 1 - width as u64;
    front.extend_from_slice(&padded_length(zeroes, width)[..width]);
    front
}

/// Bytes of the front of a padding field at the front of `bytes` that fills exactly all of them.
pub(crate) fn padding_front_len(bytes: &[u8]) -> Option<usize> {
    let width = bytes.len().checked_sub(1)?.min(LENGTH_BYTES);
    let zeroes = unpad_length(bytes.get(1..=width)?)?;
    let fills = bytes[0] == PADDING_TAG && zeroes == (bytes.len() - 1 - width) as u64;
    fills.then_some(1 + width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_padded_to_its_width() {
        assert_eq!(padded_length(5, 5), [0x85, 0x80, 0x80, 0x80, 0x00]);
        assert_eq!(padded_length(0, 1), [0, 0, 0, 0, 0]);
        for len in [0, 1, 127, 128, 1 << 14, (1 << 32) + 77, (1 << 35) - 1] {
            assert_eq!(unpad_length(&padded_length(len, 5)), Some(len));
        }
        assert_eq!(unpad_length(&[0x85, 0x80, 0x80, 0x00, 0x00]), None);
        assert_eq!(unpad_length(&[0x85, 0x80, 0x80, 0x80, 0x80]), None);
    }

    #[test]
    fn padding_fills_every_remainder_from_two_bytes_on() {
        for remaining in 2..300_u64 {
            let mut bytes = padding_front(remaining);
            let front = bytes.len();
            bytes.resize(usize::try_from(remaining).unwrap(), 0);
            assert_eq!(padding_front_len(&bytes), Some(front), "{remaining} bytes");
            bytes.push(0);
            assert_eq!(padding_front_len(&bytes), None, "{remaining} bytes and one");
        }
    }

    #[test]
    fn the_next_valid_batch_is_found_behind_garbage() {
        let body = [1, 2, 3];
        let head = BatchHead { base_offset: Offset(7), offset_span: 1, ..Default::default() };
        let mut bytes = vec![BATCH_TAG; 100];
        bytes.extend(batch_front(&head.seal(crc32fast::hash(&body), Epoch(1)), body.len()));
        bytes.extend(body);
        let offsets = Offset(0)..Offset(100);
        let (at, field) = resync(&bytes, Epoch(1), &offsets).unwrap();
        assert_eq!((at, field.len(), field.head), (100, 65, head));
        assert!(resync(&bytes, Epoch(2), &offsets).is_none());
        assert!(resync(&bytes, Epoch(1), &(Offset(8)..Offset(100))).is_none());
        assert!(resync(&bytes[..bytes.len() - 1], Epoch(1), &offsets).is_none());
    }
}
