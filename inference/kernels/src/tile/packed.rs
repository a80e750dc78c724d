//! Rows that were packed: see [`PackedRows`](crate::PackedRows).

use super::{EIGHT, NARROW, Strip, TURNS, step};
use crate::lanes::{Lane, Machine};

/// Floats behind a packed matrix that may be read: what they are does not matter.
pub(crate) const OVERREAD: usize = EIGHT;

/// The elements of a tile's rows, depth by depth.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a>(pub(crate) &'a [f32]);

impl Strip for Packed<'_> {
    #[inline(always)]
    fn fixed<M: Machine, const N: usize, const V: usize>(
        self,
        machine: M,
        right: &[Lane],
    ) -> [[M::Eight; V]; N] {
        let left = &self.0.as_chunks::<N>().0[..right.len()];
        let (fours, rest) = right.as_chunks::<TURNS>();
        let (left, left_rest) = left.as_chunks::<TURNS>();
        let mut tile = [[machine.splat(0.0); V]; N];
        for (elements, lanes) in left.iter().zip(fours) {
            for k in 0..TURNS {
                step(machine, elements[k], &lanes[k], &mut tile);
            }
        }
        for (elements, lane) in left_rest.iter().zip(rest) {
            step(machine, *elements, lane, &mut tile);
        }
        tile
    }

    /// A vector holds the sums of all rows; places behind the last row are of no meaning.
    #[inline(always)]
    fn narrow<M: Machine>(
        self,
        machine: M,
        rows: usize,
        columns: [&[f32]; NARROW],
        results: &mut [[f32; EIGHT]; NARROW],
    ) {
        match rows {
            6 => across::<M, 6>(machine, self.0, columns, results),
            5 => across::<M, 5>(machine, self.0, columns, results),
            4 => across::<M, 4>(machine, self.0, columns, results),
            3 => across::<M, 3>(machine, self.0, columns, results),
            2 => across::<M, 2>(machine, self.0, columns, results),
            _ => across::<M, 1>(machine, self.0, columns, results),
        }
    }

    #[inline(always)]
    fn row(&self) -> &[f32] {
        self.0
    }
}

/// Each column's sums in four turns, as each addition waits for the one before.
#[inline(always)]
fn across<M: Machine, const N: usize>(
    machine: M,
    left: &[f32],
    columns: [&[f32]; NARROW],
    results: &mut [[f32; EIGHT]; NARROW],
) {
    for (column, result) in columns.iter().zip(results) {
        let mut turns = [machine.splat(0.0); TURNS];
        let (fours, rest) = column.as_chunks::<TURNS>();
        let mut from = left;
        for four in fours {
            let Some(read) = from.get(..(TURNS - 1) * N + EIGHT) else { break };
            for k in 0..TURNS {
                let Some(eight) = read[k * N..].first_chunk() else { break };
                turns[k] = machine.fma(machine.load(eight), machine.splat(four[k]), turns[k]);
            }
            from = &from[TURNS * N..];
        }
        for element in rest {
            let Some(eight) = from.first_chunk() else { break };
            turns[0] = machine.fma(machine.load(eight), machine.splat(*element), turns[0]);
            from = &from[N..];
        }
        let (front, back) = (machine.add(turns[0], turns[1]), machine.add(turns[2], turns[3]));
        *result = machine.store(machine.add(front, back));
    }
}
