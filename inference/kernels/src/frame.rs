//! Padded planes: an image's planes with their borders, for windows that move by steps.
//!
//! With a step of more than one, the columns are parted by their place within a step: a row is `phases` rows of `width` columns
//! each. So whatever a tap of the window sees in one row of the output lies side by side.

use super::window::Window;

/// What lies where in a padded plane.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) window: Window,
    /// Floats of a plane.
    pub(crate) plane: usize,
    /// Columns of a phase.
    pub(crate) width: usize,
    phases: usize,
    /// For each phase.
    insides: Vec<Inside>,
}

/// The columns of a phase that lie in the image.
#[derive(Clone, Copy, Debug)]
struct Inside {
    /// The first one's number in the image.
    start: usize,
    /// Columns of the phase in front of it.
    before: usize,
    /// How many.
    count: usize,
}

impl Inside {
    fn of(window: &Window, phase: usize) -> Self {
        let (stride, width) = (window.stride[1], window.phase_columns());
        let before = window.pad[1].saturating_sub(phase).div_ceil(stride).min(width);
        let start = (before * stride + phase).saturating_sub(window.pad[1]);
        let count = window.size[1].saturating_sub(start).div_ceil(stride).min(width - before);
        Self { start, before, count }
    }
}

impl Frame {
    /// `None`: the output is empty.
    pub(crate) fn new(window: &Window) -> Option<Self> {
        let plane = window.plane()?;
        let (phases, width) = (window.phases(), window.phase_columns());
        let insides = (0..phases).map(|phase| Inside::of(window, phase)).collect();
        Some(Self { window: *window, plane, width, phases, insides })
    }

    /// Where each tap of the window reads.
    pub(crate) fn taps(&self) -> Vec<usize> {
        let Window { kernel: [rows, columns], dilation, stride, .. } = self.window;
        let tap = |tap: usize| {
            let (down, right) = (tap / columns * dilation[0], tap % columns * dilation[1]);
            let (phase, behind) = (right % stride[1], right / stride[1]);
            (down * self.phases + phase) * self.width + behind
        };
        (0..rows * columns).map(tap).collect()
    }

    /// How far the reads of output rows lie apart.
    #[inline(always)]
    pub(crate) const fn row_step(&self) -> usize {
        self.window.stride[0] * self.phases * self.width
    }

    /// Writes the zeros around a plane: what [`fill_inside`](Self::fill_inside) does not write.
    #[inline(always)]
    pub(crate) fn fill_border(&self, padded: &mut [f32]) {
        for (phase, inside) in self.insides.iter().enumerate() {
            let rows = padded.chunks_exact_mut(self.width).skip(phase).step_by(self.phases);
            for (y, row) in rows.enumerate().take(self.window.rows()) {
                let image_row = y.checked_sub(self.window.pad[0]);
                if image_row.is_none_or(|y| y >= self.window.size[0]) {
                    row.fill(0.0);
                    continue;
                }
                row[..inside.before].iter_mut().for_each(|zero| *zero = 0.0);
                row[inside.before + inside.count..].iter_mut().for_each(|zero| *zero = 0.0);
            }
        }
    }

    /// Writes what a padded plane has of the image.
    #[inline(always)]
    pub(crate) fn fill_inside(&self, plane: &[f32], padded: &mut [f32]) {
        let Window { size: [height, columns], stride, pad, .. } = self.window;
        let rows = self.window.rows().saturating_sub(pad[0]).min(height);
        if rows == 0 {
            return;
        }
        let from = plane.chunks_exact(columns.max(1));
        let step = self.phases * self.width;
        let to = padded[pad[0] * step..].chunks_exact_mut(step);
        let rows = from.zip(to).take(rows);
        match (&self.insides[..], stride[1]) {
            (&[Inside { before, count, .. }], 1) => {
                // A loop: `for_each` of what is taken from an iterator is a call, and that falls back to narrow vectors.
                for (from, to) in rows {
                    copy(&from[..count], &mut to[before..][..count]);
                }
            }
            (&[first, second], 2) => {
                // Columns of the image with an even number come into one phase, those with an odd number into the other.
                let is_even = pad[1] % 2 == 0;
                for (from, to) in rows {
                    let (low, high) = to.split_at_mut(self.width);
                    let low = &mut low[first.before..][..first.count];
                    let high = &mut high[second.before..][..second.count];
                    let (evens, odds) = if is_even { (low, high) } else { (high, low) };
                    part(from, evens, odds);
                }
            }
            (insides, stride) => {
                for (from, to) in rows {
                    let phases = to.chunks_exact_mut(self.width).zip(insides);
                    for (to, Inside { start, before, count }) in phases {
                        let seen = from.iter().skip(*start).step_by(stride);
                        let to = to[*before..].iter_mut().take(*count);
                        to.zip(seen).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

/// Copies a row without a call: the last piece may write again what the one before it wrote.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    match to.len() {
        0..4 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        4..8 => pieces::<4>(from, to),
        8..16 => pieces::<8>(from, to),
        _ => pieces::<16>(from, to),
    }
}

#[inline(always)]
fn pieces<const N: usize>(from: &[f32], to: &mut [f32]) {
    let ((whole, _), (places, _)) = (from.as_chunks::<N>(), to.as_chunks_mut::<N>());
    places.iter_mut().zip(whole).for_each(|(to, from)| *to = *from);
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}

/// Parts a row into its columns of even and of odd number.
#[inline(always)]
fn part(from: &[f32], evens: &mut [f32], odds: &mut [f32]) {
    let (pairs, _) = from.as_chunks::<2>();
    let both = evens.len().min(odds.len());
    let (first_evens, last_evens) = evens.split_at_mut(both);
    let (first_odds, last_odds) = odds.split_at_mut(both);
    for ((even, odd), pair) in first_evens.iter_mut().zip(first_odds).zip(pairs) {
        (*even, *odd) = (pair[0], pair[1]);
    }
    // An even column may be the last of all, with none beside it.
    let from = &from[(2 * both).min(from.len())..];
    let (pairs, last) = from.as_chunks::<2>();
    let seen = pairs.iter().map(|pair| pair[0]).chain(last.iter().copied());
    last_evens.iter_mut().zip(seen).for_each(|(even, seen)| *even = seen);
    last_odds.iter_mut().zip(pairs).for_each(|(odd, pair)| *odd = pair[1]);
}
