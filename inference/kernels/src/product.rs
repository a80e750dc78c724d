//! Products of matrices of f32: the right one in packed panels of [`LANES`] columns, the left one as it lies.
//!
//! A last panel of few columns has them one behind the other instead, and is multiplied by rows with columns: see [`tile`].
//!
//! The depth is cut into blocks, the columns into groups, so that a group of panels stays in the second-level cache
//! while the tiles of the left matrix, each in the first-level cache, pass over it. What follows a product (bias, a second
//! tensor to be added, an activation) is done as the last block is written: see [`Epilogue`].

use super::activation::Activation;
use super::lanes::{Kernel, LANES, Lane, Machine, dispatch};
use super::pages::KeptLanes;
use super::pool::Buffer;
use super::tile::{self, ROWS};
use super::window::Padded;

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
const fn block_depth(depth: usize) -> usize {
    let blocks = depth.div_ceil(DEPTH_MAX);
    if blocks == 0 { 1 } else { depth.div_ceil(blocks) }
}

/// The right matrix of a product, as packing reads it.
pub(crate) trait Columns {
    /// Writes rows `depth..` of the columns `column..column + LANES`, one per lane, until the panel is full. Places behind the last
    /// column may hold anything. `panel` has [`LANES`] floats more than rows to be written; they are of no meaning.
    fn pack(&self, depth: usize, column: usize, panel: &mut [f32]);

    /// As [`pack`](Self::pack) for panels that follow each other, `rows` rows each. One lane more than they take.
    #[inline(always)]
    fn pack_panels(&self, depth: usize, column: usize, rows: usize, lanes: &mut [Lane]) {
        for panel in 0..(lanes.len() - 1) / rows {
            let place = &mut lanes[panel * rows..=(panel + 1) * rows];
            self.pack(depth, column + panel * LANES, place.as_flattened_mut());
        }
    }
}

/// The right matrix of a product.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// Its rows lie one behind the other.
    Rows(RowMajor<'a>),
    /// Its columns do.
    Columns(Transposed<'a>),
    /// What a window sees: a column for each place of it.
    Window(&'a Padded),
}

/// A matrix whose rows lie `step` apart.
#[derive(Clone, Copy, Debug)]
pub struct RowMajor<'a> {
    /// Its elements.
    pub data: &'a [f32],
    /// From one row to the next.
    pub step: usize,
    /// How many.
    pub columns: usize,
}

impl Columns for RowMajor<'_> {
    #[inline(always)]
    fn pack(&self, depth: usize, column: usize, panel: &mut [f32]) {
        let (lanes, _) = panel.as_chunks_mut::<LANES>();
        let width = LANES.min(self.columns - column);
        let rows = lanes.len() - 1;
        let mut at = depth * self.step + column;
        for lane in &mut lanes[..rows] {
            match self.data[at..].first_chunk::<LANES>() {
                Some(from) if width == LANES => *lane = *from,
                _ => lane[..width].copy_from_slice(&self.data[at..at + width]),
            }
            at += self.step;
        }
    }

    /// Row by row, as each lies in one piece.
    #[inline(always)]
    fn pack_panels(&self, depth: usize, column: usize, rows: usize, lanes: &mut [Lane]) {
        let count = (lanes.len() - 1) / rows;
        let width = (count * LANES).min(self.columns - column);
        for k in 0..rows {
            let at = (depth + k) * self.step + column;
            let (whole, rest) = self.data[at..at + width].as_chunks::<LANES>();
            let mut places = lanes[k..].iter_mut().step_by(rows);
            for (from, to) in whole.iter().zip(&mut places) {
                *to = *from;
            }
            if let (false, Some(to)) = (rest.is_empty(), places.next()) {
                to[..rest.len()].copy_from_slice(rest);
            }
        }
    }
}

