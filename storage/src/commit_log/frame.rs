//! The frame: one payload in the commit log, or none (a proof frame).
//!
//! ```text
//!  0  magic     u32   resync mark: where a length is damaged, the next frame is found by it
//!  4  crc       u32   CRC-32 (IEEE) of payload, bytes 8..32 of this head, then the file's epoch (u64)
//!  8  length    u32   bytes of payload, at most 1 GiB
//! 12  flags     u32   zero; a reader refuses what it does not know
//! 16  position  u64   where this frame lies in the log
//! 24  proven    u64   up to where the log was durable when this frame was written; never behind `position`
//! 32  payload, then zeroes up to a multiple of 8
//! ```
//!
//! All numbers are little endian. The payload comes first under the checksum, so that the CRC of a large body,
//! computed by whoever had the body in its cache, is continued instead of computed again. Position and epoch
//! under the checksum keep a frame of another file, or of an earlier life of the same blocks, from passing for
//! a frame of this one.

use crate::names::{Epoch, Position};

use super::damage::DamageReason;

/// Bytes of a frame before its payload.
pub const FRAME_HEAD_BYTES: u64 = 32;

/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGN: u64 = 8;

/// The largest payload of a frame. Far above what one request may carry; it keeps lengths within 32 bits and the
/// memory that a damaged length can make a reader ask for within reason.
pub const FRAME_PAYLOAD_BYTES_MAX: u64 = 1 << 30;

/// Not text, and not what a small number looks like.
pub(super) const FRAME_MAGIC: u32 = u32::from_le_bytes([0xE3, b'F', b'r', 0x9D]);

/// [`FRAME_HEAD_BYTES`] as a length in memory.
pub(super) const HEAD_LEN: usize = 32;

/// Where the part of the head begins that the checksum covers.
const COVERED_FROM: usize = 8;

/// The fields of a frame's head that vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) crc: u32,
    pub(super) length: u32,
    pub(super) position: Position,
    pub(super) proven: Position,
}

impl FrameHead {
    /// The head of a frame whose payload alone has the CRC `payload_crc`.
    pub(super) fn seal(
        payload_crc: u32,
        length: u32,
        position: Position,
        proven: Position,
        epoch: Epoch,
    ) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        head[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        head[8..12].copy_from_slice(&length.to_le_bytes());
        head[16..24].copy_from_slice(&position.0.to_le_bytes());
        head[24..32].copy_from_slice(&proven.0.to_le_bytes());
        let crc = frame_crc(payload_crc, &head, epoch);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// Reads a head that was found at `position`. Says nothing of the payload yet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(head: &[u8; HEAD_LEN], position: Position) -> Result<Self, DamageReason> {
        if u32_at(head, 0) != FRAME_MAGIC {
            return Err(if *head == [0; HEAD_LEN] {
                DamageReason::Blank
            } else {
                DamageReason::Magic
            });
        }
        let found = Self {
            crc: u32_at(head, 4),
            length: u32_at(head, 8),
            position: Position(u64_at(head, 16)),
            proven: Position(u64_at(head, 24)),
        };
        if found.position != position {
            return Err(DamageReason::Position { found: found.position });
        }
        if u64::from(found.length) > FRAME_PAYLOAD_BYTES_MAX {
            return Err(DamageReason::Length { length: found.length.into() });
        }
        if found.proven > position {
            return Err(DamageReason::Proven { found: found.proven });
        }
        Ok(found)
    }

    /// Whether `payload`, this `head` and `epoch` belong together.
    ///
    /// # Errors
    /// The checksum does not match, or it does and the head has flags of a later version.
    pub(super) fn check(
        &self,
        head: &[u8; HEAD_LEN],
        payload: &[u8],
        epoch: Epoch,
    ) -> Result<(), DamageReason> {
        if frame_crc(crc32fast::hash(payload), head, epoch) != self.crc {
            return Err(DamageReason::Checksum);
        }
        match u32_at(head, 12) {
            0 => Ok(()),
            flags => Err(DamageReason::Flags { flags }),
        }
    }
}

/// Bytes of log that a frame with `length` bytes of payload takes.
pub(super) const fn frame_bytes(length: u64) -> u64 {
    (FRAME_HEAD_BYTES + length).next_multiple_of(FRAME_ALIGN)
}

