//! Ascending offsets as runs, because what is granted and acknowledged mostly lies side by side.
//!
//! `[gap, more, gap, more, ..]`: skip `gap` offsets behind the last run (the first time: behind `from`), then come
//! `1 + more` offsets. A run of any length is two numbers, and both are small.

use embermq_storage::Offset;

use crate::frame::FrameMalformed;

/// The most offsets that one list may unfold to: far beyond what fits a request, and far below what fits memory.
const OFFSETS_MAX: u64 = 1 << 24;

/// Packs `offsets`, which ascend and begin at or after `from`.
pub(super) fn pack(offsets: impl IntoIterator<Item = Offset>, from: Offset) -> Vec<u64> {
    let mut packed: Vec<u64> = Vec::new();
    let mut next = from.0;
    for offset in offsets {
        match packed.last_mut() {
            Some(more) if offset.0 == next => *more += 1,
            _ => packed.extend([offset.0.saturating_sub(next), 0]),
        }
        next = offset.0.saturating_add(1);
    }
    packed
}

/// What [`pack`] packed.
pub(super) fn unpack(packed: &[u64], from: Offset) -> Result<Vec<Offset>, FrameMalformed> {
    let malformed = || FrameMalformed("runs of offsets do not hold together".to_owned());
    let mut offsets = Vec::new();
    let mut next = from.0;
    if !packed.len().is_multiple_of(2) {
        return Err(malformed());
    }
    for run in packed.chunks_exact(2) {
        let first = next.checked_add(run[0]).ok_or_else(malformed)?;
        let last = first.checked_add(run[1]).ok_or_else(malformed)?;
        if run[1] >= OFFSETS_MAX - offsets.len() as u64 {
            return Err(malformed());
        }
        offsets.extend((first..=last).map(Offset));
        next = last.checked_add(1).ok_or_else(malformed)?;
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_cost_nothing() {
        let offsets: Vec<Offset> = (100..1_100).chain([2_000, 2_002]).map(Offset).collect();
        let packed = pack(offsets.iter().copied(), Offset(90));
        assert_eq!(packed, [10, 999, 900, 0, 1, 0]);
        assert_eq!(unpack(&packed, Offset(90)).unwrap(), offsets);
        assert_eq!(unpack(&[], Offset(5)).unwrap(), []);
        assert_eq!(pack([Offset(5)], Offset(5)), [0, 0]);
    }

    #[test]
    fn runs_that_cannot_be_are_refused() {
        for packed in [&[1][..], &[u64::MAX, 0], &[0, u64::MAX], &[0, 1 << 24], &[0, 5, 0]] {
            assert!(unpack(packed, Offset(1)).is_err(), "{packed:?}");
        }
    }
}
