//! Constant and ConstantOfShape: <https://onnx.ai/onnx/operators/onnx__Constant.html>

use crate::error::OpError;
use crate::ops::shaping::numbers::shape_of;
use crate::ops::shaping::units::{Unit, claim_like, for_unit};
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Constant(Tensor);

pub(super) fn constant(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let mut found = Vec::new();
    found.extend(spec.tensor_opt("value")?.cloned());
    found.extend(spec.float_opt("value_float")?.map(Tensor::scalar));
    found.extend(spec.int_opt("value_int")?.map(Tensor::scalar));
    found.extend(
        spec.text_opt("value_string")?.map(|text| Tensor::strings([], vec![text.to_owned()])),
    );
    found.extend(spec.floats_opt("value_floats")?.map(|v| Tensor::new([v.len()], v.to_vec())));
    found.extend(spec.ints_opt("value_ints")?.map(|v| Tensor::new([v.len()], v.to_vec())));
    found.extend(spec.texts_opt("value_strings")?.map(|v| Tensor::strings([v.len()], v.to_vec())));
    match <[Tensor; 1]>::try_from(found) {
        Ok([value]) => Ok(Box::new(Constant(value))),
        Err(found) => {
            Err(BuildError::invalid(format!("{} values are given, not one", found.len())))
        }
    }
}

impl Operator for Constant {
    fn run(&self, _: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![self.0.clone().into()])
    }
}

#[derive(Debug)]
struct ConstantOfShape {
    /// One element.
    value: Tensor,
}

pub(super) fn of_shape(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let value = spec.tensor_opt("value")?.cloned().unwrap_or_else(|| Tensor::scalar(0.0_f32));
    if value.len() != 1 {
        return Err(BuildError::invalid(format!("the value has {} elements", value.len())));
    }
    Ok(Box::new(ConstantOfShape { value }))
}

impl Operator for ConstantOfShape {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let shape = shape_of(&inputs.tensor(0)?.to_i64s()?, context.limits.rank_max)?;
        Ok(vec![filled(&self.value, shape, context)?.into()])
    }
}

/// A tensor all of whose elements are the first one of `value`.
fn filled(value: &Tensor, shape: Vec<usize>, context: &Context<'_>) -> Result<Tensor, OpError> {
    let elements = claim_like(context, value, &shape)?;
    for_unit!(value.dtype(), T, {
        let first = T::of(value)?.first().cloned().ok_or(OpError::Missing(0))?;
        Ok(T::tensor(value.dtype(), shape, vec![first; elements]))
    })
}
