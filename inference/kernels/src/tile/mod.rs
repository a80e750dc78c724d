//! The innermost product: up to six rows by [`LANES`] columns, kept in registers.
//!
//! Twelve of the sixteen vector registers of AVX2 accumulate, two hold the columns, one the row's element. Four steps of the depth
//! are written out: 12 products need 8 loads, and what else the loop does counts, as a core that runs two threads decodes
//! instructions for each only half of the time.
//!
//! A panel of one or two columns would leave most of that idle. Its columns lie one behind the other instead: as with images of
//! 7 x 7 places, one more than three panels have, and with products that have one column.

mod lying;
mod packed;

pub(crate) use lying::Lying;
pub(crate) use packed::{OVERREAD, Packed};

use super::lanes::{LANES, Lane, Machine};
use super::product::DEPTH_MAX;

/// Rows of the largest tile.
pub(crate) const ROWS: usize = 6;

/// Vectors of a lane.
const HALVES: usize = 2;

/// Floats of a vector.
const EIGHT: usize = LANES / HALVES;

/// Columns of a panel that is narrow.
const NARROW: usize = 2;

/// Steps of the depth that are written out.
const TURNS: usize = 4;

/// A tile's sums: for each row two vectors.
pub(crate) type Sums<M> = [[<M as Machine>::Eight; HALVES]; ROWS];

/// Rows of the next tile when `left` are left.
#[inline(always)]
pub(crate) const fn rows_of(left: usize) -> usize {
    match left {
        // Two tiles of four are faster than one of six and one of two.
        7 | 8 => 4,
        ROWS.. => ROWS,
        _ => left,
    }
}

/// Rows of the left matrix that a tile reads.
pub(crate) trait Strip: Copy {
    /// `N` rows by the first `V` vectors.
    fn fixed<M: Machine, const N: usize, const V: usize>(
        self,
        machine: M,
        right: &[Lane],
    ) -> [[M::Eight; V]; N];

    /// `rows` rows by columns that lie one behind the other, as long as the strip is deep. `results[j]` are those of column `j`.
    fn narrow<M: Machine>(
        self,
        machine: M,
        rows: usize,
        columns: [&[f32]; NARROW],
        results: &mut [[f32; EIGHT]; NARROW],
    );

    /// Its only row.
    fn row(&self) -> &[f32];
}

/// Multiplies `rows` rows with packed columns, `width` of which are wanted.
#[inline(always)]
pub(crate) fn multiply<M: Machine, S: Strip>(
    machine: M,
    (rows, width): (usize, usize),
    left: S,
    right: &[Lane],
    sums: &mut Sums<M>,
) {
    if width <= NARROW {
        return narrow(machine, (rows, width), left, right, sums);
    }
    match (rows, width > EIGHT) {
        (6, true) => fixed::<M, S, 6, 2>(machine, left, right, sums),
        (6, false) => fixed::<M, S, 6, 1>(machine, left, right, sums),
        (5, _) => fixed::<M, S, 5, 2>(machine, left, right, sums),
        (4, true) => fixed::<M, S, 4, 2>(machine, left, right, sums),
        (4, false) => fixed::<M, S, 4, 1>(machine, left, right, sums),
        (3, _) => fixed::<M, S, 3, 2>(machine, left, right, sums),
        (2, _) => fixed::<M, S, 2, 2>(machine, left, right, sums),
        _ => single(machine, left.row(), right, sums),
    }
}

#[inline(always)]
fn halves(lane: &Lane) -> &[[f32; EIGHT]] {
    lane.as_chunks().0
}

#[inline(always)]
fn fixed<M: Machine, S: Strip, const N: usize, const V: usize>(
    machine: M,
    left: S,
    right: &[Lane],
    sums: &mut Sums<M>,
) {
    let tile = left.fixed::<M, N, V>(machine, right);
    for i in 0..N {
        sums[i][..V].copy_from_slice(&tile[i]);
    }
}

/// Adds the products of `N` elements with a lane.
#[inline(always)]
fn step<M: Machine, const N: usize, const V: usize>(
    machine: M,
    elements: [f32; N],
    lane: &Lane,
    tile: &mut [[M::Eight; V]; N],
) {
    let halves = halves(lane);
    let columns: [M::Eight; V] = std::array::from_fn(|v| machine.load(&halves[v]));
    for i in 0..N {
        let element = machine.splat(elements[i]);
        for v in 0..V {
            tile[i][v] = machine.fma(element, columns[v], tile[i][v]);
        }
    }
}

/// One row alone: four sums in turn, as each addition waits for the one before.
#[inline(always)]
fn single<M: Machine>(machine: M, left: &[f32], right: &[Lane], sums: &mut Sums<M>) {
    let left = &left[..right.len()];
    let mut turns = [[machine.splat(0.0); HALVES]; 4];
    let (fours, rest) = right.as_chunks::<4>();
    let (left_fours, left_rest) = left.as_chunks::<4>();
    for (element, columns) in left_fours.iter().zip(fours) {
        for turn in 0..4 {
            let element = machine.splat(element[turn]);
            let halves = halves(&columns[turn]);
            for v in 0..HALVES {
                turns[turn][v] = machine.fma(element, machine.load(&halves[v]), turns[turn][v]);
            }
        }
    }
    for (element, columns) in left_rest.iter().zip(rest) {
        let (element, halves) = (machine.splat(*element), halves(columns));
        for v in 0..HALVES {
            turns[0][v] = machine.fma(element, machine.load(&halves[v]), turns[0][v]);
        }
    }
    for v in 0..HALVES {
        let (front, back) = ((turns[0][v], turns[1][v]), (turns[2][v], turns[3][v]));
        sums[0][v] = machine.add(machine.add(front.0, front.1), machine.add(back.0, back.1));
    }
}

/// Puts the columns of a narrow last panel one behind the other. `columns`: of the whole matrix, whose last panel this has.
#[inline(always)]
pub(crate) fn turn_narrow(lanes: &mut [Lane], depth: usize, columns: usize) {
    let width = (columns + LANES - 1) % LANES + 1;
    if width > NARROW || depth == 0 || lanes.len() < depth {
        return;
    }
    let place = lanes.len() - depth;
    let lanes = &mut lanes[place..];
    let mut turned = [[0.0; DEPTH_MAX]; NARROW];
    for (k, lane) in lanes.iter().enumerate() {
        for (j, column) in turned[..width].iter_mut().enumerate() {
            column[k] = lane[j];
        }
    }
    let columns = lanes.as_flattened_mut().chunks_exact_mut(depth);
    for (to, from) in columns.zip(&turned[..width]) {
        to.copy_from_slice(&from[..depth]);
    }
}

#[inline(always)]
fn narrow<M: Machine, S: Strip>(
    machine: M,
    (rows, width): (usize, usize),
    left: S,
    right: &[Lane],
    sums: &mut Sums<M>,
) {
    let (first, rest) = right.as_flattened().split_at(right.len());
    let second = if width == NARROW { &rest[..right.len()] } else { &[] };
    let mut results = [[0.0; EIGHT]; NARROW];
    left.narrow(machine, rows, [first, second], &mut results);
    for (i, sums) in sums.iter_mut().enumerate() {
        let mut lane = [0.0; EIGHT];
        for j in 0..NARROW {
            lane[j] = results[j][i];
        }
        *sums = [machine.load(&lane), machine.splat(0.0)];
    }
}
