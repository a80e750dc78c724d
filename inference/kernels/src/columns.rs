//! The right matrix of a product: how its columns get into panels of [`LANES`], each row of a panel one lane.

use super::lanes::{LANES, Lane};
use super::pages::KeptLanes;
use super::product::block_depth;
use super::tile;
use super::window::Padded;

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
    pub(crate) lanes: KeptLanes,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
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

    /// Bytes that one takes: of a single column sixteen times what it had.
    #[must_use]
    pub const fn bytes_of(depth: usize, count: usize) -> usize {
        let lanes = depth.saturating_mul(count.div_ceil(LANES)).saturating_add(1);
        lanes.saturating_mul(size_of::<Lane>())
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
