//! Products of matrices of f32: the right one in packed panels of [`LANES`] columns, the left one as it lies or packed.
//!
//! A last panel of few columns has them one behind the other instead, and is multiplied by rows with columns: see [`tile`].
//!
//! The depth is cut into blocks, the columns into groups, so that a group of panels stays in the second-level cache
//! while the tiles of the left matrix, each in the first-level cache, pass over it. What follows a product (bias, a second
//! tensor to be added, an activation) is done as the last block is written: see [`Epilogue`].

use super::columns::{Columns, PackedColumns, Right};
use super::epilogue::{End, Epilogue};
use super::lanes::{Kernel, LANES, Lane, Machine, dispatch};
use super::pool::Buffer;
use super::rows::{Left, Rows};
use super::tile::{self, ROWS};

/// Depth of a block: six rows of it take 12 KiB.
pub(crate) const DEPTH_MAX: usize = 512;
/// Lanes of a group of panels: they take 256 KiB.
const GROUP_LANES: usize = 4096;
/// Panels of a group: of the output, 4 KiB of each row are written.
const PANELS_MAX: usize = 64;

/// Panels that go together when blocks are `depth` deep.
const fn group_panels(depth: usize) -> usize {
    let panels = GROUP_LANES / depth;
    if panels > PANELS_MAX { PANELS_MAX } else { panels }
}

/// The depth that blocks have: all about the same.
pub(crate) const fn block_depth(depth: usize) -> usize {
    let blocks = depth.div_ceil(DEPTH_MAX);
    if blocks == 0 { 1 } else { depth.div_ceil(blocks) }
}

/// `rows` by `depth`, times `depth` by `columns`.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// Of the left matrix and of the output.
    pub rows: usize,
    /// Columns of the left matrix, rows of the right one.
    pub depth: usize,
    /// Of the right matrix and of the output.
    pub columns: usize,
    /// The left matrix.
    pub left: Left<'a>,
    /// What happens to each result.
    pub epilogue: Epilogue<'a>,
}

impl Product<'_> {
    /// Multiplies with a matrix that is packed on the way. The output's rows lie `out_step` apart.
    pub fn with(&self, right: Right<'_>, out: &mut [f32], out_step: usize) {
        match right {
            Right::Rows(columns) => self.with_columns(&columns, out, out_step),
            Right::Columns(columns) => self.with_columns(&columns, out, out_step),
            Right::Window(columns) => self.with_columns(columns, out, out_step),
        }
    }

    fn with_columns<C: Columns>(&self, columns: &C, out: &mut [f32], out_step: usize) {
        if self.depth == 0 {
            return self.empty(out, out_step);
        }
        let step = block_depth(self.depth);
        let panels = self.columns.div_ceil(LANES);
        let group = group_panels(step);
        let mut scratch = Buffer::new((group.min(panels) * step + 1) * LANES);
        for first in (0..panels).step_by(group) {
            let count = group.min(panels - first);
            for from in (0..self.depth).step_by(step) {
                let rows = step.min(self.depth - from);
                let (lanes, _) = scratch.as_chunks_mut::<LANES>();
                dispatch(Packing {
                    columns,
                    from,
                    first,
                    count,
                    is_end: first + count == panels,
                    all: self.columns,
                    lanes: &mut lanes[..=count * rows],
                });
                let right = &lanes[..count * rows];
                self.block(Block { from, depth: rows, first, right }, out, out_step);
            }
        }
    }

    /// Multiplies with a matrix that is packed.
    pub fn with_packed(&self, packed: &PackedColumns, out: &mut [f32], out_step: usize) {
        debug_assert_eq!((packed.depth, packed.columns), (self.depth, self.columns));
        if self.depth == 0 {
            return self.empty(out, out_step);
        }
        let step = block_depth(self.depth);
        let panels = self.columns.div_ceil(LANES);
        let group = group_panels(step);
        for first in (0..panels).step_by(group) {
            let count = group.min(panels - first);
            for from in (0..self.depth).step_by(step) {
                let depth = step.min(self.depth - from);
                let start = from * panels + first * depth;
                let right = &packed.lanes.as_slice()[start..start + count * depth];
                self.block(Block { from, depth, first, right }, out, out_step);
            }
        }
    }

    fn block(&self, block: Block<'_>, out: &mut [f32], out_step: usize) {
        if let Left::Packed(left) = self.left {
            debug_assert!(left.is_of(self.rows, self.depth));
        }
        match self.left {
            Left::Rows(left) => dispatch(Tiles { product: self, left, block, out, out_step }),
            Left::Packed(left) => dispatch(Tiles { product: self, left, block, out, out_step }),
        }
    }

    /// Sums of nothing.
    fn empty(&self, out: &mut [f32], out_step: usize) {
        for row in 0..self.rows {
            for column in (0..self.columns).step_by(LANES) {
                let at = row * out_step + column;
                let width = LANES.min(self.columns - column);
                let lane = self.epilogue.apply([0.0; LANES], row, column, at);
                out[at..at + width].copy_from_slice(&lane[..width]);
            }
            self.epilogue.activation.finish(&mut out[row * out_step..][..self.columns]);
        }
    }
}

