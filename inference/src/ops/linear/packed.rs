//! Operands that were put in the order of the kernels when the model was loaded. The operand itself is then not kept.

use std::collections::HashMap;
use std::sync::Arc;

use embermq_kernels::{PackedColumns, PackedRows};

use crate::graph::ValueId;
use crate::tensor::{Shape, Tensor};

/// An operand that is the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    /// The value that it is in the graph.
    pub(crate) id: ValueId,
    pub(crate) tensor: Tensor,
}

/// What was packed for the nodes of a graph: each operand once, however many nodes read it, and no more than is allowed.
#[derive(Debug)]
pub(crate) struct Packs {
    columns: HashMap<(ValueId, bool), Arc<PackedColumns>>,
    filters: HashMap<(ValueId, usize), Arc<[PackedRows]>>,
    bytes: u64,
    bytes_max: u64,
}

impl Packs {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { columns: HashMap::new(), filters: HashMap::new(), bytes: 0, bytes_max }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A right operand. `turned`: it is read by columns. `None`: it would be too much.
    pub(super) fn columns(
        &mut self,
        operand: &Constant,
        turned: bool,
        pack: impl FnOnce() -> PackedColumns,
    ) -> Option<Packed> {
        let shape = operand.tensor.shape().to_vec();
        let key = (operand.id, turned);
        if let Some(made) = self.columns.get(&key) {
            return Some(Packed { shape, columns: Arc::clone(made) });
        }
        self.has_room(&operand.tensor)?;
        let columns = Arc::new(pack());
        self.bytes += columns.bytes() as u64;
        self.columns.insert(key, Arc::clone(&columns));
        Some(Packed { shape, columns })
    }

    /// The filters of a convolution, for each group of channels. `None`: they would be too much.
    pub(super) fn filters(
        &mut self,
        operand: &Constant,
        groups: usize,
        pack: impl FnOnce() -> Vec<PackedRows>,
    ) -> Option<PackedFilters> {
        let shape = operand.tensor.shape().to_vec();
        let key = (operand.id, groups);
        if let Some(made) = self.filters.get(&key) {
            return Some(PackedFilters { shape, groups: Arc::clone(made) });
        }
        self.has_room(&operand.tensor)?;
        let packed: Arc<[PackedRows]> = pack().into();
        self.bytes += packed.iter().map(|rows| rows.bytes() as u64).sum::<u64>();
        self.filters.insert(key, Arc::clone(&packed));
        Some(PackedFilters { shape, groups: packed })
    }

    fn has_room(&self, operand: &Tensor) -> Option<()> {
        (self.bytes.saturating_add(operand.bytes() as u64) <= self.bytes_max).then_some(())
    }
}

/// A right operand of a product.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) shape: Shape,
    pub(super) columns: Arc<PackedColumns>,
}

/// Filters of a convolution.
#[derive(Debug)]
pub(super) struct PackedFilters {
    pub(super) shape: Shape,
    /// For each group of channels its filters.
    pub(super) groups: Arc<[PackedRows]>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use embermq_kernels::{Right, RowMajor};

    #[test]
    fn what_many_nodes_read_is_packed_once_and_not_beyond_what_is_allowed() {
        let constant = |id, rows: usize| Constant {
            id: ValueId(id),
            tensor: Tensor::full([rows, 16], 1.0_f32),
        };
        let mut packs = Packs::new(4096);
        let mut made = 0;
        let mut columns = |operand: &Constant, turned| {
            let rows = operand.tensor.shape()[0];
            packs.columns(operand, turned, || {
                made += 1;
                let data = operand.tensor.as_slice::<f32>().unwrap();
                PackedColumns::new(Right::Rows(RowMajor { data, step: 16, columns: 16 }), rows, 16)
            })
        };
        let first = columns(&constant(1, 16), false).unwrap();
        let again = columns(&constant(1, 16), false).unwrap();
        assert!(Arc::ptr_eq(&first.columns, &again.columns));
        assert_eq!(again.shape, [16, 16]);
        assert!(columns(&constant(1, 16), true).is_some());
        assert!(columns(&constant(2, 40), false).is_none());
        assert!(columns(&constant(1, 16), false).is_some());
        assert_eq!(made, 2);
        assert_eq!(packs.bytes(), 2 * (16 + 1) * 64);

        let filters = constant(3, 16);
        let mut rows = |groups| {
            let data = filters.tensor.as_slice::<f32>().unwrap();
            let pack = || data.chunks(256 / groups).map(|w| PackedRows::new(w, 16 / groups, 16));
            packs.filters(&filters, groups, || pack().collect())
        };
        assert_eq!(rows(2).unwrap().groups.len(), 2);
        assert!(rows(2).is_some());
        assert!(rows(1).is_none());
    }
}
