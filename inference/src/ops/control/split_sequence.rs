//! SplitToSequence and ConcatFromSequence: <https://onnx.ai/onnx/operators/onnx__SplitToSequence.html>

use std::sync::Arc;

use super::sequence::take_members;
use crate::error::OpError;
use crate::ops::shaping::concat::{joined, parts_of};
use crate::ops::shaping::numbers::require_rank;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct SplitToSequence {
    axis: i64,
    keep_axis: bool,
}

pub(super) fn split(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(SplitToSequence {
        axis: spec.int("axis", 0)?,
        keep_axis: spec.flag("keepdims", true)?,
    }))
}

/// The sizes of the parts of an axis of this size.
fn sizes_of(split: &Tensor, size: usize, context: &Context<'_>) -> Result<Vec<usize>, OpError> {
    let numbers = split.to_i64s()?;
    let wrong = || OpError::shape(format!("an axis of size {size} does not split by {numbers:?}"));
    let parts: Option<Vec<usize>> =
        numbers.iter().map(|part| usize::try_from(*part).ok()).collect();
    let parts = parts.ok_or_else(wrong)?;
    if split.rank() > 0 {
        let sum = parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(*part));
        return if sum == Some(size) { Ok(parts) } else { Err(wrong()) };
    }
    let part = parts.first().copied().filter(|part| *part > 0).ok_or_else(wrong)?;
    context.claim(&[size / part], size_of::<Value>())?;
    let mut parts = vec![part; size / part];
    parts.extend(Some(size % part).filter(|rest| *rest > 0));
    Ok(parts)
}

impl Operator for SplitToSequence {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let axis = axis_of(self.axis, tensor.rank())?;
        let size = tensor.shape()[axis];
        let split = inputs.optional(1)?;
        let sizes = match split {
            Some(split) => sizes_of(split, size, context)?,
            None => vec![1; context.claim(&[size], size_of::<Value>())?],
        };
        let mut parts = parts_of(&tensor, axis, &sizes)?;
        // Given sizes keep the axis, whatever the attribute says.
        if split.is_none() && !self.keep_axis {
            let mut shape = tensor.shape().to_vec();
            shape.remove(axis);
            parts = parts
                .into_iter()
                .map(|part| part.reshaped(shape.clone()))
                .collect::<Result<_, _>>()?;
        }
        Ok(vec![Value::Sequence(Arc::new(parts.into_iter().map(Value::from).collect()))])
    }
}

#[derive(Debug)]
struct ConcatFromSequence {
    axis: i64,
    new_axis: bool,
}

pub(super) fn concat(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let axis = spec.int_opt("axis")?.ok_or_else(|| BuildError::invalid("the axis is missing"))?;
    Ok(Box::new(ConcatFromSequence { axis, new_axis: spec.flag("new_axis", false)? }))
}

impl Operator for ConcatFromSequence {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let members = take_members(&mut inputs, 0)?;
        let mut tensors: Vec<Tensor> =
            members.into_iter().map(Value::into_tensor).collect::<Result<_, _>>()?;
        if self.new_axis {
            for tensor in &mut tensors {
                let mut shape = tensor.shape().to_vec();
                require_rank(shape.len() + 1, context.limits.rank_max)?;
                shape.insert(axis_of(self.axis, shape.len() + 1)?, 1);
                *tensor = tensor.clone().reshaped(shape)?;
            }
        }
        if tensors.is_empty() {
            return Err(OpError::shape("a sequence without members cannot be joined"));
        }
        let parts: Vec<&Tensor> = tensors.iter().collect();
        Ok(vec![joined(&parts, self.axis, context)?.into()])
    }
}
