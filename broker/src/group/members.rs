//! Who asked lately: what keeps a partition with its member while there is nothing to hand out.
//!
//! Asking is not logged, so this is no part of the group's state: the shell keeps it, and a restart forgets it. Nothing
//! but the choice of a partition depends on it.

use std::collections::{BTreeMap, BTreeSet};

use embermq_storage::Timestamp;

use super::open::{MemberId, later};

/// When each member of a group asked last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    by_member: BTreeMap<MemberId, Timestamp>,
    by_time: BTreeSet<(Timestamp, MemberId)>,
}

impl Members {
    /// Notes that a member asks; those that were silent for `lease_us` are forgotten.
    pub(crate) fn asked(&mut self, member: MemberId, lease_us: u64, now: Timestamp) {
        while let Some(&(time, silent)) = self.by_time.first()
            && later(time, lease_us) <= now
        {
            self.by_time.remove(&(time, silent));
            self.by_member.remove(&silent);
        }
        if member == MemberId::NONE {
            return;
        }
        if let Some(before) = self.by_member.insert(member, now) {
            self.by_time.remove(&(before, member));
        }
        self.by_time.insert((now, member));
    }

    /// Whether a member asked within the last `lease_us`.
    pub(crate) fn is_present(&self, member: MemberId, lease_us: u64, now: Timestamp) -> bool {
        self.by_member.get(&member).is_some_and(|&asked| later(asked, lease_us) > now)
    }

    /// When the next member will have been silent too long: then others may take its partitions.
    pub(crate) fn next_absence(&self, lease_us: u64, now: Timestamp) -> Option<Timestamp> {
        self.by_time.iter().map(|&(asked, _)| later(asked, lease_us)).find(|&absent| absent > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_present_for_one_lease_after_it_asked() {
        let mut members = Members::default();
        let (ann, bob) = (MemberId(1), MemberId(2));
        members.asked(ann, 10, Timestamp(0));
        members.asked(bob, 10, Timestamp(4));
        assert!(members.is_present(ann, 10, Timestamp(9)));
        assert!(!members.is_present(ann, 10, Timestamp(10)));
        assert_eq!(members.next_absence(10, Timestamp(9)), Some(Timestamp(10)));
        assert_eq!(members.next_absence(10, Timestamp(10)), Some(Timestamp(14)));
        members.asked(MemberId::NONE, 10, Timestamp(14));
        assert_eq!(members.next_absence(10, Timestamp(0)), None, "both are forgotten");
    }
}
