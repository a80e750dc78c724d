//! The innermost product: up to six rows by [`LANES`] columns, kept in registers.
//!
//! Twelve of the sixteen vector registers of AVX2 accumulate, two hold the columns, one the row's element.

use super::lanes::{LANES, Lane, Machine, fma};

/// Rows of the largest tile.
pub(crate) const ROWS: usize = 6;

/// Multiplies `rows` rows, `step` apart in `left`, with packed columns, `width` of which are wanted.
#[inline(always)]
pub(crate) fn multiply<M: Machine>(
    (rows, width): (usize, usize),
    left: &[f32],
    step: usize,
    right: &[Lane],
    sums: &mut [Lane; ROWS],
) {
    match (rows, width > LANES / 2) {
        (6, true) => fixed::<M, 6, 16>(left, step, right, sums),
        (6, false) => fixed::<M, 6, 8>(left, step, right, sums),
        (5, _) => fixed::<M, 5, 16>(left, step, right, sums),
        (4, true) => fixed::<M, 4, 16>(left, step, right, sums),
        (4, false) => fixed::<M, 4, 8>(left, step, right, sums),
        (3, _) => fixed::<M, 3, 16>(left, step, right, sums),
        (2, _) => fixed::<M, 2, 16>(left, step, right, sums),
        _ => single::<M>(left, right, sums),
    }
}

/// `N` rows by the first `W` columns.
#[inline(always)]
fn fixed<M: Machine, const N: usize, const W: usize>(
    left: &[f32],
    step: usize,
    right: &[Lane],
    sums: &mut [Lane; ROWS],
) {
    let depth = right.len();
    let mut rows: [&[f32]; N] = [&[]; N];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &left[i * step..i * step + depth];
    }
    let mut tile = [[0.0_f32; W]; N];
    for k in 0..depth {
        let columns = right[k];
        for i in 0..N {
            let element = rows[i][k];
            for j in 0..W {
                tile[i][j] = fma::<M>(element, columns[j], tile[i][j]);
            }
        }
    }
    for i in 0..N {
        sums[i][..W].copy_from_slice(&tile[i]);
    }
}

/// One row alone: four sums in turn, as each addition waits for the one before.
#[inline(always)]
fn single<M: Machine>(left: &[f32], right: &[Lane], sums: &mut [Lane; ROWS]) {
    let left = &left[..right.len()];
    let mut turns = [[0.0_f32; LANES]; 4];
    let (fours, rest) = right.as_chunks::<4>();
    let (left_fours, left_rest) = left.as_chunks::<4>();
    for (element, columns) in left_fours.iter().zip(fours) {
        for turn in 0..4 {
            for j in 0..LANES {
                turns[turn][j] = fma::<M>(element[turn], columns[turn][j], turns[turn][j]);
            }
        }
    }
    for (element, columns) in left_rest.iter().zip(rest) {
        for j in 0..LANES {
            turns[0][j] = fma::<M>(*element, columns[j], turns[0][j]);
        }
    }
    for j in 0..LANES {
        sums[0][j] = (turns[0][j] + turns[1][j]) + (turns[2][j] + turns[3][j]);
    }
}
