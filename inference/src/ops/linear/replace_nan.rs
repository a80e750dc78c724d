//! What the planner makes of `Where(IsNaN(x), value, x)`, for f32.

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct ReplaceNan {
    value: f32,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(ReplaceNan { value: spec.float("value", 0.0)? }))
}

impl Operator for ReplaceNan {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let replaced = |x: f32| if x.is_nan() { self.value } else { x };
        let mut tensor = inputs.take_tensor(0)?;
        if let Some(elements) = tensor.make_mut::<f32>() {
            elements.iter_mut().for_each(|x| *x = replaced(*x));
            return Ok(vec![tensor.into()]);
        }
        let elements = tensor.as_slice::<f32>()?.iter().map(|x| replaced(*x)).collect();
        Ok(vec![Tensor::new(tensor.shape(), elements).into()])
    }
}
