//! Expand and Tile: <https://onnx.ai/onnx/operators/onnx__Expand.html>

use super::numbers::{require_rank, shape_of, single};
use super::units::claim_like;
use super::view::View;
use crate::error::OpError;
use crate::ops::broadcast::{joint_shape, strides_in};
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Expand;

pub(super) fn expand(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Expand))
}

impl Operator for Expand {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let target = shape_of(&inputs.tensor(1)?.to_i64s()?, context.limits.rank_max)?;
        let shape = joint_shape(tensor.shape(), &target)?;
        claim_like(context, &tensor, &shape)?;
        let strides = strides_in(tensor.shape(), &shape);
        let strides = strides.into_iter().map(usize::cast_signed).collect();
        let view = View { offset: 0, sizes: shape.clone(), strides };
        Ok(vec![view.of_tensor(tensor, shape)?.into()])
    }
}

#[derive(Debug)]
struct Tile {
    /// Whether one axis and its number of repeats are given, as before version 6.
    one_axis: bool,
}

pub(super) fn tile(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Tile { one_axis: spec.version() < 6 }))
}

impl Tile {
    fn repeats(&self, tensor: &Tensor, inputs: &Inputs) -> Result<Vec<i64>, OpError> {
        if !self.one_axis {
            return inputs.tensor(1)?.to_i64s();
        }
        let mut repeats = vec![1; tensor.rank()];
        repeats[axis_of(single(inputs, 2)?, tensor.rank())?] = single(inputs, 1)?;
        Ok(repeats)
    }
}

impl Operator for Tile {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let repeats = self.repeats(&tensor, &inputs)?;
        require_rank(repeats.len(), context.limits.rank_max)?;
        if repeats.len() != tensor.rank() {
            return Err(OpError::shape(format!(
                "{} repeats are given for {} axes",
                repeats.len(),
                tensor.rank()
            )));
        }
        let repeats = shape_of(&repeats, context.limits.rank_max)?;
        let too_large = || OpError::shape("a repeated size is too large");
        let shape: Vec<usize> = tensor
            .shape()
            .iter()
            .zip(&repeats)
            .map(|(size, times)| size.checked_mul(*times).ok_or_else(too_large))
            .collect::<Result<_, _>>()?;
        claim_like(context, &tensor, &shape)?;
        let whole = View::of(tensor.shape());
        let axes = repeats.iter().zip(whole.sizes.iter().zip(&whole.strides));
        let (sizes, strides) =
            axes.flat_map(|(times, (size, stride))| [(*times, 0), (*size, *stride)]).unzip();
        Ok(vec![View { offset: 0, sizes, strides }.of_tensor(tensor, shape)?.into()])
    }
}
