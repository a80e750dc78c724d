//! What a window sees as it moves over an image: padded planes, and the columns of the matrix that a convolution multiplies with.
//!
//! Planes are copied with their borders, and with a stride their columns are parted by their place within a step. So whatever a
//! tap of the window sees in one row of the output lies side by side.

use super::lanes::{Kernel, LANES, Machine, dispatch};
use super::pool;
use super::product::Columns;

/// A window over planes: for both axes, rows first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Of the planes.
    pub size: [usize; 2],
    /// Of the window, in taps.
    pub kernel: [usize; 2],
    /// From one place to the next.
    pub stride: [usize; 2],
    /// From one tap to the next.
    pub dilation: [usize; 2],
    /// In front of the first row and column; may be more than what is read behind.
    pub pad: [usize; 2],
    /// Places.
    pub out: [usize; 2],
}

impl Window {
    /// Whether the output is the product of the weights with the planes as they lie.
    pub fn is_point(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.pad == [0, 0]
            && self.out == self.size
    }

    /// Rows that are read of a padded plane.
    const fn rows(&self) -> usize {
        (self.out[0] - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1
    }

    /// Columns of one phase that are read of a padded plane.
    pub(crate) const fn phase_columns(&self) -> usize {
        self.out[1] + (self.kernel[1] - 1) * self.dilation[1] / self.stride[1]
    }

    /// Phases: columns with the same place within a step. With wide steps some are not read.
    fn phases(&self) -> usize {
        self.stride[1].min((self.kernel[1] - 1) * self.dilation[1] + 1)
    }

    /// Floats of a padded plane. `None`: too many to count, or the output is empty.
    pub fn plane(&self) -> Option<usize> {
        if self.out.contains(&0) || self.kernel.contains(&0) {
            return None;
        }
        let span = |axis: usize| {
            let steps = (self.out[axis] - 1).checked_mul(self.stride[axis])?;
            (self.kernel[axis] - 1)
                .checked_mul(self.dilation[axis])?
                .checked_add(steps)?
                .checked_add(1)
        };
        let (rows, _) = (span(0)?, span(1)?);
        rows.checked_mul(self.phase_columns())?.checked_mul(self.phases())
    }

    /// Where a tap of the window reads, within a padded plane.
    pub(crate) fn tap(&self, row: usize, column: usize) -> usize {
        let (down, right) = (row * self.dilation[0], column * self.dilation[1]);
        let (phase, behind) = (right % self.stride[1], right / self.stride[1]);
        (down * self.phases() + phase) * self.phase_columns() + behind
    }

    /// How far the reads of output rows lie apart.
    pub(crate) fn row_step(&self) -> usize {
        self.stride[0] * self.phases() * self.phase_columns()
    }

    /// Writes a padded plane.
    #[inline(always)]
    pub(crate) fn pad_plane(&self, plane: &[f32], padded: &mut [f32]) {
        let (phases, width) = (self.phases(), self.phase_columns());
        let [height_in, width_in] = self.size;
        let stride = self.stride[1];
        for phase in 0..phases {
            // Columns of the phase that lie before the image, and those that lie before its end.
            let before = self.pad[1].saturating_sub(phase).div_ceil(stride).min(width);
            let start = (before * stride + phase).saturating_sub(self.pad[1]);
            let inside = width_in.saturating_sub(start).div_ceil(stride).min(width - before);
            let rows = padded.chunks_exact_mut(width).skip(phase).step_by(phases);
            for (y, row) in rows.enumerate().take(self.rows()) {
                let inner = y.checked_sub(self.pad[0]).filter(|y| *y < height_in && inside > 0);
                let Some(y) = inner else {
                    row.fill(0.0);
                    continue;
                };
                let from = &plane[y * width_in + start..(y + 1) * width_in];
                row[..before].iter_mut().for_each(|zero| *zero = 0.0);
                row[before + inside..].iter_mut().for_each(|zero| *zero = 0.0);
                let place = &mut row[before..before + inside];
                match stride {
                    1 => place.copy_from_slice(&from[..inside]),
                    2 => every_second(from, place),
                    _ => {
                        for (to, from) in place.iter_mut().zip(from.iter().step_by(stride)) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn every_second(from: &[f32], to: &mut [f32]) {
    let (pairs, _) = from.as_chunks::<2>();
    let whole = pairs.len().min(to.len());
    for (to, pair) in to.iter_mut().zip(pairs) {
        *to = pair[0];
    }
    if let (Some(to), Some(last)) = (to.get_mut(whole), from.last()) {
        *to = *last;
    }
}

/// Padded planes of one image, or of a group of its channels.
#[derive(Debug)]
pub struct Padded<'a> {
    window: &'a Window,
    data: Vec<f32>,
    plane: usize,
    taps: Vec<usize>,
}

impl<'a> Padded<'a> {
    /// `None`: the output is empty.
    pub fn new(window: &'a Window, image: &[f32]) -> Option<Self> {
        let plane = window.plane()?;
        let [rows, columns] = window.kernel;
        let taps =
            (0..rows * columns).map(|tap| window.tap(tap / columns, tap % columns)).collect();
        let planes = image.len() / (window.size[0] * window.size[1]).max(1);
        // Reads of whole lanes may go over the end.
        let mut data = pool::buffer(planes * plane + LANES);
        dispatch(Padding { window, image, plane, data: &mut data });
        Some(Self { window, data, plane, taps })
    }

    /// Gives the memory back.
    pub fn end(self) {
        pool::recycle(self.data);
    }
}

struct Padding<'a> {
    window: &'a Window,
    image: &'a [f32],
    plane: usize,
    data: &'a mut [f32],
}

impl Kernel for Padding<'_> {
    #[inline(always)]
    fn run<M: Machine>(self, _: M) {
        let size = (self.window.size[0] * self.window.size[1]).max(1);
        let planes = self.image.chunks_exact(size);
        for (plane, padded) in planes.zip(self.data.chunks_exact_mut(self.plane)) {
            self.window.pad_plane(plane, padded);
        }
    }
}

impl Columns for Padded<'_> {
    #[inline(always)]
    fn pack(&self, depth: usize, column: usize, panel: &mut [f32]) {
        let width = self.window.out[1];
        let row_step = self.window.row_step();
        // Runs of places in the same output row: where each begins in the lane, and what its first place reads.
        let mut runs = [(0_usize, 0_usize); LANES];
        let mut count = 0;
        let (mut row, mut at) = (column / width, column % width);
        let mut filled = 0;
        while filled < LANES && row < self.window.out[0] {
            runs[count] = (filled, row * row_step + at);
            count += 1;
            filled += width - at;
            (row, at) = (row + 1, 0);
        }
        let rows = panel.len() / LANES - 1;
        let (mut channel, mut tap) = (depth / self.taps.len(), depth % self.taps.len());
        for k in 0..rows {
            let base = channel * self.plane + self.taps[tap];
            for (place, read) in &runs[..count] {
                // More than the run is copied: the next run, and the next row, write over it.
                let from = self.data[base + read..].first_chunk::<LANES>();
                let to = panel[k * LANES + place..].first_chunk_mut::<LANES>();
                if let (Some(from), Some(to)) = (from, to) {
                    *to = *from;
                }
            }
            tap += 1;
            if tap == self.taps.len() {
                (channel, tap) = (channel + 1, 0);
            }
        }
    }
}
