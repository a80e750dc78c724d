//! What a loop gathers: the tensors of its iterations as one tensor with an axis more.

use crate::error::OpError;
use crate::graph::{Attribute, Dim, ValueType};
use crate::ops::shaping::concat::joined;
use crate::ops::shaping::numbers::require_rank;
use crate::ops::shaping::units::{Unit, for_unit};
use crate::ops::{NodeSpec, axis_of};
use crate::run::Context;
use crate::tensor::{Shape, Tensor};

/// The tensors so far.
#[derive(Debug, Default)]
pub(super) struct Stack {
    tensors: Vec<Tensor>,
    bytes: usize,
}

impl Stack {
    /// Adds the tensor of one iteration.
    pub(super) fn push(
        &mut self,
        tensor: Tensor,
        context: &mut Context<'_>,
    ) -> Result<(), OpError> {
        // An empty tensor weighs something too, or their number would have no bound.
        let weight = tensor.bytes().saturating_add(size_of::<Tensor>());
        self.bytes = self.bytes.saturating_add(weight);
        context.claim(&[self.bytes], 1)?;
        context.hold(weight)?;
        if self.tensors.first().is_some_and(|first| first.shape() != tensor.shape()) {
            return Err(OpError::shape(format!(
                "iterations give tensors of different shapes, the last one {:?}",
                tensor.shape()
            )));
        }
        self.tensors.push(tensor);
        Ok(())
    }

    /// All of them along a new axis. `declared`: what the body says of one, for when there is none.
    pub(super) fn finish(
        mut self,
        axis: i64,
        reverse: bool,
        declared: Option<&ValueType>,
        context: &mut Context<'_>,
    ) -> Result<Tensor, OpError> {
        // Whoever has the node counts what is made of them.
        context.let_go(self.bytes);
        if reverse {
            self.tensors.reverse();
        }
        let Some(first) = self.tensors.first() else { return none_of(axis, declared) };
        let mut shape = first.shape().to_vec();
        require_rank(shape.len() + 1, context.limits.rank_max)?;
        let axis = axis_of(axis, shape.len() + 1)?;
        shape.insert(axis, 1);
        let tensors: Vec<Tensor> = self
            .tensors
            .into_iter()
            .map(|tensor| tensor.reshaped(shape.clone()))
            .collect::<Result<_, _>>()?;
        let parts: Vec<&Tensor> = tensors.iter().collect();
        joined(&parts, i64::try_from(axis).unwrap_or(i64::MAX), context)
    }
}

/// What no iterations give: sizes that are not declared are 0.
fn none_of(axis: i64, declared: Option<&ValueType>) -> Result<Tensor, OpError> {
    let Some(ValueType::Tensor { dtype: Some(dtype), dims }) = declared else {
        return Err(OpError::unsupported("no iterations, and the body does not say of what type"));
    };
    let dims = dims.as_deref().unwrap_or_default();
    let mut shape: Shape =
        dims.iter().map(|dim| if let Dim::Size(size) = dim { *size } else { 0 }).collect();
    shape.insert(axis_of(axis, shape.len() + 1)?, 0);
    for_unit!(*dtype, T, { Ok(T::tensor(*dtype, shape, Vec::<T>::new())) })
}

/// What a node's body says of its outputs.
pub(super) fn declared_outputs(spec: &NodeSpec<'_>, body: &str) -> Vec<Option<ValueType>> {
    let Some(Attribute::Graph(graph)) = spec.node.attributes.get(body) else { return Vec::new() };
    let declared = |id: &crate::graph::ValueId| graph.values.get(id.index())?.declared.clone();
    graph.outputs.iter().map(declared).collect()
}
