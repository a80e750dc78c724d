//! Convolutions in which each channel has a window of its own: no product of matrices, but sums in registers.
//!
//! A tile is up to four output rows by one or two vectors of eight columns. The usual windows, 3x3 and 5x5 without dilation, have code
//! of their own, in which a row of the image that was loaded serves all output rows of the tile; others load each tap for each of them.
//!
//! What does not divide into tiles is not cut into smaller ones: the last tile of a row, and the last of a column, is moved
//! back and computes some places again. Where a row is shorter than a vector, what is written behind its end is written over by
//! the next row.

use super::activation::Activation;
use super::frame::Frame;
use super::lanes::{Kernel, Machine, dispatch};
use super::pool::Buffer;
use super::window::Window;

/// Columns of a vector.
const EIGHT: usize = 8;
/// Output rows of a tile.
const TILE_ROWS: usize = 4;
/// Rows of the image that a tile of the usual windows sees at most.
const SEEN_ROWS_MAX: usize = 11;
/// Columns that are looked at together: what two vectors and the taps beside them see.
const SEEN_MAX: usize = 24;

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
    let Some(frame) = Frame::new(work.window) else { return };
    // Rows are read beyond their end, the last ones too.
    let mut scratch = Buffer::new(frame.plane + SEEN_MAX);
    let Window { kernel, stride, dilation, .. } = *work.window;
    let planes =
        Planes { work, frame: &frame, taps: frame.taps(), image, scratch: &mut scratch, out };
    // Each is compiled by itself: in one function they would spill each other's registers.
    match (kernel, stride, dilation) {
        ([3, 3], [1, 1], [1, 1]) => dispatch(With(planes, Square::<3, 1>)),
        ([3, 3], [2, 2], [1, 1]) => dispatch(With(planes, Square::<3, 2>)),
        ([5, 5], [1, 1], [1, 1]) => dispatch(With(planes, Square::<5, 1>)),
        ([5, 5], [2, 2], [1, 1]) => dispatch(With(planes, Square::<5, 2>)),
        _ => dispatch(With(planes, Any)),
    }
}

struct Planes<'a> {
    work: &'a Depthwise<'a>,
    frame: &'a Frame,
    /// Where each reads.
    taps: Vec<usize>,
    image: &'a [f32],
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

/// Planes, and how their sums are made.
struct With<'a, S>(Planes<'a>, S);

impl<S: Sums> Kernel for With<'_, S> {
    #[inline(always)]
    fn run<M: Machine>(self, machine: M) {
        let Planes { work, frame, taps, image, scratch, out } = self.0;
        let size = (work.window.size[0] * work.window.size[1]).max(1);
        let out_size = work.window.out[0] * work.window.out[1];
        let (low, high) = match work.added {
            None => work.activation.bounds(),
            Some(_) => (f32::NEG_INFINITY, f32::INFINITY),
        };
        let bounds = (machine.splat(low), machine.splat(high));
        frame.fill_border(scratch);
        let weights = work.weights.chunks_exact(taps.len());
        for (number, (plane, weights)) in image.chunks_exact(size).zip(weights).enumerate() {
            frame.fill_inside(plane, scratch);
            let bias = machine.splat(work.bias.map_or(0.0, |bias| bias[number]));
            let plane = Plane { frame, weights, taps: &taps, padded: scratch, bias, bounds };
            let place = number * out_size;
            tiles::<M, S>(machine, &plane, &mut out[place..]);
            let out = &mut out[place..place + out_size];
            if let Some(added) = work.added {
                let (low, high) = work.activation.bounds();
                for (out, added) in out.iter_mut().zip(&added[place..]) {
                    let sum = *out + *added;
                    let sum = if sum < low { low } else { sum };
                    *out = if sum > high { high } else { sum };
                }
            }
            work.activation.finish(out);
        }
    }
}

#[derive(Clone, Copy)]
struct Plane<'a, M: Machine> {
    frame: &'a Frame,
    weights: &'a [f32],
    taps: &'a [usize],
    padded: &'a [f32],
    bias: M::Eight,
    bounds: (M::Eight, M::Eight),
}

/// How the sums of a tile are made.
trait Sums {
    /// Sums of `R` rows from `y` on by `V` vectors from column `x` on.
    fn sums<M: Machine, const R: usize, const V: usize>(
        machine: M,
        plane: &Plane<'_, M>,
        at: (usize, usize),
    ) -> [[M::Eight; V]; R];
}

/// All tiles of a plane. `out` goes on with the planes that follow.
#[inline(always)]
fn tiles<M: Machine, S: Sums>(machine: M, plane: &Plane<'_, M>, out: &mut [f32]) {
    let [height, width] = plane.frame.window.out;
    let mut y = 0;
    while y < height {
        let tall = height >= TILE_ROWS;
        if tall {
            y = y.min(height - TILE_ROWS);
        }
        let mut x = 0;
        while x < width {
            let wide = width - x >= 2 * EIGHT;
            if !wide && width >= EIGHT {
                x = x.min(width - EIGHT);
            }
            match (tall, wide) {
                (true, true) => tile::<M, S, TILE_ROWS, 2>(machine, plane, out, (y, x)),
                (true, false) => tile::<M, S, TILE_ROWS, 1>(machine, plane, out, (y, x)),
                (false, true) => tile::<M, S, 1, 2>(machine, plane, out, (y, x)),
                (false, false) => tile::<M, S, 1, 1>(machine, plane, out, (y, x)),
            }
            x += if wide { 2 * EIGHT } else { EIGHT };
        }
        y += if tall { TILE_ROWS } else { 1 };
    }
}

