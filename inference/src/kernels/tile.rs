//! The innermost product: up to six rows by [`LANES`](super::LANES) columns, kept in registers.
//!
//! Twelve of the sixteen vector registers of AVX2 accumulate, two hold the columns, one the row's element.

use super::lanes::{Lane, fma};

/// Rows of the largest tile.
pub(super) const ROWS: usize = 6;

/// Multiplies `rows` rows, `step` apart in `left`, with packed columns.
#[inline(always)]
pub(super) fn multiply<const FMA: bool>(
    rows: usize,
    left: &[f32],
    step: usize,
    right: &[Lane],
    sums: &mut [Lane; ROWS],
) {
    match rows {
        6 => fixed::<FMA, 6>(left, step, right, sums),
        5 => fixed::<FMA, 5>(left, step, right, sums),
        4 => fixed::<FMA, 4>(left, step, right, sums),
        3 => fixed::<FMA, 3>(left, step, right, sums),
        2 => fixed::<FMA, 2>(left, step, right, sums),
        _ => single::<FMA>(left, right, sums),
    }
}

#[inline(always)]
fn fixed<const FMA: bool, const N: usize>(
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
    let mut tile = [[0.0_f32; super::LANES]; N];
    for k in 0..depth {
        let columns = right[k];
        for i in 0..N {
            let element = rows[i][k];
            for j in 0..super::LANES {
                tile[i][j] = fma::<FMA>(element, columns[j], tile[i][j]);
            }
        }
    }
    sums[..N].copy_from_slice(&tile);
}

/// One row alone: four sums in turn, as each addition waits for the one before.
#[inline(always)]
fn single<const FMA: bool>(left: &[f32], right: &[Lane], sums: &mut [Lane; ROWS]) {
    let left = &left[..right.len()];
    let mut turns = [[0.0_f32; super::LANES]; 4];
    let (fours, rest) = right.as_chunks::<4>();
    let (left_fours, left_rest) = left.as_chunks::<4>();
    for (element, columns) in left_fours.iter().zip(fours) {
        for turn in 0..4 {
            for j in 0..super::LANES {
                turns[turn][j] = fma::<FMA>(element[turn], columns[turn][j], turns[turn][j]);
            }
        }
    }
    for (element, columns) in left_rest.iter().zip(rest) {
        for j in 0..super::LANES {
            turns[0][j] = fma::<FMA>(*element, columns[j], turns[0][j]);
        }
    }
    for j in 0..super::LANES {
        sums[0][j] = (turns[0][j] + turns[1][j]) + (turns[2][j] + turns[3][j]);
    }
}
