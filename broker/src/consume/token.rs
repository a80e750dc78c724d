//! Lease tokens: opaque for their holders, and checked.
//!
//! A token is 36 bytes in base64 (URL alphabet, no padding): group, partition, offset, attempt and grant of the lease,
//! and a keyed hash of all that (SipHash-2-4, with the group's secret). So a token that was cut, mistyped or made up is told from
//! one that is stale, and one broker's tokens mean nothing to another. It is no protection against who can read the data
//! folder.

use std::hash::Hasher as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use embermq_storage::Offset;
use siphasher::sip::SipHasher24;

use crate::group::{GrantEpoch, LeaseRef, Place};
use crate::state::GroupId;
use crate::topic::PartitionId;

const BODY_BYTES: usize = 28;
const TOKEN_BYTES: usize = BODY_BYTES + 8;

/// What a token says, unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) group: GroupId,
    pub(super) lease: LeaseRef,
    seal: u64,
}

impl Claim {
    /// Takes a token apart.
    pub(super) fn parse(token: &str) -> Option<Self> {
        let bytes: [u8; TOKEN_BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let mut rest = &bytes[..];
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at(count);
            rest = left;
            taken.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let small = |number: u64| u32::try_from(number).ok();
        let group = GroupId(small(take(4))?);
        let partition = PartitionId(small(take(4))?);
        let offset = Offset(take(8));
        let attempt = small(take(4))?;
        let epoch = GrantEpoch(take(8));
        let lease = LeaseRef { place: Place { partition, offset }, attempt, epoch };
        Some(Self { group, lease, seal: take(8) })
    }

    /// Whether it was made with this secret.
    pub(super) fn is_genuine(&self, secret: u64) -> bool {
        seal(secret, &body(self.group, &self.lease)) == self.seal
    }
}

/// The token of a lease.
pub(super) fn token(group: GroupId, secret: u64, lease: &LeaseRef) -> String {
    let mut bytes = body(group, lease).to_vec();
    let seal = seal(secret, &bytes);
    bytes.extend_from_slice(&seal.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn body(group: GroupId, lease: &LeaseRef) -> [u8; BODY_BYTES] {
    let mut bytes = [0; BODY_BYTES];
    bytes[..4].copy_from_slice(&group.0.to_be_bytes());
    bytes[4..8].copy_from_slice(&lease.place.partition.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&lease.place.offset.0.to_be_bytes());
    bytes[16..20].copy_from_slice(&lease.attempt.to_be_bytes());
    bytes[20..].copy_from_slice(&lease.epoch.0.to_be_bytes());
    bytes
}

pub(crate) fn seal(secret: u64, body: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(secret, !secret);
    hasher.write(body);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_it_was_made_of_and_no_change_goes_unseen() {
        let place = Place { partition: PartitionId(3), offset: Offset(77) };
        let lease = LeaseRef { place, attempt: 2, epoch: GrantEpoch(9) };
        let made = token(GroupId(5), 0xfeed, &lease);
        let claim = Claim::parse(&made).unwrap();
        assert_eq!((claim.group, claim.lease), (GroupId(5), lease));
        assert!(claim.is_genuine(0xfeed));
        assert!(!claim.is_genuine(0xfeee));
        for at in 0..made.len() {
            let mut changed = made.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let genuine = Claim::parse(&changed).is_some_and(|claim| claim.is_genuine(0xfeed));
            assert!(!genuine, "byte {at}");
        }
        for garbage in ["", "x", "....", &made[1..], &format!("{made}A")] {
            assert!(Claim::parse(garbage).is_none(), "{garbage:?}");
        }
    }
}
