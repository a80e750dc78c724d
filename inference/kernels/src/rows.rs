//! The left matrix of a product: as it lies, or packed once and for all in the order in which tiles read it.

use super::lanes::{LANES, Lane};
use super::pages::KeptLanes;
use super::product::block_depth;
use super::tile::{self, Lying, OVERREAD, Packed, Strip};

/// The left matrix of a product.
#[derive(Clone, Copy, Debug)]
pub enum Left<'a> {
    /// Its rows lie one behind the other.
    Rows(LyingRows<'a>),
    /// It was packed. Rows and depth are those of the product.
    Packed(&'a PackedRows),
}

impl<'a> Left<'a> {
    /// A matrix without gaps.
    #[must_use]
    pub const fn dense(data: &'a [f32], depth: usize) -> Self {
        Self::Rows(LyingRows { data, step: depth })
    }
}

/// A matrix whose rows lie `step` apart.
#[derive(Clone, Copy, Debug)]
pub struct LyingRows<'a> {
    /// Its elements.
    pub data: &'a [f32],
    /// From one row to the next.
    pub step: usize,
}

/// A left matrix, as tiles read it.
pub(crate) trait Rows: Copy {
    type Strip: Strip;

    /// The rows from `row` on of the block that begins at `from` and is `depth` deep: as many as [`tile::rows_of`] says.
    fn strip(self, row: usize, from: usize, depth: usize) -> Self::Strip;
}

impl<'a> Rows for LyingRows<'a> {
    type Strip = Lying<'a>;

    #[inline(always)]
    fn strip(self, row: usize, from: usize, _: usize) -> Lying<'a> {
        Lying { data: &self.data[row * self.step + from..], step: self.step }
    }
}

/// A left matrix that was packed: block of depth by block, tile by tile, at each depth the elements of the tile's rows.
///
/// A tile then reads on from where it is, with one pointer instead of six.
#[derive(Debug)]
pub struct PackedRows {
    lanes: KeptLanes,
    rows: usize,
    depth: usize,
}

impl PackedRows {
    /// Packs a matrix of `rows` rows that lie one behind the other, each `depth` long.
    #[must_use]
    pub fn new(data: &[f32], rows: usize, depth: usize) -> Self {
        let mut lanes = KeptLanes::zeros((rows * depth + OVERREAD).div_ceil(LANES));
        let mut places = lanes.as_mut_slice().as_flattened_mut().iter_mut();
        let step = block_depth(depth);
        for from in (0..depth).step_by(step) {
            let deep = step.min(depth - from);
            let mut row = 0;
            while row < rows {
                let count = tile::rows_of(rows - row);
                for k in from..from + deep {
                    let elements = (row..row + count).map(|row| data[row * depth + k]);
                    // Not the other way around, which would take a place too many.
                    elements.zip(&mut places).for_each(|(element, place)| *place = element);
                }
                row += count;
            }
        }
        Self { lanes, rows, depth }
    }

    /// Bytes that one takes, with what describes it: there may be one for each channel.
    #[must_use]
    pub const fn bytes_of(rows: usize, depth: usize) -> usize {
        let floats = rows.saturating_mul(depth).saturating_add(OVERREAD);
        let lanes = floats.div_ceil(LANES).saturating_mul(size_of::<Lane>());
        lanes.saturating_add(size_of::<Self>())
    }

    /// Whether it is of these rows and this depth.
    pub(crate) const fn is_of(&self, rows: usize, depth: usize) -> bool {
        self.rows == rows && self.depth == depth
    }
}

impl<'a> Rows for &'a PackedRows {
    type Strip = Packed<'a>;

    #[inline(always)]
    fn strip(self, row: usize, from: usize, depth: usize) -> Packed<'a> {
        Packed(&self.lanes.as_slice().as_flattened()[from * self.rows + row * depth..])
    }
}
