//! Operands that were put in the order of the kernels when the model was loaded. The operand itself is then not kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use embermq_kernels::{PackedColumns, PackedRows, Right};

use crate::error::OpError;
use crate::graph::ValueId;
use crate::ops::{Inputs, Operator};
use crate::run::Context;
use crate::tensor::{Shape, Tensor};
use crate::value::Value;

/// A larger bias is not kept in operators, but with the other constants, in memory that goes back to the system.
const BIAS_BYTES_MAX: usize = 64 * 1024;

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
    bias_bytes: HashMap<ValueId, u64>,
    bytes: u64,
    bytes_max: u64,
}

impl Packs {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let (columns, filters, bias_bytes) = Default::default();
        Self { columns, filters, bias_bytes, bytes: 0, bytes_max }
    }

    /// What is kept in operators. `is_operand`: whether a value is also kept for nodes that read it as an operand.
    pub(crate) fn bytes(&self, is_operand: impl Fn(ValueId) -> bool) -> u64 {
        let kept = self.bias_bytes.iter().filter(|(id, _)| !is_operand(**id));
        self.bytes + kept.map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// The right one of a node's operands, a matrix of `depth` rows and `count` columns. `None`: it would be too much.
    pub(super) fn columns(
        &mut self,
        constants: &[Option<Constant>],
        right: Right<'_>,
        [depth, count]: [usize; 2],
    ) -> Option<Packed> {
        let operand = constants.get(1)?.as_ref()?;
        let key = (operand.id, matches!(right, Right::Columns(_)));
        if !self.columns.contains_key(&key) {
            self.claim(PackedColumns::bytes_of(depth, count))?;
            self.columns.insert(key, Arc::new(PackedColumns::new(right, depth, count)));
        }
        let columns = Arc::clone(self.columns.get(&key)?);
        let (shape, bias) = (operand.tensor.shape().to_vec(), self.bias(constants));
        Some(Packed { shape, columns, bias })
    }

    /// The filters of a convolution, for each of `groups` groups of channels. `None`: they would be too much.
    pub(super) fn filters(
        &mut self,
        constants: &[Option<Constant>],
        groups: usize,
    ) -> Option<PackedFilters> {
        let operand = constants.get(1)?.as_ref()?;
        let (shape, data) = (operand.tensor.shape(), operand.tensor.get::<f32>()?);
        let filters = *shape.first()?;
        let (rows, depth) = (filters.checked_div(groups)?, data.len().checked_div(filters)?);
        let key = (operand.id, groups);
        if !self.filters.contains_key(&key) {
            self.claim(PackedRows::bytes_of(rows, depth).saturating_mul(groups))?;
            let packed = data.chunks(rows * depth).map(|data| PackedRows::new(data, rows, depth));
            self.filters.insert(key, packed.collect());
        }
        let groups = Arc::clone(self.filters.get(&key)?);
        Some(PackedFilters { shape: shape.to_vec(), groups, bias: self.bias(constants) })
    }

    fn claim(&mut self, bytes: usize) -> Option<()> {
        let sum = self.bytes.saturating_add(bytes as u64);
        (sum <= self.bytes_max).then(|| self.bytes = sum)
    }

    fn bias(&mut self, constants: &[Option<Constant>]) -> Bias {
        let constant = constants.get(2).and_then(Option::as_ref);
        let small = constant.filter(|constant| {
            let tensor = &constant.tensor;
            tensor.get::<f32>().is_some() && tensor.bytes() <= BIAS_BYTES_MAX
        });
        Bias(small.map(|Constant { id, tensor }| {
            self.bias_bytes.insert(*id, tensor.bytes() as u64);
            tensor.clone()
        }))
    }
}

/// An operator that can be run with its second operand packed.
pub(super) trait WithPacked: Operator + 'static {
    type Packed: fmt::Debug + Send + Sync;

    fn bias(packed: &Self::Packed) -> &Bias;

    /// [`Operator::run`], with what is packed if there is something.
    fn run_with(
        &self,
        inputs: Inputs,
        packed: Option<&Self::Packed>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, OpError>;
}

