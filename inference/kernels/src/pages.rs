//! Memory for what stays as long as a model does: weights, as they are or packed.
//!
//! It consists of pages of its own, which go back to the system when it is dropped. In the heap weights would stand between what is
//! freed around them while a model is loaded, and an allocator can give back nothing of a block of which a part is in use.

use memmap2::MmapMut;

use super::lanes::{LANES, Lane};

/// Less than this is left to the heap.
const BYTES_MIN: usize = 64 * 1024;

/// Zeros at first; aligned for every type.
#[derive(Debug)]
pub struct Pages(MmapMut);

impl Pages {
    /// `None`: it is not worth it, or the system has none.
    #[must_use]
    pub fn new(bytes: usize) -> Option<Self> {
        if bytes < BYTES_MIN {
            return None;
        }
        MmapMut::map_anon(bytes).ok().map(Self)
    }

    /// Memory that holds what is given. `None`: as [`new`](Self::new).
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut pages = Self::new(bytes.len())?;
        pages.0.copy_from_slice(bytes);
        Some(pages)
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Lanes, in pages where that is worth it.
#[derive(Debug)]
pub(crate) enum KeptLanes {
    Pages(Pages),
    Heap(Vec<Lane>),
}

impl KeptLanes {
    pub(crate) fn zeros(count: usize) -> Self {
        match count.checked_mul(size_of::<Lane>()).and_then(Pages::new) {
            Some(pages) => Self::Pages(pages),
            None => Self::Heap(vec![[0.0; LANES]; count]),
        }
    }

    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[Lane] {
        match self {
            Self::Pages(pages) => bytemuck::cast_slice(&pages.0),
            Self::Heap(lanes) => lanes,
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [Lane] {
        match self {
            Self::Pages(pages) => bytemuck::cast_slice_mut(&mut pages.0),
            Self::Heap(lanes) => lanes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_lies_in_pages_and_little_in_the_heap() {
        let count = BYTES_MIN / size_of::<Lane>();
        for (count, in_pages) in [(count, true), (count - 1, false), (0, false)] {
            let mut kept = KeptLanes::zeros(count);
            assert_eq!(matches!(kept, KeptLanes::Pages(_)), in_pages);
            assert_eq!(kept.as_slice(), vec![[0.0; LANES]; count]);
            kept.as_mut_slice().fill([1.5; LANES]);
            assert_eq!(kept.as_slice(), vec![[1.5; LANES]; count]);
        }
        assert!(matches!(KeptLanes::zeros(0).as_slice(), []));
    }

    #[test]
    fn pages_hold_what_they_were_given() {
        let bytes: Vec<u8> = (0..=255).cycle().take(BYTES_MIN + 3).collect();
        assert_eq!(Pages::of(&bytes).unwrap().as_ref(), bytes);
        assert!(Pages::of(&bytes[..10]).is_none());
        assert!(Pages::new(usize::MAX).is_none());
    }
}
