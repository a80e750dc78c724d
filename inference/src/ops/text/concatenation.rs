//! StringConcat: <https://onnx.ai/onnx/operators/onnx__StringConcat.html>

use crate::error::OpError;
use crate::ops::broadcast::{for_rows, joint_shape, strides_in};
use crate::ops::elementwise::selection::longest;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct StringConcat;

pub(super) fn build(_spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(StringConcat))
}

impl Operator for StringConcat {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (left, right) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (a, b) = (left.as_strings()?, right.as_strings()?);
        let shape = joint_shape(left.shape(), right.shape())?;
        let bytes = size_of::<String>() + longest(left) + longest(right);
        let mut out = Vec::with_capacity(context.claim(&shape, bytes)?);
        let strides = [strides_in(left.shape(), &shape), strides_in(right.shape(), &shape)];
        let last = shape.last().copied().unwrap_or(1);
        let [step_left, step_right] =
            [0, 1].map(|at: usize| strides[at].last().copied().unwrap_or(0));
        for_rows(&shape, &strides[0], &strides[1], |_, l, r| {
            out.extend((0..last).map(|at| {
                let (a, b) = (&a[l + at * step_left], &b[r + at * step_right]);
                format!("{a}{b}")
            }));
        });
        Ok(vec![Tensor::strings(shape, out).into()])
    }
}
