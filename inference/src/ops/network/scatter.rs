//! Columns back to an image: what lies under a window at each of its places is added up where the windows overlap.
//! Col2Im is that alone; a transposed convolution is a product of matrices before it.

use super::layout::advance;
use super::precision::Real;
use crate::error::OpError;

/// A window along one axis of the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScatterAxis {
    /// Size of the image.
    pub(super) size: usize,
    /// Places of the window.
    pub(super) places: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Padding before the image; negative where the image begins further out.
    pub(super) begin: i64,
}

impl ScatterAxis {
    /// Fails where places under the window would not fit numbers.
    pub(super) fn check(&self, kernel: usize) -> Result<(), OpError> {
        let reach = self.places.saturating_sub(1).checked_mul(self.stride);
        let span = kernel.saturating_sub(1).checked_mul(self.dilation);
        let end = reach.zip(span).and_then(|(reach, span)| reach.checked_add(span));
        let end =
            end.and_then(|end| end.checked_add(self.size)).and_then(|end| i64::try_from(end).ok());
        match end.and_then(|end| end.checked_add(self.begin.checked_abs()?)) {
            Some(_) => Ok(()),
            None => Err(OpError::shape("the window or its padding is too large")),
        }
    }

    /// For a tap: the places whose element lies on the image, and the element of the first of them.
    fn hits(&self, tap: usize) -> (std::ops::Range<usize>, usize) {
        let offset = i64::try_from(tap * self.dilation).unwrap_or(i64::MAX) - self.begin;
        let before = usize::try_from(-offset.min(0)).unwrap_or(usize::MAX);
        let first = before.div_ceil(self.stride).min(self.places);
        let ahead = usize::try_from(offset).unwrap_or(0);
        let end = (self.size + before).saturating_sub(ahead).div_ceil(self.stride);
        let element = (first * self.stride + ahead).saturating_sub(before);
        (first..end.clamp(first, self.places), element)
    }
}

/// Adds one column, an element per place, to the image under the tap `tap` of the window.
#[inline(always)]
pub(super) fn add_column<T: Real>(
    image: &mut [T],
    column: &[T],
    axes: &[ScatterAxis],
    tap: &[usize],
) {
    let Some((last, outer)) = axes.split_last() else { return };
    let hits: Vec<_> = axes.iter().zip(tap).map(|(axis, tap)| axis.hits(*tap)).collect();
    let Some((last_hits, outer_hits)) = hits.split_last() else { return };
    let counts: Vec<usize> = outer_hits.iter().map(|(places, _)| places.len()).collect();
    let count = last_hits.0.len();
    if count == 0 || counts.contains(&0) {
        return;
    }
    let mut step = vec![0; outer.len()];
    loop {
        let (mut from, mut to) = (0, 0);
        for ((axis, (places, element)), step) in outer.iter().zip(outer_hits).zip(&step) {
            from = from * axis.places + places.start + step;
            to = to * axis.size + element + step * axis.stride;
        }
        let from = &column[from * last.places + last_hits.0.start..][..count];
        let to = &mut image[to * last.size + last_hits.1..(to + 1) * last.size];
        if last.stride == 1 {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *to + *from;
            }
        } else {
            for (to, from) in to.iter_mut().step_by(last.stride).zip(from) {
                *to = *to + *from;
            }
        }
        if !advance(&mut step, &counts) {
            return;
        }
    }
}
