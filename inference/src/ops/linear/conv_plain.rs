//! Convolution over any number of axes, by loops.

use std::ops::{AddAssign, Mul};

use super::geometry::Axis;
use crate::dtype::Element;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<'a> {
    pub(super) channels: usize,
    pub(super) filters: usize,
    pub(super) group: usize,
    pub(super) axes: &'a [Axis],
}

/// Convolves. `out` holds zeros.
pub(super) fn convolve<T: Element + Mul<Output = T> + AddAssign>(
    sizes: &Plain<'_>,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) {
    let product = |f: fn(&Axis) -> usize| sizes.axes.iter().map(f).product::<usize>();
    let (image, taps, result) = (product(|a| a.size), product(|a| a.kernel), product(|a| a.out));
    if out.is_empty() {
        return;
    }
    let (per_group, rows) = (sizes.channels / sizes.group, sizes.filters / sizes.group);
    for (plane, out) in out.chunks_exact_mut(result).enumerate() {
        let (batch, filter) = (plane / sizes.filters, plane % sizes.filters);
        if let Some(bias) = bias {
            out.fill(bias[filter]);
        }
        let first = batch * sizes.channels + filter / rows * per_group;
        for channel in 0..per_group {
            let x = &x[(first + channel) * image..][..image];
            let w = &w[(filter * per_group + channel) * taps..][..taps];
            accumulate(sizes.axes, x, w, out);
        }
    }
}

/// Adds one channel's part. Recursion is as deep as there are axes.
fn accumulate<T: Element + Mul<Output = T> + AddAssign>(
    axes: &[Axis],
    x: &[T],
    w: &[T],
    out: &mut [T],
) {
    let Some((axis, inner)) = axes.split_first() else {
        out[0] += x[0] * w[0];
        return;
    };
    let product = |f: fn(&Axis) -> usize| inner.iter().map(f).product::<usize>();
    let (image, taps, result) = (product(|a| a.size), product(|a| a.kernel), product(|a| a.out));
    for place in 0..axis.out {
        for tap in 0..axis.kernel {
            let seen = place * axis.stride + tap * axis.dilation;
            let Some(at) = seen.checked_sub(axis.pad).filter(|at| *at < axis.size) else {
                continue;
            };
            accumulate(
                inner,
                &x[at * image..(at + 1) * image],
                &w[tap * taps..(tap + 1) * taps],
                &mut out[place * result..(place + 1) * result],
            );
        }
    }
}
