//! The header of a segment: whose it is, and the epoch that all its checksums are bound to.
//!
//! ```text
//! 0x12, padded length (5 bytes)          field 2 of Segment
//!   0x0A topic string · 0x10 partition uint32 (left out when 0)
//!   0x19 epoch fixed64 · 0x21 base_offset fixed64 · 0x29 created_us sfixed64
//!   0x39 next_offset fixed64 · 0x41 end fixed64     fields 7 and 8, only in a rewritten (compacted) segment
//!   0x35 crc fixed32                       field 6: CRC-32 of the message's bytes in front of it
//! ```
//!
//! A rewritten segment says itself which offsets it spans and where its batches end, because an older manifest
//! remembers the file that it replaced.

use crate::names::{Epoch, Offset, Timestamp};
use crate::segment::field::{HEADER_TAG, LENGTH_BYTES, padded_length, unpad_length};

/// Bytes within which a header ends. It bounds the topic's name.
pub(crate) const HEADER_BYTES_MAX: usize = 4_096;

/// Bytes of a header apart from the topic's name, at most.
const FIXED_BYTES_MAX: usize = 80;

/// Bytes that a topic's name may have.
pub(crate) const TOPIC_BYTES_MAX: usize = HEADER_BYTES_MAX - FIXED_BYTES_MAX;

/// Bytes from the epoch's tag to the end of `created_us`.
const STAMPS_BYTES: usize = 27;
/// Bytes of fields 7 and 8.
const REWRITTEN_BYTES: usize = 18;
/// Bytes of the crc field.
const CRC_BYTES: usize = 5;

/// Which partition a folder of segments belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionIdentity {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
}

/// What stands in front of a segment's batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The partition.
    pub identity: PartitionIdentity,
    /// The segment's random epoch.
    pub epoch: Epoch,
    /// Offset of the first record, or of the first that was there before compaction.
    pub base: Offset,
    /// When the segment was created.
    pub created: Timestamp,
    /// Present in a rewritten segment.
    pub rewritten: Option<Rewritten>,
}

/// What a rewritten segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The offset behind the segment's last one.
    pub next: Offset,
    /// Where the batches end, in bytes of the file.
    pub end: u64,
}

/// Why bytes are no header of the expected partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderDamage {
    /// The bytes do not have the form of a header.
    #[error("the segment's header is not readable at byte {at}")]
    Form {
        /// Place in the file.
        at: u64,
    },
    /// The checksum does not match.
    #[error("the segment header's checksum is {stored:#010x}, its bytes give {computed:#010x}")]
    Checksum {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The header is whole, and that of another segment.
    #[error("the file is the segment of topic {topic}, partition {partition}, from offset {base}")]
    Foreign {
        /// The topic's name in the header.
        topic: String,
        /// The partition's number in the header.
        partition: u32,
        /// The base offset in the header.
        base: Offset,
    },
}

impl SegmentHeader {
    /// The header's field as it stands at the front of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(FIXED_BYTES_MAX + self.identity.topic.len());
        message.push(0x0A);
        push_varint(&mut message, self.identity.topic.len() as u64);
        message.extend_from_slice(self.identity.topic.as_bytes());
        if self.identity.partition != 0 {
            message.push(0x10);
            push_varint(&mut message, u64::from(self.identity.partition));
        }
        push_fixed(&mut message, 0x19, self.epoch.0.to_le_bytes());
        push_fixed(&mut message, 0x21, self.base.0.to_le_bytes());
        push_fixed(&mut message, 0x29, self.created.0.to_le_bytes());
        if let Some(rewritten) = self.rewritten {
            push_fixed(&mut message, 0x39, rewritten.next.0.to_le_bytes());
            push_fixed(&mut message, 0x41, rewritten.end.to_le_bytes());
        }
        let crc = crc32fast::hash(&message);
        push_fixed(&mut message, 0x35, crc.to_le_bytes());

        let mut field = Vec::with_capacity(1 + LENGTH_BYTES + message.len());
        field.push(HEADER_TAG);
        field.extend_from_slice(&padded_length(message.len() as u64, LENGTH_BYTES));
        field.append(&mut message);
        field
    }

    /// Reads the header at the front of `bytes`, and how many bytes it takes.
    ///
    /// # Errors
    /// [`HeaderDamage::Form`] or [`HeaderDamage::Checksum`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), HeaderDamage> {
        let mut cursor = Cursor { bytes, at: 0 };
        cursor.tag(HEADER_TAG)?;
        let len =
            unpad_length(cursor.take(LENGTH_BYTES)?).and_then(|len| usize::try_from(len).ok());
        let front = cursor.at;
        let Some(len) = len.filter(|len| front + len <= bytes.len()) else {
            return Err(HeaderDamage::Form { at: 1 });
        };
        let end = front + len;
        cursor.bytes = &bytes[..end];

        cursor.tag(0x0A)?;
        let topic_len = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
        let topic_at = cursor.at;
        let topic = std::str::from_utf8(cursor.take(topic_len)?)
            .map_err(|_| HeaderDamage::Form { at: topic_at as u64 })?
            .to_owned();
        let partition = if cursor.peek() == Some(0x10) {
            cursor.at += 1;
            let at = cursor.at as u64;
            u32::try_from(cursor.varint()?).map_err(|_| HeaderDamage::Form { at })?
        } else {
            0
        };
        let epoch = Epoch(u64::from_le_bytes(cursor.fixed(0x19)?));
        let base = Offset(u64::from_le_bytes(cursor.fixed(0x21)?));
        let created = Timestamp(i64::from_le_bytes(cursor.fixed(0x29)?));
        let rewritten = if cursor.peek() == Some(0x39) {
            let next = Offset(u64::from_le_bytes(cursor.fixed(0x39)?));
            Some(Rewritten { next, end: u64::from_le_bytes(cursor.fixed(0x41)?) })
        } else {
            None
        };
        let computed = crc32fast::hash(&bytes[front..cursor.at]);
        let stored = u32::from_le_bytes(cursor.fixed(0x35)?);
        if cursor.at != end {
            return Err(HeaderDamage::Form { at: cursor.at as u64 });
        }
        if stored != computed {
            return Err(HeaderDamage::Checksum { stored, computed });
        }
        let identity = PartitionIdentity { topic, partition };
        Ok((Self { identity, epoch, base, created, rewritten }, end))
    }

    /// # Errors
    /// [`HeaderDamage::Foreign`] when the header is that of another partition or of another base offset.
    pub(crate) fn belongs_to(
        &self,
        identity: &PartitionIdentity,
        base: Offset,
    ) -> Result<(), HeaderDamage> {
        if self.identity == *identity && self.base == base {
            return Ok(());
        }
        Err(HeaderDamage::Foreign {
            topic: self.identity.topic.clone(),
            partition: self.identity.partition,
            base: self.base,
        })
    }
}

