//! Shape and Size: <https://onnx.ai/onnx/operators/onnx__Shape.html>

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct ShapeOf {
    start: i64,
    end: Option<i64>,
}

pub(super) fn shape(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(ShapeOf { start: spec.int("start", 0)?, end: spec.int_opt("end")? }))
}

/// An end of a range of axes: counted from the end if negative, then brought within.
fn bound(at: i64, rank: usize) -> usize {
    let signed_rank = i64::try_from(rank).unwrap_or(i64::MAX);
    let at = if at < 0 { at.saturating_add(signed_rank) } else { at };
    usize::try_from(at).unwrap_or(0).min(rank)
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

impl Operator for ShapeOf {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let shape = inputs.tensor(0)?.shape();
        let start = bound(self.start, shape.len());
        let end = self.end.map_or(shape.len(), |end| bound(end, shape.len()));
        let sizes: Vec<i64> =
            shape.get(start..end).unwrap_or_default().iter().map(|size| signed(*size)).collect();
        Ok(vec![Tensor::new([sizes.len()], sizes).into()])
    }
}

#[derive(Debug)]
struct Size;

pub(super) fn size(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Size))
}

impl Operator for Size {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![Tensor::scalar(signed(inputs.tensor(0)?.len())).into()])
    }
}