struct Packing<'a, C> {
    columns: &'a C,
    from: usize,
    first: usize,
    count: usize,
    /// Whether the last panel is among them, and how many columns there are in all.
    is_end: bool,
    all: usize,
    /// One more than are written.
    lanes: &'a mut [Lane],
}

impl<C: Columns> Kernel for Packing<'_, C> {
    #[inline(always)]
    fn run<M: Machine>(self, _: M) {
        let rows = (self.lanes.len() - 1) / self.count;
        self.columns.pack_panels(self.from, self.first * LANES, rows, self.lanes);
        if self.is_end {
            tile::turn_narrow(&mut self.lanes[..rows * self.count], rows, self.all);
        }
    }
}

/// Panels of one block of depth.
#[derive(Clone, Copy)]
struct Block<'a> {
    from: usize,
    depth: usize,
    first: usize,
    right: &'a [Lane],
}

struct Tiles<'a, L> {
    product: &'a Product<'a>,
    left: L,
    block: Block<'a>,
    out: &'a mut [f32],
    out_step: usize,
}

impl<L: Rows> Kernel for Tiles<'_, L> {
    #[inline(always)]
    fn run<M: Machine>(self, machine: M) {
        let Self { product, left, block, out, out_step } = self;
        let is_last = block.from + block.depth == product.depth;
        let end = End::new(machine, &product.epilogue, block.from == 0, is_last);
        let mut sums = [[machine.splat(0.0); 2]; ROWS];
        let mut row = 0;
        while row < product.rows {
            let count = tile::rows_of(product.rows - row);
            let strip = left.strip(row, block.from, block.depth);
            for (panel, right) in block.right.chunks_exact(block.depth).enumerate() {
                let column = (block.first + panel) * LANES;
                let width = LANES.min(product.columns - column);
                tile::multiply(machine, (count, width), strip, right, &mut sums);
                for (i, sums) in sums[..count].iter().enumerate() {
                    let at = (row + i) * out_step + column;
                    match out[at..].first_chunk_mut::<LANES>() {
                        Some(place) if width == LANES => {
                            end.write(*sums, (row + i, column, at), place);
                        }
                        _ => {
                            let mut place = [0.0; LANES];
                            place[..width].copy_from_slice(&out[at..at + width]);
                            end.write(*sums, (row + i, column, at), &mut place);
                            out[at..at + width].copy_from_slice(&place[..width]);
                        }
                    }
                }
            }
            if is_last {
                let from = block.first * LANES;
                let width = (block.right.len() / block.depth * LANES).min(product.columns - from);
                for row in row..row + count {
                    product.epilogue.activation.finish(&mut out[row * out_step + from..][..width]);
                }
            }
            row += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::columns::{RowMajor, Transposed};
    use crate::rows::PackedRows;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 / 65_536.0 - 0.5
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn products_are_those_of_the_plain_loop() {
        for (rows, depth, columns) in [
            (1, 1, 1),
            (1, 7, 33),
            (6, 16, 16),
            (8, 3, 17),
            (13, 1100, 40),
            (25, 64, 150),
            (5, 0, 9),
            (13, 1100, 49),
            (7, 21, 4),
            (5, 515, 1),
            (1, 40, 2),
            (9, 6, 1059),
            (14, 3, 2),
            (3, 1029, 17),
            (11, 514, 18),
            (2, 515, 18),
            (2, 9, 40),
            (8, 515, 2),
        ] {
            let (left, right) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
            let (by_row, by_column) = (numbers(rows, 3), numbers(columns, 4));
            let added = numbers(rows * columns, 5);
            let turned: Vec<f32> =
                (0..depth * columns).map(|at| right[at % depth * columns + at / depth]).collect();
            let epilogue = Epilogue {
                scale: 0.5,
                row_bias: Some(&by_row),
                column_bias: Some(&by_column),
                added: Some(&added),
                activation: Activation::Relu,
            };
            let of = |left| Product { rows, depth, columns, left, epilogue };
            let plain: Vec<f32> = (0..rows * columns)
                .map(|at| {
                    let (row, column) = (at / columns, at % columns);
                    let pairs =
                        (0..depth).map(|k| left[row * depth + k] * right[k * columns + column]);
                    let sum: f32 = pairs.sum();
                    (0.5 * sum + by_row[row] + by_column[column] + added[at]).max(0.0)
                })
                .collect();
            let close = |found: &[f32]| {
                for (found, plain) in found.iter().zip(&plain) {
                    assert!(
                        (found - plain).abs() < 1e-4,
                        "{found} {plain} {rows} {depth} {columns}"
                    );
                }
            };
            let packed_rows = PackedRows::new(&left, rows, depth);
            for left in [Left::dense(&left, depth), Left::Packed(&packed_rows)] {
                let product = of(left);
                let mut out = vec![9.0; rows * columns];
                let by_rows = RowMajor { data: &right, step: columns, columns };
                product.with(Right::Rows(by_rows), &mut out, columns);
                close(&out);
                out.fill(9.0);
                let by_columns = Transposed { data: &turned, step: depth, columns };
                product.with(Right::Columns(by_columns), &mut out, columns);
                close(&out);
                out.fill(9.0);
                let packed = PackedColumns::new(Right::Rows(by_rows), depth, columns);
                product.with_packed(&packed, &mut out, columns);
                close(&out);
            }
        }
    }
}