fn frame_crc(payload_crc: u32, head: &[u8; HEAD_LEN], epoch: Epoch) -> u32 {
    // In one piece: two short updates cost more than one.
    let mut covered = [0; HEAD_LEN - COVERED_FROM + 8];
    covered[..HEAD_LEN - COVERED_FROM].copy_from_slice(&head[COVERED_FROM..]);
    covered[HEAD_LEN - COVERED_FROM..].copy_from_slice(&epoch.0.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new_with_initial(payload_crc);
    hasher.update(&covered);
    hasher.finalize()
}

/// The little endian number at `at`; callers pass constants that lie inside.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The little endian number at `at`; callers pass constants that lie inside.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(payload: &[u8], position: u64, proven: u64, epoch: u64) -> [u8; HEAD_LEN] {
        let length = u32::try_from(payload.len()).unwrap();
        let crc = crc32fast::hash(payload);
        FrameHead::seal(crc, length, Position(position), Position(proven), Epoch(epoch))
    }

    #[test]
    fn golden_frame() {
        let head = sealed(b"hello", 0x1122_3340, 0x1122_3300, 0x0102_0304_0506_0708);
        let mut expected = vec![0xE3, 0x46, 0x72, 0x9D];
        let mut covered = b"hello".to_vec();
        covered.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0]);
        covered.extend_from_slice(&[0x40, 0x33, 0x22, 0x11, 0, 0, 0, 0]);
        covered.extend_from_slice(&[0x00, 0x33, 0x22, 0x11, 0, 0, 0, 0]);
        covered.extend_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
        expected.extend_from_slice(&crc32fast::hash(&covered).to_le_bytes());
        expected.extend_from_slice(&covered[5..29]);
        assert_eq!(head.to_vec(), expected);
        assert_eq!(head[4..8], GOLDEN_CRC, "the format changed");
    }

    /// Computed with Python's `zlib.crc32`.
    const GOLDEN_CRC: [u8; 4] = [0x2F, 0xF1, 0x67, 0xCD];

    #[test]
    fn a_frame_takes_whole_words() {
        assert_eq!(frame_bytes(0), 32);
        assert_eq!(frame_bytes(1), 40);
        assert_eq!(frame_bytes(8), 40);
        assert_eq!(frame_bytes(9), 48);
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_read_back(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            position in any::<u64>(),
            behind in any::<u64>(),
            epoch in any::<u64>(),
        ) {
            let proven = position.saturating_sub(behind);
            let head = sealed(&payload, position, proven, epoch);
            let found = FrameHead::decode(&head, Position(position)).unwrap();
            prop_assert_eq!(usize::try_from(found.length).unwrap(), payload.len());
            prop_assert_eq!(found.proven, Position(proven));
            prop_assert_eq!(found.check(&head, &payload, Epoch(epoch)), Ok(()));
        }

        #[test]
        fn a_flipped_bit_anywhere_is_noticed(
            payload in proptest::collection::vec(any::<u8>(), 1..300),
            bit in any::<prop::sample::Index>(),
            epoch in any::<u64>(),
        ) {
            let mut head = sealed(&payload, 64, 8, epoch);
            let mut payload = payload;
            let mut epoch = epoch.to_le_bytes();
            let bit = bit.index((HEAD_LEN + payload.len() + epoch.len()) * 8);
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            if byte < HEAD_LEN {
                head[byte] ^= mask;
            } else if byte < HEAD_LEN + payload.len() {
                payload[byte - HEAD_LEN] ^= mask;
            } else {
                epoch[byte - HEAD_LEN - payload.len()] ^= mask;
            }
            let epoch = Epoch(u64::from_le_bytes(epoch));
            let verdict = FrameHead::decode(&head, Position(64))
                .and_then(|found| found.check(&head, &payload, epoch));
            prop_assert!(verdict.is_err());
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(head in any::<[u8; HEAD_LEN]>(), at in any::<u64>()) {
            let mut marked = head;
            marked[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
            marked[16..24].copy_from_slice(&at.to_le_bytes());
            for head in [head, marked] {
                if let Ok(found) = FrameHead::decode(&head, Position(at)) {
                    prop_assert!(found.check(&head, b"", Epoch(1)).is_err());
                }
            }
        }
    }
}
