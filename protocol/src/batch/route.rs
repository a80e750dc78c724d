//! Which partition a record goes to.

use super::{Body, FormError, Scan};

/// The partition of a key: CRC-32 (IEEE, as in zlib and gzip) of the key's bytes, modulo the number of partitions.
///
/// Every language has it: `zlib.crc32(key) % partitions` in Python, `crc32.ChecksumIEEE(key) % partitions` in Go.
///
/// ```
/// use embermq_protocol::batch::partition_for_key;
///
/// assert_eq!(partition_for_key(b"cam-7", 16), 0x43B2_CD75 % 16);
/// ```
///
/// # Panics
/// When there are no partitions.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    key_hash(key) % partitions
}

/// What the partition of a key follows from: CRC-32 of its bytes.
#[must_use]
pub fn key_hash(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

/// What one partition gets of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The partition.
    pub partition: u32,
    /// Which records of the batch, ascending; empty when it gets all of them, as `AppendResult.record_indexes` has it.
    pub record_indexes: Vec<u32>,
    /// Their body.
    pub body: Body,
}

/// Parts a batch among the partitions of a topic: records with a key go where it says, those without one go together
/// to the partition `unkeyed`. The parts come in the order of their partitions. A batch that goes to one partition as a
/// whole keeps its body as it is, without a copy.
///
/// # Errors
/// None that the scan would not have found.
///
/// # Panics
/// When there are no partitions.
pub fn route(
    body: Body,
    scan: &Scan,
    partitions: u32,
    unkeyed: u32,
) -> Result<Vec<Route>, FormError> {
    let target =
        |index: usize| scan.key(index).map_or(unkeyed, |key| partition_for_key(key, partitions));
    let first = target(0);
    if partitions == 1 || (1..scan.records.len()).all(|index| target(index) == first) {
        return Ok(vec![Route { partition: first, record_indexes: Vec::new(), body }]);
    }
    let mut by_partition: Vec<(u32, u32)> =
        (0..scan.count()).map(|index| (target(index as usize), index)).collect();
    by_partition.sort_unstable();
    by_partition
        .chunk_by(|a, b| a.0 == b.0)
        .map(|part| {
            let record_indexes: Vec<u32> = part.iter().map(|&(_, index)| index).collect();
            let body = scan.select(&record_indexes)?;
            Ok(Route { partition: part[0].0, record_indexes, body })
        })
        .collect()
}
