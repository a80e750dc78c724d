//! ArgMax and ArgMin: <https://onnx.ai/onnx/operators/onnx__ArgMax.html>
//!
//! A NaN is the answer only where it comes first.

use super::lines::{Extent, for_each, with_size};
use crate::dtype::{Element, for_number};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Extreme {
    largest: bool,
    axis: i64,
    keep_axis: bool,
    /// Whether the last of equal elements is meant, else the first.
    last: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Extreme {
        largest: spec.op() == "ArgMax",
        axis: spec.int("axis", 0)?,
        keep_axis: spec.flag("keepdims", true)?,
        last: spec.flag("select_last_index", false)?,
    }))
}

fn place_of<T: Copy>(line: &[T], better: impl Fn(T, T) -> bool) -> i64 {
    let mut best = (0, line[0]);
    for (place, element) in line.iter().enumerate().skip(1) {
        if better(*element, best.1) {
            best = (place, *element);
        }
    }
    i64::try_from(best.0).unwrap_or(i64::MAX)
}

impl Extreme {
    fn places<T: Element>(&self, data: &[T], extent: Extent, lines: usize) -> Vec<i64> {
        let better: fn(T, T) -> bool = match (self.largest, self.last) {
            (true, false) => |a, b| a > b,
            (true, true) => |a, b| a >= b,
            (false, false) => |a, b| a < b,
            (false, true) => |a, b| a <= b,
        };
        let mut out = vec![0; lines];
        for_each(data, extent, |at, line| out[at] = place_of(line, better));
        out
    }
}

impl Operator for Extreme {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let axis = axis_of(self.axis, tensor.rank())?;
        let mut shape = with_size(tensor.shape(), axis, 1);
        if !self.keep_axis {
            shape.remove(axis);
        }
        let elements = context.claim(&shape, size_of::<i64>())?;
        if tensor.is_empty() && elements > 0 {
            return Err(OpError::shape("there is no largest of no elements"));
        }
        let extent = Extent::of(tensor.shape(), axis);
        let out = for_number!(tensor.dtype(), T, {
            self.places(tensor.as_slice::<T>()?, extent, elements)
        }, else {
            return Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() });
        });
        Ok(vec![Tensor::new(shape, out).into()])
    }
}