#[inline(always)]
fn tile<M: Machine, S: Sums, const R: usize, const V: usize>(
    machine: M,
    plane: &Plane<'_, M>,
    out: &mut [f32],
    (y, x): (usize, usize),
) {
    let sums = S::sums::<M, R, V>(machine, plane, (y, x));
    let width = plane.frame.window.out[1];
    let (low, high) = plane.bounds;
    for r in 0..R {
        let row = &mut out[(y + r) * width + x..];
        let clamped = |v: usize| machine.store(machine.clamp(sums[r][v], low, high));
        match row.as_chunks_mut::<EIGHT>().0.first_chunk_mut::<V>() {
            Some(eights) => {
                for v in 0..V {
                    eights[v] = clamped(v);
                }
            }
            None => write_few(&clamped(0), row),
        }
    }
}

/// Writes what there is room for: behind a narrow plane that is the last one.
#[cold]
#[inline(never)]
fn write_few(eight: &[f32; EIGHT], out: &mut [f32]) {
    out.iter_mut().zip(eight).for_each(|(out, sum)| *out = *sum);
}

/// Windows of `K` by `K` taps, side by side, that move by `S`.
struct Square<const K: usize, const S: usize>;

impl<const K: usize, const S: usize> Sums for Square<K, S> {
    #[inline(always)]
    fn sums<M: Machine, const R: usize, const V: usize>(
        machine: M,
        plane: &Plane<'_, M>,
        (y, x): (usize, usize),
    ) -> [[M::Eight; V]; R] {
        let mut sums = [[plane.bias; V]; R];
        let weights = plane.weights.as_chunks::<K>().0.first_chunk::<K>();
        let width = plane.frame.width;
        // A window that is at least as wide as its step has as many phases as that.
        let mut place = &plane.padded[y * S * S * width + x..];
        let mut seen = [[&[0.0; SEEN_MAX]; S]; SEEN_ROWS_MAX];
        for row in &mut seen[..(R - 1) * S + K] {
            for phase in row {
                let Some(columns) = place.first_chunk() else { return sums };
                *phase = columns;
                place = place.get(width..).unwrap_or_default();
            }
        }
        let Some(weights) = weights else { return sums };
        // Written out, as the compiler unrolls only small loops, and what a row adds to must be known as it is compiled.
        macro_rules! rows {
            ($($i:literal)*) => {$(
                if $i < (R - 1) * S + K {
                    row_into::<M, K, S, R, V>(machine, $i, &seen[$i], weights, &mut sums);
                }
            )*};
        }
        rows!(0 1 2 3 4 5 6 7 8 9 10);
        sums
    }
}

/// Adds what row `i` of the image, as a tile sees it, gives to the tile's rows.
#[inline(always)]
fn row_into<M: Machine, const K: usize, const S: usize, const R: usize, const V: usize>(
    machine: M,
    i: usize,
    seen: &[&[f32; SEEN_MAX]; S],
    weights: &[[f32; K]; K],
    sums: &mut [[M::Eight; V]; R],
) {
    for c in 0..K {
        for v in 0..V {
            let at = c / S + v * EIGHT;
            let Some(eight) = seen[c % S][at..].first_chunk() else { continue };
            let eight = machine.load(eight);
            for r in 0..R {
                let Some(down) = i.checked_sub(r * S) else { continue };
                if down < K {
                    let tap = machine.splat(weights[down][c]);
                    sums[r][v] = machine.fma(tap, eight, sums[r][v]);
                }
            }
        }
    }
}

/// Windows of any kind.
struct Any;

impl Sums for Any {
    #[inline(always)]
    fn sums<M: Machine, const R: usize, const V: usize>(
        machine: M,
        plane: &Plane<'_, M>,
        (y, x): (usize, usize),
    ) -> [[M::Eight; V]; R] {
        let row_step = plane.frame.row_step();
        let mut rows = [&plane.padded[..0]; R];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = &plane.padded[(y + r) * row_step + x..];
        }
        let mut sums = [[plane.bias; V]; R];
        for (tap, read) in plane.weights.iter().zip(plane.taps) {
            let tap = machine.splat(*tap);
            for (row, sums) in rows.iter().zip(&mut sums) {
                let (eights, _) = row[*read..].as_chunks::<EIGHT>();
                for (sum, seen) in sums.iter_mut().zip(eights) {
                    *sum = machine.fma(tap, machine.load(seen), *sum);
                }
            }
        }
        sums
    }
}
