//! f16 and bf16 are computed as f32: operands are widened, results are rounded once.

use half::{bf16, f16};
use num_traits::AsPrimitive;

use crate::dtype::{DType, Element};
use crate::error::OpError;
use crate::ops::{Inputs, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Runs an operator of one output on operands of 16 bits. `None`: they are of another width.
pub(super) fn run_widened(
    operator: &dyn Operator,
    inputs: &Inputs,
    context: &mut Context<'_>,
) -> Option<Result<Vec<Value>, OpError>> {
    let dtype = inputs.tensor(0).ok()?.dtype();
    match dtype {
        DType::F16 => Some(widened::<f16>(operator, inputs, context)),
        DType::Bf16 => Some(widened::<bf16>(operator, inputs, context)),
        _ => None,
    }
}

fn widened<T: Element + AsPrimitive<f32>>(
    operator: &dyn Operator,
    inputs: &Inputs,
    context: &mut Context<'_>,
) -> Result<Vec<Value>, OpError>
where
    f32: AsPrimitive<T>,
{
    let mut operands = Vec::with_capacity(inputs.len());
    for at in 0..inputs.len() {
        let Some(tensor) = inputs.optional(at)? else {
            operands.push(None);
            continue;
        };
        context.claim(tensor.shape(), size_of::<f32>())?;
        let elements = tensor.as_slice::<T>()?.iter().map(|x| x.as_()).collect();
        operands.push(Some(Tensor::new::<f32>(tensor.shape(), elements).into()));
    }
    let outputs = operator.run(Inputs(operands), context)?;
    let narrow = |value: Value| {
        let tensor = value.into_tensor()?;
        let elements = tensor.as_slice::<f32>()?.iter().map(|x| x.as_()).collect();
        Ok(Tensor::new::<T>(tensor.shape(), elements).into())
    };
    outputs.into_iter().map(narrow).collect()
}
