//! How a window moves over an image, and what it sees: the columns of the matrix that a convolution multiplies with.

use super::columns::Columns;
use super::frame::Frame;
use super::lanes::{Kernel, LANES, Machine, dispatch};
use super::pool::Buffer;

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
    pub(crate) const fn rows(&self) -> usize {
        (self.out[0] - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1
    }

    /// Columns of one phase that are read of a padded plane.
    pub(crate) const fn phase_columns(&self) -> usize {
        self.out[1] + (self.kernel[1] - 1) * self.dilation[1] / self.stride[1]
    }

    /// Phases: columns with the same place within a step. With wide steps some are not read.
    pub(crate) fn phases(&self) -> usize {
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
}

/// Padded planes of one image, or of a group of its channels.
#[derive(Debug)]
pub struct Padded {
    frame: Frame,
    data: Buffer,
    taps: Vec<usize>,
}

impl Padded {
    /// `None`: the output is empty.
    pub fn new(window: &Window, image: &[f32]) -> Option<Self> {
        let frame = Frame::new(window)?;
        let taps = frame.taps();
        let planes = image.len() / (window.size[0] * window.size[1]).max(1);
        // Reads of whole lanes may go over the end.
        let mut data = Buffer::new(planes * frame.plane + LANES);
        dispatch(Padding { frame: &frame, image, data: &mut data });
        Some(Self { frame, data, taps })
    }
}

struct Padding<'a> {
    frame: &'a Frame,
    image: &'a [f32],
    data: &'a mut [f32],
}

impl Kernel for Padding<'_> {
    #[inline(always)]
    fn run<M: Machine>(self, _: M) {
        let Self { frame, image, data } = self;
        let size = (frame.window.size[0] * frame.window.size[1]).max(1);
        for (plane, padded) in image.chunks_exact(size).zip(data.chunks_exact_mut(frame.plane)) {
            frame.fill_border(padded);
            frame.fill_inside(plane, padded);
        }
    }
}

impl Columns for Padded {
    #[inline(always)]
    fn pack(&self, depth: usize, column: usize, panel: &mut [f32]) {
        let [height, width] = self.frame.window.out;
        let row_step = self.frame.row_step();
        // Runs of places in the same output row: where each begins in the lane, and what its first place reads.
        let mut runs = [(0_usize, 0_usize); LANES];
        let mut count = 0;
        let (mut row, mut at) = (column / width, column % width);
        let mut filled = 0;
        while filled < LANES && row < height {
            runs[count] = (filled, row * row_step + at);
            count += 1;
            filled += width - at;
            (row, at) = (row + 1, 0);
        }
        let rows = panel.len() / LANES - 1;
        let (mut channel, mut tap) = (depth / self.taps.len(), depth % self.taps.len());
        let data: &[f32] = &self.data;
        for k in 0..rows {
            let base = channel * self.frame.plane + self.taps[tap];
            for (place, read) in &runs[..count] {
                // More than the run is copied: the next run, and the next row, write over it.
                let from = data[base + read..].first_chunk::<LANES>();
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