/// A matrix whose columns lie `step` apart.
#[derive(Clone, Copy, Debug)]
pub struct Transposed<'a> {
    /// Its elements.
    pub data: &'a [f32],
    /// From one column to the next.
    pub step: usize,
    /// How many.
    pub columns: usize,
}

impl Columns for Transposed<'_> {
    #[inline(always)]
    fn pack(&self, depth: usize, column: usize, panel: &mut [f32]) {
        let (lanes, _) = panel.as_chunks_mut::<LANES>();
        let width = LANES.min(self.columns - column);
        let rows = lanes.len() - 1;
        let lanes = &mut lanes[..rows];
        let row = |j: usize| {
            let start = (column + j.min(width - 1)) * self.step + depth;
            &self.data[start..start + rows]
        };
        let sources: [&[f32]; LANES] = std::array::from_fn(row);
        for (k, lane) in lanes.iter_mut().enumerate() {
            for j in 0..LANES {
                lane[j] = sources[j][k];
            }
        }
    }
}

/// A right matrix that was packed once and for all.
#[derive(Debug)]
pub struct PackedColumns {
    lanes: KeptLanes,
    depth: usize,
    columns: usize,
}

impl PackedColumns {
    /// Packs a matrix of `depth` rows and `count` columns.
    #[must_use]
    pub fn new(right: Right<'_>, depth: usize, count: usize) -> Self {
        match right {
            Right::Rows(columns) => Self::of(&columns, depth, count),
            Right::Columns(columns) => Self::of(&columns, depth, count),
            Right::Window(columns) => Self::of(columns, depth, count),
        }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(self.lanes.as_slice())
    }

    fn of(columns: &impl Columns, depth: usize, count: usize) -> Self {
        let panels = count.div_ceil(LANES);
        // A lane more than there are: see `Columns::pack`.
        let mut kept = KeptLanes::zeros(depth * panels + 1);
        let lanes = kept.as_mut_slice();
        let step = block_depth(depth);
        for from in (0..depth).step_by(step) {
            let rows = step.min(depth - from);
            for panel in 0..panels {
                let start = from * panels + panel * rows;
                let place = lanes[start..=start + rows].as_flattened_mut();
                columns.pack(from, panel * LANES, place);
            }
            tile::turn_narrow(&mut lanes[from * panels..][..rows * panels], rows, count);
        }
        Self { lanes: kept, depth, columns: count }
    }
}

/// What happens to a result where it is written: `activation(scale * sum + bias + added)`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// What sums are multiplied with.
    pub scale: f32,
    /// One number per row.
    pub row_bias: Option<&'a [f32]>,
    /// One number per column.
    pub column_bias: Option<&'a [f32]>,
    /// A matrix that lies as the output does.
    pub added: Option<&'a [f32]>,
    /// What is done last.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Nothing happens.
    pub const NONE: Self = Self {
        scale: 1.0,
        row_bias: None,
        column_bias: None,
        added: None,
        activation: Activation::None,
    };

    #[inline(always)]
    fn apply(&self, mut sums: Lane, row: usize, column: usize, at: usize) -> Lane {
        #[expect(clippy::float_cmp, reason = "exactly 1 changes nothing")]
        if self.scale != 1.0 {
            sums = sums.map(|sum| sum * self.scale);
        }
        if let Some(bias) = self.row_bias {
            let bias = bias[row];
            sums = sums.map(|sum| sum + bias);
        }
        if let Some(bias) = self.column_bias {
            add(&mut sums, &bias[column..]);
        }
        if let Some(added) = self.added {
            add(&mut sums, &added[at..]);
        }
        let (low, high) = self.activation.bounds();
        for sum in &mut sums {
            *sum = if *sum < low { low } else { *sum };
            *sum = if *sum > high { high } else { *sum };
        }
        sums
    }
}

