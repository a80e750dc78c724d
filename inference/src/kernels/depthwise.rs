//! Convolutions in which each channel has a window of its own, 3 by 3 or 5 by 5: no product of matrices, but sums in registers.
//!
//! A tile is a few output rows by [`LANES`] or half as many columns. Each input row that it sees is loaded once per column of the window and used
//! for all output rows.

use super::activation::Activation;
use super::lanes::{Kernel, LANES, dispatch, fma};
use super::pool;
use super::window::Window;

/// A convolution of each plane with its own window, and what follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depthwise<'a> {
    pub(crate) window: &'a Window,
    /// A window per plane.
    pub(crate) weights: &'a [f32],
    /// A number per plane.
    pub(crate) bias: Option<&'a [f32]>,
    /// Lies as the output does.
    pub(crate) added: Option<&'a [f32]>,
    pub(crate) activation: Activation,
}

impl Depthwise<'_> {
    /// Whether there is a kernel for it.
    pub(crate) fn suits(window: &Window) -> bool {
        matches!(window.kernel, [3, 3] | [5, 5])
            && window.dilation == [1, 1]
            && matches!(window.stride, [1, 1] | [2, 2])
    }
}

/// Computes planes; does nothing where the output is empty. The window must [suit](Depthwise::suits).
pub(crate) fn depthwise(work: &Depthwise<'_>, image: &[f32], out: &mut [f32]) {
    let Some(plane) = work.window.plane() else { return };
    let mut scratch = pool::buffer(plane + 2 * LANES);
    dispatch(Planes { work, image, scratch: &mut scratch, out });
    pool::recycle(scratch);
}

struct Planes<'a> {
    work: &'a Depthwise<'a>,
    image: &'a [f32],
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Planes<'_> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { work, image, scratch, out } = self;
        let window = work.window;
        let size = (window.size[0] * window.size[1]).max(1);
        let out_size = window.out[0] * window.out[1];
        let planes = image.chunks_exact(size).zip(out.chunks_exact_mut(out_size));
        for (number, (plane, out)) in planes.enumerate() {
            window.pad_plane(plane, scratch);
            let bias = work.bias.map_or(0.0, |bias| bias[number]);
            let added = work.added.map(|added| &added[number * out_size..(number + 1) * out_size]);
            let end = End { bias, added, activation: work.activation };
            match (window.kernel[0], window.stride[0]) {
                (3, 1) => plane_of::<FMA, 3, 9, 1>(window, work.weights, number, scratch, out, end),
                (3, _) => plane_of::<FMA, 3, 9, 2>(window, work.weights, number, scratch, out, end),
                (_, 1) => {
                    plane_of::<FMA, 5, 25, 1>(window, work.weights, number, scratch, out, end)
                }
                _ => plane_of::<FMA, 5, 25, 2>(window, work.weights, number, scratch, out, end),
            }
        }
    }
}

#[derive(Clone, Copy)]
struct End<'a> {
    bias: f32,
    added: Option<&'a [f32]>,
    activation: Activation,
}

/// One plane with a window of `K` by `K` (`KK` taps) and stride `S`.
#[inline(always)]
fn plane_of<const FMA: bool, const K: usize, const KK: usize, const S: usize>(
    window: &Window,
    weights: &[f32],
    number: usize,
    padded: &[f32],
    out: &mut [f32],
    end: End<'_>,
) {
    let Some(taps) = weights[number * KK..].first_chunk::<KK>() else { return };
    let [height, width] = window.out;
    let phase_columns = window.phase_columns();
    let mut y = 0;
    while y < height {
        let count = if height - y >= 4 {
            4
        } else if height - y >= 2 {
            2
        } else {
            1
        };
        let rows = &padded[y * S * S * phase_columns..];
        let mut x = 0;
        while x < width {
            let place = Place { y, x, width };
            let narrow = width - x <= LANES / 2;
            match (count, narrow) {
                (4, false) => {
                    tile::<FMA, K, KK, S, 4, 16>(taps, rows, phase_columns, out, place, end)
                }
                (4, true) => {
                    tile::<FMA, K, KK, S, 4, 8>(taps, rows, phase_columns, out, place, end)
                }
                (2, false) => {
                    tile::<FMA, K, KK, S, 2, 16>(taps, rows, phase_columns, out, place, end)
                }
                (2, true) => {
                    tile::<FMA, K, KK, S, 2, 8>(taps, rows, phase_columns, out, place, end)
                }
                (_, false) => {
                    tile::<FMA, K, KK, S, 1, 16>(taps, rows, phase_columns, out, place, end)
                }
                _ => tile::<FMA, K, KK, S, 1, 8>(taps, rows, phase_columns, out, place, end),
            }
            x += if narrow { LANES / 2 } else { LANES };
        }
        y += count;
    }
}

#[derive(Clone, Copy)]
struct Place {
    y: usize,
    x: usize,
    width: usize,
}

/// `R` output rows by `W` columns. `rows`: the padded plane from the first row that is read.
#[inline(always)]
fn tile<
    const FMA: bool,
    const K: usize,
    const KK: usize,
    const S: usize,
    const R: usize,
    const W: usize,
>(
    taps: &[f32; KK],
    rows: &[f32],
    phase_columns: usize,
    out: &mut [f32],
    place: Place,
    end: End<'_>,
) {
    let mut sums = [[end.bias; W]; R];
    for down in 0..(R - 1) * S + K {
        for phase in 0..S {
            let start = (down * S + phase) * phase_columns + place.x;
            // The widest read of a phase: W columns, and those of the taps to the right.
            let Some(seen) = rows[start..].first_chunk::<24>() else { return };
            let mut right = 0;
            while right * S + phase < K {
                let mut lane = [0.0; W];
                lane.copy_from_slice(&seen[right..right + W]);
                for r in 0..R {
                    if down >= r * S && down - r * S < K {
                        let tap = taps[(down - r * S) * K + right * S + phase];
                        for j in 0..W {
                            sums[r][j] = fma::<FMA>(tap, lane[j], sums[r][j]);
                        }
                    }
                }
                right += 1;
            }
        }
    }
    let count = W.min(place.width - place.x);
    for (r, sums) in sums.iter().enumerate() {
        let at = (place.y + r) * place.width + place.x;
        let mut lane = [0.0; LANES];
        lane[..W].copy_from_slice(sums);
        if let Some(added) = end.added {
            for (sum, added) in lane[..count].iter_mut().zip(&added[at..]) {
                *sum += *added;
            }
        }
        let lane = end.activation.apply::<FMA>(lane);
        let to = &mut out[at..at + count];
        match to.first_chunk_mut::<W>() {
            Some(to) => to.copy_from_slice(&lane[..W]),
            None => to.copy_from_slice(&lane[..count]),
        }
    }
}
