//! The id of a request: opaque for whoever has it, and checked.
//!
//! 24 bytes in base64 (URL alphabet, no padding): group, partition and offset, and a keyed hash of them with the group's
//! secret. It is shorter than a lease token, so neither can be taken for the other.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use embermq_storage::Offset;

use super::state::RequestError;
use crate::consume::seal;
use crate::group::Place;
use crate::state::GroupId;
use crate::topic::PartitionId;

const BODY_BYTES: usize = 16;
const ID_BYTES: usize = BODY_BYTES + 8;

/// Names a request. Whether it is genuine is found out when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(super) group: GroupId,
    pub(super) place: Place,
    seal: u64,
}

impl RequestId {
    pub(super) fn new(group: GroupId, secret: u64, place: Place) -> Self {
        Self { group, place, seal: seal(secret, &body(group, place)) }
    }

    /// Whether it was made with this secret.
    pub(super) fn is_genuine(&self, secret: u64) -> bool {
        seal(secret, &body(self.group, self.place)) == self.seal
    }
}

fn body(group: GroupId, place: Place) -> [u8; BODY_BYTES] {
    let mut bytes = [0; BODY_BYTES];
    bytes[..4].copy_from_slice(&group.0.to_be_bytes());
    bytes[4..8].copy_from_slice(&place.partition.0.to_be_bytes());
    bytes[8..].copy_from_slice(&place.offset.0.to_be_bytes());
    bytes
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = body(self.group, self.place).to_vec();
        bytes.extend_from_slice(&self.seal.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for RequestId {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let wrong = || RequestError::NotFound;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let bytes: [u8; ID_BYTES] = bytes.try_into().map_err(|_| wrong())?;
        let number = |from: usize, count: usize| {
            bytes.iter().skip(from).take(count).fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
        };
        let small = |number: u64| u32::try_from(number).map_err(|_| wrong());
        let place =
            Place { partition: PartitionId(small(number(4, 4))?), offset: Offset(number(8, 8)) };
        Ok(Self { group: GroupId(small(number(0, 4))?), place, seal: number(BODY_BYTES, 8) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_it_was_made_of_and_no_change_goes_unseen() {
        let place = Place { partition: PartitionId(3), offset: Offset(77) };
        let id = RequestId::new(GroupId(5), 0xfeed, place);
        let text = id.to_string();
        assert_eq!(text.parse::<RequestId>().unwrap(), id);
        assert!(id.is_genuine(0xfeed));
        assert!(!id.is_genuine(0xfeee));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let genuine = changed.parse::<RequestId>().is_ok_and(|id| id.is_genuine(0xfeed));
            assert!(!genuine, "byte {at}");
        }
        for garbage in
            ["", "x", "....", &text[1..], &format!("{text}A"), &format!("{text}AAAAAAAAAAAAAAAA")]
        {
            assert!(garbage.parse::<RequestId>().is_err(), "{garbage:?}");
        }
    }
}
