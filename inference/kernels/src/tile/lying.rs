//! Rows as they lie.

use super::{EIGHT, NARROW, Strip, TURNS, step};
use crate::lanes::{Lane, Machine};

/// Rows that lie `step` apart, the first in front.
#[derive(Clone, Copy)]
pub(crate) struct Lying<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) step: usize,
}

impl Strip for Lying<'_> {
    #[inline(always)]
    fn fixed<M: Machine, const N: usize, const V: usize>(
        self,
        machine: M,
        right: &[Lane],
    ) -> [[M::Eight; V]; N] {
        let (fours, rest) = right.as_chunks::<TURNS>();
        let mut rows: [&[[f32; TURNS]]; N] = [&[]; N];
        let mut row_rests: [&[f32]; N] = [&[]; N];
        for i in 0..N {
            let row = &self.data[i * self.step..i * self.step + right.len()];
            let (row, row_rest) = row.as_chunks();
            rows[i] = &row[..fours.len()];
            row_rests[i] = &row_rest[..rest.len()];
        }
        let mut tile = [[machine.splat(0.0); V]; N];
        for (at, lanes) in fours.iter().enumerate() {
            for k in 0..TURNS {
                let elements = std::array::from_fn(|i| rows[i][at][k]);
                step(machine, elements, &lanes[k], &mut tile);
            }
        }
        for (k, lane) in rest.iter().enumerate() {
            let elements = std::array::from_fn(|i| row_rests[i][k]);
            step(machine, elements, lane, &mut tile);
        }
        tile
    }

    /// Vectors go along the depth, three rows at a time.
    #[inline(always)]
    fn narrow<M: Machine>(
        self,
        machine: M,
        rows: usize,
        columns: [&[f32]; NARROW],
        results: &mut [[f32; EIGHT]; NARROW],
    ) {
        for (column, results) in columns.iter().zip(results) {
            let (mut row, mut from) = (0, self.data);
            while row < rows && !column.is_empty() {
                let count = if rows - row >= 3 { 3 } else { 1 };
                let mut dots = [0.0; 3];
                match count {
                    3 => dots = along::<M, 3>(machine, from, self.step, column),
                    _ => [dots[0]] = along::<M, 1>(machine, from, self.step, column),
                }
                for (result, dot) in results[row..row + count].iter_mut().zip(dots) {
                    *result = dot;
                }
                row += count;
                from = from.get(count * self.step..).unwrap_or_default();
            }
        }
    }

    #[inline(always)]
    fn row(&self) -> &[f32] {
        self.data
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
