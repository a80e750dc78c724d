//! The innermost product: up to six rows by [`LANES`] columns, kept in registers.
//!
//! Twelve of the sixteen vector registers of AVX2 accumulate, two hold the columns, one the row's element.
//!
//! A panel of one or two columns would leave most of that idle. Its columns lie one behind the other, and vectors go along the depth:
//! as with images of 7 x 7 places, one more than three panels have, and with products that have one column.

use super::lanes::{LANES, Lane, Machine};
use super::product::DEPTH_MAX;

/// Rows of the largest tile.
pub(crate) const ROWS: usize = 6;

/// Vectors of a lane.
const HALVES: usize = 2;

/// Floats of a vector.
const EIGHT: usize = LANES / HALVES;

/// Columns of a panel that is narrow.
pub(crate) const NARROW: usize = 2;

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
    if width <= NARROW {
        return narrow(machine, (rows, width), left, step, right, sums);
    }
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
fn halves(lane: &Lane) -> &[[f32; EIGHT]] {
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
fn narrow<M: Machine>(
    machine: M,
    (rows, width): (usize, usize),
    left: &[f32],
    step: usize,
    right: &[Lane],
    sums: &mut Sums<M>,
) {
    let depth = right.len();
    let columns = right.as_flattened().chunks_exact(depth).take(width);
    let mut results = [[0.0; EIGHT]; ROWS];
    for (j, column) in columns.enumerate() {
        let (mut row, mut from) = (0, left);
        while row < rows {
            let count = if rows - row >= 3 { 3 } else { 1 };
            let mut dots = [0.0; 3];
            match count {
                3 => dots = along::<M, 3>(machine, from, step, column),
                _ => [dots[0]] = along::<M, 1>(machine, from, step, column),
            }
            for (result, dot) in results[row..row + count].iter_mut().zip(dots) {
                result[j] = dot;
            }
            row += count;
            from = from.get(count * step..).unwrap_or_default();
        }
    }
    for (sums, result) in sums.iter_mut().zip(&results) {
        *sums = [machine.load(result), machine.splat(0.0)];
    }
}

/// `N` rows times one column, two sums for each in turn.
#[inline(always)]
fn along<M: Machine, const N: usize>(
    machine: M,
    left: &[f32],
    step: usize,
    column: &[f32],
) -> [f32; N] {
    const TWO: usize = 2 * EIGHT;
    let mut rows: [&[f32]; N] = [&[]; N];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &left[i * step..i * step + column.len()];
    }
    let mut sums = [[machine.splat(0.0); 2]; N];
    let whole = column.len() / TWO * TWO;
    for k in (0..whole).step_by(TWO) {
        for turn in 0..2 {
            let at = k + turn * EIGHT;
            let Some(eight) = column[at..].first_chunk() else { continue };
            let eight = machine.load(eight);
            for i in 0..N {
                let Some(elements) = rows[i][at..].first_chunk() else { continue };
                sums[i][turn] = machine.fma(machine.load(elements), eight, sums[i][turn]);
            }
        }
    }
    std::array::from_fn(|i| {
        let eight = machine.store(machine.add(sums[i][0], sums[i][1]));
        let rest = rows[i][whole..].iter().zip(&column[whole..]);
        let rest = rest.map(|(a, b)| a * b).sum::<f32>();
        let four: [f32; 4] = std::array::from_fn(|j| eight[j] + eight[j + 4]);
        (four[0] + four[2]) + (four[1] + four[3]) + rest
    })
}