/// Adds what is there of a lane; places behind it are of no meaning.
#[inline(always)]
fn add(sums: &mut Lane, other: &[f32]) {
    if let Some(other) = other.first_chunk::<LANES>() {
        for j in 0..LANES {
            sums[j] += other[j];
        }
    } else {
        for (sum, other) in sums.iter_mut().zip(other) {
            *sum += *other;
        }
    }
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
    pub left: &'a [f32],
    /// How far apart the left matrix' rows lie.
    pub left_step: usize,
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
        dispatch(Tiles { product: self, block, out, out_step });
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

struct Tiles<'a> {
    product: &'a Product<'a>,
    block: Block<'a>,
    out: &'a mut [f32],
    out_step: usize,
}

impl Kernel for Tiles<'_> {
    #[inline(always)]
    fn run<M: Machine>(self, machine: M) {
        let Self { product, block, out, out_step } = self;
        let is_last = block.from + block.depth == product.depth;
        let end = End::new(machine, &product.epilogue, block.from == 0, is_last);
        let mut sums = [[machine.splat(0.0); 2]; ROWS];
        let mut row = 0;
        while row < product.rows {
            let count = match product.rows - row {
                // Two tiles of four are faster than one of six and one of two.
                7 | 8 => 4,
                left => left.min(ROWS),
            };
            let left = &product.left[row * product.left_step + block.from..];
            for (panel, right) in block.right.chunks_exact(block.depth).enumerate() {
                let column = (block.first + panel) * LANES;
                let width = LANES.min(product.columns - column);
                let step = product.left_step;
                tile::multiply(machine, (count, width), left, step, right, &mut sums);
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

/// How sums are written: the [`Epilogue`] in vectors, if it is time for it.
struct End<'a, M: Machine> {
    machine: M,
    epilogue: &'a Epilogue<'a>,
    is_first: bool,
    is_last: bool,
    scale: M::Eight,
    low: M::Eight,
    high: M::Eight,
}

impl<'a, M: Machine> End<'a, M> {
    #[inline(always)]
    fn new(machine: M, epilogue: &'a Epilogue<'a>, is_first: bool, is_last: bool) -> Self {
        let (low, high) = epilogue.activation.bounds();
        let (low, high) = (machine.splat(low), machine.splat(high));
        let scale = machine.splat(epilogue.scale);
        Self { machine, epilogue, is_first, is_last, scale, low, high }
    }

    /// Writes a lane of sums; `place` has what earlier blocks gave.
    #[inline(always)]
    fn write(
        &self,
        mut sums: [M::Eight; 2],
        (row, column, at): (usize, usize, usize),
        place: &mut Lane,
    ) {
        let (machine, epilogue) = (self.machine, self.epilogue);
        let (halves, _) = place.as_chunks_mut();
        if !self.is_first {
            for v in 0..2 {
                sums[v] = machine.add(sums[v], machine.load(&halves[v]));
            }
        }
        if self.is_last {
            let bias = machine.splat(epilogue.row_bias.map_or(0.0, |bias| bias[row]));
            sums = sums.map(|sum| machine.fma(sum, self.scale, bias));
            for (other, from) in [(epilogue.column_bias, column), (epilogue.added, at)] {
                let Some(other) = other else { continue };
                let other = lane_of(&other[from..]);
                let (halves, _) = other.as_chunks();
                for v in 0..2 {
                    sums[v] = machine.add(sums[v], machine.load(&halves[v]));
                }
            }
            sums = sums.map(|sum| machine.clamp(sum, self.low, self.high));
        }
        for v in 0..2 {
            halves[v] = machine.store(sums[v]);
        }
    }
}

/// What is there of a lane; places behind it are of no meaning.
#[inline(always)]
fn lane_of(from: &[f32]) -> Lane {
    from.first_chunk().copied().unwrap_or_else(|| {
        let mut lane = [0.0; LANES];
        lane[..from.len()].copy_from_slice(from);
        lane
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let product = Product { rows, depth, columns, left: &left, left_step: depth, epilogue };
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
            let mut out = vec![0.0; rows * columns];
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
