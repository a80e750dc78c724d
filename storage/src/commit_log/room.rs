//! How much fits into the log without making another file: plain arithmetic.

use super::group::Group;

/// What certainly fits into the log now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRoom {
    /// A group of this many [bytes](Group::bytes) fits, however it is cut into frames, without the reserve and
    /// without making another file.
    pub bytes: u64,
    /// Whether the file behind the present one is ready.
    pub next_ready: bool,
}

/// How much of the reserve appends may use. What frees space comes last, so that it finds some however much the others took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReserveUse {
    /// Nothing of it.
    #[default]
    Nothing,
    /// All but the last quarter.
    Upper,
    /// All of it.
    Whole,
}

impl ReserveUse {
    /// What has to stay of a reserve.
    pub(super) const fn leaves(self, reserve_bytes: u64) -> u64 {
        match self {
            Self::Nothing => reserve_bytes,
            Self::Upper => reserve_bytes.div_ceil(4),
            Self::Whole => 0,
        }
    }
}

/// The space of a log, in bytes of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// Left in the file that is written to.
    pub(super) left: u64,
    /// In the file behind it, when one is ready.
    pub(super) next: u64,
    /// In all files that are ready.
    pub(super) ready: u64,
    /// What must stay behind an append.
    pub(super) reserve: u64,
}

/// Where the frames of a group go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// So many frames go into the present file, the others into the next.
    Here(usize),
    /// It would fit, but nothing of the reserve may be used.
    OverReserve,
    /// The next file would have to hold so many bytes of frames.
    NextTooSmall(u64),
}

impl Space {
    /// Places a group whose open frame was ended.
    pub(super) fn fit(&self, group: &Group) -> Fit {
        let here = group.fitting(self.left);
        let rest = group.bytes() - group.bytes_of(here);
        if rest > self.next {
            return Fit::NextTooSmall(rest);
        }
        // What is left of a file is lost when the log rolls on.
        let behind = if rest == 0 {
            self.left - group.bytes() + self.ready
        } else {
            self.ready.saturating_sub(rest)
        };
        if behind < self.reserve { Fit::OverReserve } else { Fit::Here(here) }
    }

    /// What fits however it is cut into frames.
    pub(super) fn certain(&self) -> u64 {
        let here = self.left.min((self.left + self.ready).saturating_sub(self.reserve));
        // In the worst case no frame fits into the present file.
        let next = self.next.min(self.ready.saturating_sub(self.reserve));
        here.max(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(payloads: &[usize]) -> Group {
        let mut group = Group::new();
        for len in payloads {
            group.begin_frame();
            group.put(&vec![1; *len]);
        }
        group.end_frame();
        group
    }

    #[test]
    fn frames_fill_the_present_file_first() {
        let space = Space { left: 100, next: 1_000, ready: 1_000, reserve: 0 };
        assert_eq!(space.fit(&group(&[8, 8])), Fit::Here(2));
        assert_eq!(space.fit(&group(&[8, 8, 8])), Fit::Here(2));
        assert_eq!(space.fit(&group(&[100, 8])), Fit::Here(0));
        assert_eq!(space.fit(&group(&[8, 2_000])), Fit::NextTooSmall(2_032));
    }

    #[test]
    fn the_reserve_stays_free() {
        let space = Space { left: 100, next: 0, ready: 0, reserve: 60 };
        assert_eq!(space.fit(&group(&[8])), Fit::Here(1));
        assert_eq!(space.fit(&group(&[16])), Fit::OverReserve);
        assert_eq!(space.certain(), 40);
    }

    proptest! {
        #[test]
        fn what_is_certain_fits(
            left in 0_u64..500,
            next in 0_u64..500,
            more in 0_u64..500,
            reserve in 0_u64..800,
            payloads in proptest::collection::vec(0_usize..200, 1..8),
        ) {
            let ready = if next == 0 { 0 } else { next + more };
            let space = Space { left, next, ready, reserve };
            let group = group(&payloads);
            if group.bytes() <= space.certain() {
                prop_assert!(matches!(space.fit(&group), Fit::Here(_)));
            }
        }
    }
}
