//! The innermost product: up to six rows by [`LANES`] columns, kept in registers.
//!
//! Twelve of the sixteen vector registers of AVX2 accumulate, two hold the columns, one the row's element.

use super::lanes::{LANES, Lane, Machine};

/// Rows of the largest tile.
pub(crate) const ROWS: usize = 6;

/// Vectors of a lane.
const HALVES: usize = 2;

/// A tile's sums: for each row two vectors.
pub(crate) type Sums<M> = [[<M as Machine>::Eight; HALVES]; ROWS];

/// Multiplies `rows` rows, `step` apart in `left`, with packed columns, `width` of which are wanted.
#[inline(always)]
pub(crate) fn multiply<M: Machine>(
    machine: M,
    (rows, width): (usize, usize),
    left: &[f32],
    step: usize,
    right: &[Lane],
    sums: &mut Sums<M>,
) {
    match (rows, width > LANES / 2) {
        (6, true) => fixed::<M, 6, 2>(machine, left, step, right, sums),
        (6, false) => fixed::<M, 6, 1>(machine, left, step, right, sums),
        (5, _) => fixed::<M, 5, 2>(machine, left, step, right, sums),
        (4, true) => fixed::<M, 4, 2>(machine, left, step, right, sums),
        (4, false) => fixed::<M, 4, 1>(machine, left, step, right, sums),
        (3, _) => fixed::<M, 3, 2>(machine, left, step, right, sums),
        (2, _) => fixed::<M, 2, 2>(machine, left, step, right, sums),
        _ => single(machine, left, right, sums),
    }
}

#[inline(always)]
fn halves(lane: &Lane) -> &[[f32; LANES / HALVES]] {
    lane.as_chunks().0
}

/// `N` rows by the first `V` vectors.
#[inline(always)]
fn fixed<M: Machine, const N: usize, const V: usize>(
    machine: M,
    left: &[f32],
    step: usize,
    right: &[Lane],
    sums: &mut Sums<M>,
) {
    let depth = right.len();
    let mut rows: [&[f32]; N] = [&[]; N];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &left[i * step..i * step + depth];
    }
    let mut tile = [[machine.splat(0.0); V]; N];
    for k in 0..depth {
        let halves = halves(&right[k]);
        let columns: [M::Eight; V] = std::array::from_fn(|v| machine.load(&halves[v]));
        for i in 0..N {
            let element = machine.splat(rows[i][k]);
            for v in 0..V {
                tile[i][v] = machine.fma(element, columns[v], tile[i][v]);
            }
        }
    }
    for i in 0..N {
        sums[i][..V].copy_from_slice(&tile[i]);
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