/// What can still be told of a damaged header. It is only a guess until a batch's checksum proves the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SalvagedHeader {
    pub(crate) epoch: Epoch,
    pub(crate) base: Offset,
    pub(crate) rewritten: Option<Rewritten>,
    pub(crate) len: usize,
}

impl SalvagedHeader {
    /// Looks for the run of fixed-width fields, wherever the damaged front lets them lie.
    pub(crate) fn find(bytes: &[u8]) -> Option<Self> {
        let bytes = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
        (0..bytes.len()).find_map(|at| {
            let stamps = bytes.get(at..at + STAMPS_BYTES)?;
            if (stamps[0], stamps[9], stamps[18]) != (0x19, 0x21, 0x29) {
                return None;
            }
            let behind = bytes.get(at + STAMPS_BYTES..)?;
            let (rewritten, crc_at) = match (behind.first(), behind.get(9)) {
                (Some(0x39), Some(0x41)) => {
                    let rewritten = Rewritten {
                        next: Offset(u64::from_le_bytes(*behind.get(1..9)?.first_chunk()?)),
                        end: u64::from_le_bytes(*behind.get(10..18)?.first_chunk()?),
                    };
                    (Some(rewritten), at + STAMPS_BYTES + REWRITTEN_BYTES)
                }
                _ => (None, at + STAMPS_BYTES),
            };
            Some(Self {
                epoch: Epoch(u64::from_le_bytes(*stamps[1..].first_chunk()?)),
                base: Offset(u64::from_le_bytes(*stamps[10..].first_chunk()?)),
                rewritten,
                len: crc_at + CRC_BYTES,
            })
        })
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7F;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn push_fixed<const N: usize>(out: &mut Vec<u8>, tag: u8, value: [u8; N]) {
    out.push(tag);
    out.extend_from_slice(&value);
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    const fn damage(&self) -> HeaderDamage {
        HeaderDamage::Form { at: self.at as u64 }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], HeaderDamage> {
        let end = self.at.checked_add(count).ok_or_else(|| self.damage())?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.damage())?;
        self.at = end;
        Ok(taken)
    }

    fn tag(&mut self, tag: u8) -> Result<(), HeaderDamage> {
        if self.peek() != Some(tag) {
            return Err(self.damage());
        }
        self.at += 1;
        Ok(())
    }

    fn fixed<const N: usize>(&mut self, tag: u8) -> Result<[u8; N], HeaderDamage> {
        self.tag(tag)?;
        let mut value = [0; N];
        value.copy_from_slice(self.take(N)?);
        Ok(value)
    }

    fn varint(&mut self) -> Result<u64, HeaderDamage> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(partition: u32, rewritten: Option<Rewritten>) -> SegmentHeader {
        SegmentHeader {
            identity: PartitionIdentity { topic: "photos".to_owned(), partition },
            epoch: Epoch(0xFEED),
            base: Offset(17),
            created: Timestamp(1_700_000_000_000_000),
            rewritten,
        }
    }

    #[test]
    fn a_header_survives_its_encoding() {
        let rewritten = Rewritten { next: Offset(99), end: 1_234 };
        for header in [header(0, None), header(300, None), header(300, Some(rewritten))] {
            let mut bytes = header.encode();
            let len = bytes.len();
            bytes.extend_from_slice(&[0; 100]);
            assert_eq!(SegmentHeader::decode(&bytes), Ok((header.clone(), len)));
            let salvaged = SalvagedHeader::find(&bytes).unwrap();
            assert_eq!((salvaged.epoch, salvaged.base), (header.epoch, header.base));
            assert_eq!((salvaged.rewritten, salvaged.len), (header.rewritten, len));
        }
    }

    #[test]
    fn the_longest_name_still_fits() {
        let identity =
            PartitionIdentity { topic: "x".repeat(TOPIC_BYTES_MAX), partition: u32::MAX };
        let rewritten = Some(Rewritten { next: Offset(0), end: 0 });
        assert!(
            SegmentHeader { identity, ..header(0, rewritten) }.encode().len() <= HEADER_BYTES_MAX
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = header(3, None).encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(SegmentHeader::decode(&flipped).is_err(), "byte {at}, bit {bit}");
            }
            assert!(SegmentHeader::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }
}
