//! The head of a batch: what the committer stamps, and the checksum that binds it to its segment.
//!
//! A batch is a protobuf message. Its first 56 bytes, the *head*, are eight fixed-width fields that are always
//! present and always in this order (tag byte, then the value, little endian):
//!
//! ```text
//! at  0  0x0D crc fixed32              at 28  0x2D offset_span fixed32
//! at  5  0x11 base_offset fixed64      at 33  0x31 producer_id fixed64
//! at 14  0x19 append_time_us sfixed64  at 42  0x3D producer_epoch fixed32
//! at 23  0x25 record_count fixed32     at 47  0x41 base_sequence fixed64
//! ```
//!
//! Behind it comes the *body*: the producer's bytes, which storage never looks into. The checksum is the CRC-32
//! (IEEE) of the body, then the 51 bytes of the head behind the crc field, then the segment's epoch as 8 bytes
//! little endian. The body comes first, so that its own CRC, computed long before the head is known, is continued.

use crc32fast::Hasher;

use crate::names::{Epoch, Offset, Timestamp};

/// Bytes of a batch's head.
pub const BATCH_HEAD_BYTES: usize = 56;

/// Bytes that stand in front of a batch in a segment and in a fetch response: its tag, and its length as a padded
/// varint of five bytes.
pub const BATCH_FIELD_BYTES: usize = 6;

/// Bytes of the crc field, which the checksum leaves out.
const CRC_FIELD_BYTES: usize = 5;

/// The tags of the head, with the place where each stands.
pub(crate) const HEAD_TAGS: [(usize, u8); 8] =
    [(0, 0x0D), (5, 0x11), (14, 0x19), (23, 0x25), (28, 0x2D), (33, 0x31), (42, 0x3D), (47, 0x41)];

/// The fixed-width fields of a batch, without its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchHead {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// When the batch was committed.
    pub append_time: Timestamp,
    /// Records in the batch: at most `offset_span`, and fewer only after compaction.
    pub record_count: u32,
    /// Last offset minus base offset plus one; at least 1.
    pub offset_span: u32,
    /// The producer's id; 0 when it has none.
    pub producer_id: u64,
    /// The producer's epoch.
    pub producer_epoch: u32,
    /// The producer's sequence number of the first record.
    pub base_sequence: u64,
}

