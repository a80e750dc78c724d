//! Convolutions in which each channel has a window of its own: no product of matrices, but sums in registers.
//!
//! A tile is up to four output rows by [`LANES`] or half as many columns. Each tap is loaded once for all of them.

use super::activation::Activation;
use super::lanes::{Kernel, LANES, Machine, dispatch};
use super::pool;
use super::window::Window;

/// A convolution of each plane with its own window, and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise<'a> {
    /// How the windows move.
    pub window: &'a Window,
    /// A window per plane.
    pub weights: &'a [f32],
    /// A number per plane.
    pub bias: Option<&'a [f32]>,
    /// Lies as the output does.
    pub added: Option<&'a [f32]>,
    /// What is done last.
    pub activation: Activation,
}

/// Computes planes; does nothing where the output is empty.
pub fn depthwise(work: &Depthwise<'_>, image: &[f32], out: &mut [f32]) {
    let Some(plane) = work.window.plane() else { return };
    let [rows, columns] = work.window.kernel;
    let reads: Vec<usize> =
        (0..rows * columns).map(|tap| work.window.tap(tap / columns, tap % columns)).collect();
    // Tiles at the end read a whole lane.
    let mut scratch = pool::buffer(plane + LANES);
    dispatch(Planes { work, reads: &reads, image, scratch: &mut scratch, out });
    pool::recycle(scratch);
}

struct Planes<'a> {
    work: &'a Depthwise<'a>,
    /// Where each tap reads.
    reads: &'a [usize],
    image: &'a [f32],
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Planes<'_> {
    #[inline(always)]
    fn run<M: Machine>(self, machine: M) {
        let Self { work, reads, image, scratch, out } = self;
        let window = work.window;
        let size = (window.size[0] * window.size[1]).max(1);
        let out_size = window.out[0] * window.out[1];
        let planes = image.chunks_exact(size).zip(out.chunks_exact_mut(out_size));
        let weights = work.weights.chunks_exact(reads.len());
        let reach = reads.iter().max().map_or(0, |read| read + LANES);
        let (low, high) = work.activation.bounds();
        for (number, ((plane, out), weights)) in planes.zip(weights).enumerate() {
            window.pad_plane(plane, scratch);
            let bias = work.bias.map_or(0.0, |bias| bias[number]);
            let added = work.added.map(|added| &added[number * out_size..(number + 1) * out_size]);
            let end = End { bias, added, low, high };
            one(machine, Plane { window, weights, reads, reach, padded: scratch, end }, out);
            work.activation.finish(out);
        }
    }
}

#[derive(Clone, Copy)]
struct Plane<'a> {
    window: &'a Window,
    weights: &'a [f32],
    reads: &'a [usize],
    /// What the taps see from the first place of an output row on.
    reach: usize,
    padded: &'a [f32],
    end: End<'a>,
}

#[derive(Clone, Copy)]
struct End<'a> {
    bias: f32,
    added: Option<&'a [f32]>,
    low: f32,
    high: f32,
}

#[inline(always)]
fn one<M: Machine>(machine: M, plane: Plane<'_>, out: &mut [f32]) {
    let [height, width] = plane.window.out;
    let mut y = 0;
    while y < height {
        let count = if height - y >= 4 { 4 } else { 1 };
        let mut x = 0;
        while x < width {
            let narrow = width - x <= LANES / 2;
            match (count, narrow) {
                (4, false) => tile::<M, 4, 2>(machine, &plane, out, (y, x)),
                (4, true) => tile::<M, 4, 1>(machine, &plane, out, (y, x)),
                (_, false) => tile::<M, 1, 2>(machine, &plane, out, (y, x)),
                _ => tile::<M, 1, 1>(machine, &plane, out, (y, x)),
            }
            x += if narrow { LANES / 2 } else { LANES };
        }
        y += count;
    }
}

/// `R` output rows by `V` vectors.
#[inline(always)]
fn tile<M: Machine, const R: usize, const V: usize>(
    machine: M,
    plane: &Plane<'_>,
    out: &mut [f32],
    (y, x): (usize, usize),
) {
    let row_step = plane.window.row_step();
    let mut rows = [&plane.padded[..0]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &plane.padded[(y + r) * row_step + x..][..plane.reach];
    }
    let end = plane.end;
    let mut sums = [[machine.splat(end.bias); V]; R];
    for (tap, read) in plane.weights.iter().zip(plane.reads) {
        let tap = machine.splat(*tap);
        for (row, sums) in rows.iter().zip(&mut sums) {
            let Some(seen) = row[*read..].first_chunk::<LANES>() else { return };
            let (seen, _) = seen.as_chunks::<8>();
            for (sum, seen) in sums.iter_mut().zip(seen) {
                *sum = machine.fma(tap, machine.load(seen), *sum);
            }
        }
    }
    let width = plane.window.out[1];
    let count = (V * 8).min(width - x);
    for (r, sums) in sums.iter().enumerate() {
        let at = (y + r) * width + x;
        let mut lane = [0.0; LANES];
        let (eights, _) = lane.as_chunks_mut::<8>();
        for (to, sum) in eights.iter_mut().zip(sums) {
            *to = machine.store(*sum);
        }
        if let Some(added) = end.added {
            for (sum, added) in lane[..count].iter_mut().zip(&added[at..]) {
                *sum += *added;
            }
        }
        for sum in &mut lane {
            *sum = if *sum < end.low { end.low } else { *sum };
            *sum = if *sum > end.high { end.high } else { *sum };
        }
        let to = &mut out[at..at + count];
        match to.first_chunk_mut::<LANES>() {
            Some(to) => *to = lane,
            None => to.copy_from_slice(&lane[..count]),
        }
    }
}
