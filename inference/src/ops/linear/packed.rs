//! Operands that were put in the order of the kernels when the model was loaded. The operand itself is then not kept.

use std::collections::HashMap;
use std::sync::Arc;

use embermq_kernels::{PackedColumns, PackedRows};

use crate::error::OpError;
use crate::graph::ValueId;
use crate::ops::Inputs;
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

    /// The right one of a node's operands. `turned`: it is read by columns. `None`: it would be too much.
    pub(super) fn columns(
        &mut self,
        constants: &[Option<Constant>],
        turned: bool,
        pack: impl FnOnce() -> PackedColumns,
    ) -> Option<Packed> {
        let operand = constants.get(1)?.as_ref()?;
        let (shape, bias) = (operand.tensor.shape().to_vec(), Bias::of(constants));
        let key = (operand.id, turned);
        if let Some(made) = self.columns.get(&key) {
            return Some(Packed { shape, columns: Arc::clone(made), bias });
        }
        self.has_room(&operand.tensor)?;
        let columns = Arc::new(pack());
        self.bytes += (columns.bytes() + bias.bytes()) as u64;
        self.columns.insert(key, Arc::clone(&columns));
        Some(Packed { shape, columns, bias })
    }

    /// The filters of a convolution, for each group of channels. `None`: they would be too much.
    pub(super) fn filters(
        &mut self,
        constants: &[Option<Constant>],
        groups: usize,
        pack: impl FnOnce() -> Vec<PackedRows>,
    ) -> Option<PackedFilters> {
        let operand = constants.get(1)?.as_ref()?;
        let (shape, bias) = (operand.tensor.shape().to_vec(), Bias::of(constants));
        let key = (operand.id, groups);
        if let Some(made) = self.filters.get(&key) {
            return Some(PackedFilters { shape, groups: Arc::clone(made), bias });
        }
        self.has_room(&operand.tensor)?;
        let packed: Arc<[PackedRows]> = pack().into();
        let bytes = packed.iter().map(PackedRows::bytes).sum::<usize>() + bias.bytes();
        self.bytes += bytes as u64;
        self.filters.insert(key, Arc::clone(&packed));
        Some(PackedFilters { shape, groups: packed, bias })
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
    pub(super) bias: Bias,
}

/// Filters of a convolution.
#[derive(Debug)]
pub(super) struct PackedFilters {
    pub(super) shape: Shape,
    /// For each group of channels its filters.
    pub(super) groups: Arc<[PackedRows]>,
    pub(super) bias: Bias,
}

/// The operand behind the one that is packed, if it is the same in every run, too. It is read where it lies: to hand it over with each
/// run would have all instances of a model count on the same line of memory.
#[derive(Debug)]
pub(super) struct Bias(Option<Tensor>);

impl Bias {
    pub(super) fn of(constants: &[Option<Constant>]) -> Self {
        let constant = constants.get(2).and_then(Option::as_ref);
        let floats = constant.filter(|constant| constant.tensor.get::<f32>().is_some());
        Self(floats.map(|constant| constant.tensor.clone()))
    }

    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, Tensor::bytes)
    }

    /// What need not be handed over.
    pub(super) const fn unread(&self) -> &'static [usize] {
        if self.0.is_some() { &[1, 2] } else { &[1] }
    }

    pub(super) fn or_operand<'a>(
        &'a self,
        inputs: &'a Inputs,
    ) -> Result<Option<&'a Tensor>, OpError> {
        self.0.as_ref().map_or_else(|| inputs.optional(2), |bias| Ok(Some(bias)))
    }
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
            packs.columns(&[None, Some(operand.clone())], turned, || {
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
            packs.filters(&[None, Some(filters.clone())], groups, || pack().collect())
        };
        assert_eq!(rows(2).unwrap().groups.len(), 2);
        assert!(rows(2).is_some());
        assert!(rows(1).is_none());
    }
}