impl BatchHead {
    /// The offset behind the batch's last one.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(self.offset_span as u64))
    }

    /// The head as it stands in a file, with `crc` (see [`crc`](Self::crc)) in front.
    #[must_use]
    pub fn encode(&self, crc: u32) -> [u8; BATCH_HEAD_BYTES] {
        let mut bytes = [0; BATCH_HEAD_BYTES];
        for (at, tag) in HEAD_TAGS {
            bytes[at] = tag;
        }
        bytes[1..5].copy_from_slice(&crc.to_le_bytes());
        bytes[6..14].copy_from_slice(&self.base_offset.0.to_le_bytes());
        bytes[15..23].copy_from_slice(&self.append_time.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[29..33].copy_from_slice(&self.offset_span.to_le_bytes());
        bytes[34..42].copy_from_slice(&self.producer_id.to_le_bytes());
        bytes[43..47].copy_from_slice(&self.producer_epoch.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.base_sequence.to_le_bytes());
        bytes
    }

    /// Takes the checksum and the head from the front of `bytes`. The checksum is not checked.
    ///
    /// # Errors
    /// [`BatchDamage::Cut`] when there are fewer than 56 bytes, [`BatchDamage::HeadTag`] when they are no head.
    pub fn decode(bytes: &[u8]) -> Result<(u32, Self), BatchDamage> {
        let Some(head) = bytes.first_chunk::<BATCH_HEAD_BYTES>() else {
            return Err(BatchDamage::Cut {
                found: bytes.len() as u64,
                needed: BATCH_HEAD_BYTES as u64,
            });
        };
        for (at, tag) in HEAD_TAGS {
            if head[at] != tag {
                return Err(BatchDamage::HeadTag { at, expected: tag, found: head[at] });
            }
        }
        let decoded = Self {
            base_offset: Offset(u64::from_le_bytes(chunk(head, 6))),
            append_time: Timestamp(i64::from_le_bytes(chunk(head, 15))),
            record_count: u32::from_le_bytes(chunk(head, 24)),
            offset_span: u32::from_le_bytes(chunk(head, 29)),
            producer_id: u64::from_le_bytes(chunk(head, 34)),
            producer_epoch: u32::from_le_bytes(chunk(head, 43)),
            base_sequence: u64::from_le_bytes(chunk(head, 48)),
        };
        Ok((u32::from_le_bytes(chunk(head, 1)), decoded))
    }

    /// The batch's checksum in a segment of that epoch. `body_crc` is the CRC-32 of the body alone.
    #[must_use]
    pub fn crc(&self, body_crc: u32, epoch: Epoch) -> u32 {
        continue_crc(body_crc, &self.encode(0), epoch)
    }

    /// The head with its checksum in a segment of that epoch.
    #[must_use]
    pub fn seal(&self, body_crc: u32, epoch: Epoch) -> [u8; BATCH_HEAD_BYTES] {
        let mut bytes = self.encode(0);
        let crc = continue_crc(body_crc, &bytes, epoch);
        bytes[1..CRC_FIELD_BYTES].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// Continues the body's CRC over the head and the epoch.
pub(crate) fn continue_crc(body_crc: u32, head: &[u8; BATCH_HEAD_BYTES], epoch: Epoch) -> u32 {
    let mut behind_crc = [0; BATCH_HEAD_BYTES - CRC_FIELD_BYTES + 8];
    let (fields, tail) = behind_crc.split_at_mut(BATCH_HEAD_BYTES - CRC_FIELD_BYTES);
    fields.copy_from_slice(&head[CRC_FIELD_BYTES..]);
    tail.copy_from_slice(&epoch.0.to_le_bytes());
    let mut hasher = Hasher::new_with_initial(body_crc);
    hasher.update(&behind_crc);
    hasher.finalize()
}

fn chunk<const N: usize>(head: &[u8; BATCH_HEAD_BYTES], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[at..at + N]);
    bytes
}

/// Why bytes are no valid batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchDamage {
    /// Another byte than a batch's tag.
    #[error("no batch starts here (byte {found:#04x})")]
    NoBatch {
        /// The byte.
        found: u8,
    },
    /// The bytes end within the batch.
    #[error("the batch is cut: {found} of at least {needed} bytes are there")]
    Cut {
        /// Bytes that are there.
        found: u64,
        /// Bytes that would be needed.
        needed: u64,
    },
    /// The length is not one that a writer writes.
    #[error("the batch's length is not written as five bytes")]
    LengthForm,
    /// The length cannot be.
    #[error("the batch's length {len} does not fit: {room} bytes are left")]
    Length {
        /// What the length says.
        len: u64,
        /// Bytes up to the end of what was written.
        room: u64,
    },
    /// The head lacks one of its tags.
    #[error("byte {at} of the batch's head is {found:#04x} instead of {expected:#04x}")]
    HeadTag {
        /// Place in the head.
        at: usize,
        /// The tag that belongs there.
        expected: u8,
        /// The byte that is there.
        found: u8,
    },
    /// The checksum does not match.
    #[error("the batch's checksum is {stored:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// The checksum in the head.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The batch is whole, and not the one that belongs here.
    #[error("the batch starts at offset {found}, expected {expected}")]
    Order {
        /// The offset that comes next here.
        expected: Offset,
        /// The batch's base offset.
        found: Offset,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: BatchHead = BatchHead {
        base_offset: Offset(0x0102_0304_0506_0708),
        append_time: Timestamp(-2),
        record_count: 3,
        offset_span: 5,
        producer_id: u64::MAX,
        producer_epoch: 9,
        base_sequence: 11,
    };

    #[test]
    fn a_head_survives_its_encoding() {
        let bytes = HEAD.encode(0xAABB_CCDD);
        assert_eq!(BatchHead::decode(&bytes), Ok((0xAABB_CCDD, HEAD)));
        assert_eq!(&bytes[..7], &[0x0D, 0xDD, 0xCC, 0xBB, 0xAA, 0x11, 0x08]);
        assert_eq!(HEAD.next_offset(), Offset(0x0102_0304_0506_070D));
    }

    #[test]
    fn the_checksum_continues_that_of_the_body() {
        let body = b"a body";
        let mut whole = body.to_vec();
        whole.extend_from_slice(&HEAD.encode(0)[5..]);
        whole.extend_from_slice(&7_u64.to_le_bytes());
        let crc = HEAD.crc(crc32fast::hash(body), Epoch(7));
        assert_eq!(crc, crc32fast::hash(&whole));
        assert_eq!(HEAD.seal(crc32fast::hash(body), Epoch(7)), HEAD.encode(crc));
    }

    #[test]
    fn bytes_that_are_no_head_say_why() {
        let mut bytes = HEAD.encode(1);
        assert_eq!(
            BatchHead::decode(&bytes[..55]),
            Err(BatchDamage::Cut { found: 55, needed: 56 })
        );
        bytes[23] = 0;
        assert_eq!(
            BatchHead::decode(&bytes),
            Err(BatchDamage::HeadTag { at: 23, expected: 0x25, found: 0 })
        );
    }
}