/// An operator with what is packed for it.
#[derive(Debug)]
pub(super) struct Specialised<O: WithPacked> {
    pub(super) plain: O,
    pub(super) packed: O::Packed,
}

impl<O: WithPacked> Operator for Specialised<O> {
    fn unread(&self) -> &'static [usize] {
        O::bias(&self.packed).unread()
    }

    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        self.plain.run_with(inputs, Some(&self.packed), context)
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

/// The operand behind the one that is packed, if it is the same in every run, too, and small. It is read where it lies: handing it over
/// would raise and lower its reference count in every run, and all instances of a model would contend for that line of the cache.
#[derive(Debug)]
pub(super) struct Bias(Option<Tensor>);

impl Bias {
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
    use embermq_kernels::RowMajor;

    fn constant(id: u32, shape: [usize; 2]) -> Constant {
        Constant { id: ValueId(id), tensor: Tensor::full(shape, 1.0_f32) }
    }

    fn columns(packs: &mut Packs, operand: &Constant, bias: Option<Constant>) -> Option<Packed> {
        let [depth, columns] = *operand.tensor.shape() else { panic!("no matrix") };
        let data = operand.tensor.as_slice::<f32>().unwrap();
        let right = Right::Rows(RowMajor { data, step: columns, columns });
        packs.columns(&[None, Some(operand.clone()), bias], right, [depth, columns])
    }

    #[test]
    fn what_many_nodes_read_is_packed_once_and_not_beyond_what_is_allowed() {
        let mut packs = Packs::new(4096);
        let first = columns(&mut packs, &constant(1, [16, 16]), None).unwrap();
        let again = columns(&mut packs, &constant(1, [16, 16]), None).unwrap();
        assert!(Arc::ptr_eq(&first.columns, &again.columns));
        assert_eq!(again.shape, [16, 16]);
        assert_eq!(packs.bytes(|_| false), (16 + 1) * 64);
        assert!(columns(&mut packs, &constant(2, [47, 16]), None).is_none());
        // A single column takes the place of sixteen.
        assert!(columns(&mut packs, &constant(3, [47, 1]), None).is_none());
        assert!(columns(&mut packs, &constant(3, [46, 1]), None).is_some());
        assert_eq!(packs.bytes(|_| false), 4096);
        assert!(columns(&mut packs, &constant(1, [16, 16]), None).is_some());

        let mut packs = Packs::new(4096);
        let filters = [None, Some(constant(3, [16, 16]))];
        assert_eq!(packs.filters(&filters, 2).unwrap().groups.len(), 2);
        let bytes = packs.bytes(|_| false);
        assert_eq!(bytes, 2 * PackedRows::bytes_of(8, 16) as u64);
        assert!(packs.filters(&filters, 2).is_some());
        assert_eq!(packs.bytes(|_| false), bytes);
        // Each group has lanes of its own.
        let multiplied = [None, Some(constant(4, [64, 1]))];
        assert!(packs.filters(&multiplied, 32).is_none());
        assert!(packs.filters(&multiplied, 1).is_some());
    }

    #[test]
    fn biases_are_counted_once_and_kept_if_they_are_small_floats() {
        let mut packs = Packs::new(u64::MAX);
        let weights = constant(1, [16, 16]);
        let packed = (16 + 1) * 64;
        for id in [2, 2, 3] {
            let with = columns(&mut packs, &weights, Some(constant(id, [1, 16]))).unwrap();
            assert_eq!(with.bias.unread(), [1, 2]);
        }
        assert_eq!(packs.bytes(|_| false), packed + 2 * 64);
        assert_eq!(packs.bytes(|id| id == ValueId(2)), packed + 64);
        let large = columns(&mut packs, &weights, Some(constant(4, [1025, 16]))).unwrap();
        assert_eq!(large.bias.unread(), [1]);
        let doubles = Constant { id: ValueId(5), tensor: Tensor::full([16], 1.0_f64) };
        let other = columns(&mut packs, &weights, Some(doubles)).unwrap();
        assert_eq!(other.bias.unread(), [1]);
        assert_eq!(packs.bytes(|_| false), packed + 2 * 64);
    }
}
