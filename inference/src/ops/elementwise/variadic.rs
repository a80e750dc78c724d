//! Min, Max, Sum, Mean over any number of operands: <https://onnx.ai/onnx/operators/onnx__Max.html>
//!
//! NaN in any operand makes NaN.

use half::{bf16, f16};

use super::pairs::{pairwise_over, same_type};
use super::pointwise::rewrite;
use crate::dtype::{Element, for_dtype, for_number};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Variadic {
    Min,
    Max,
    Sum,
    Mean,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    if spec.input_count() == 0 {
        return Err(BuildError::invalid("it has no inputs, it wants one at least"));
    }
    Ok(Box::new(match spec.op() {
        "Min" => Variadic::Min,
        "Max" => Variadic::Max,
        "Sum" => Variadic::Sum,
        _ => Variadic::Mean,
    }))
}

impl Operator for Variadic {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let count = inputs.len();
        let mut out = inputs.take_tensor(0)?;
        for at in 1..count {
            let operand = inputs.take_tensor(at)?;
            same_type(&out, &operand)?;
            out = match self {
                Self::Min => lowest(out, operand, context)?,
                Self::Max => highest(out, operand, context)?,
                Self::Sum | Self::Mean => sum(out, operand, context)?,
            };
        }
        if matches!(self, Self::Mean) {
            out = divided(out, count)?;
        }
        Ok(vec![out.into()])
    }
}

fn lower<T: Element>(a: T, b: T) -> T {
    if a < b || is_nan(a) { a } else { b }
}

fn higher<T: Element>(a: T, b: T) -> T {
    if a > b || is_nan(a) { a } else { b }
}

#[expect(clippy::eq_op, reason = "NaN is what is not equal to itself")]
fn is_nan<T: Element>(a: T) -> bool {
    a != a
}

fn lowest(left: Tensor, right: Tensor, context: &Context<'_>) -> Result<Tensor, OpError> {
    for_number!(left.dtype(), T, { pairwise_over(left, right, context, lower::<T>) }, else {
        Err(OpError::Type { expected: "a numeric type", found: left.dtype() })
    })
}

fn highest(left: Tensor, right: Tensor, context: &Context<'_>) -> Result<Tensor, OpError> {
    for_number!(left.dtype(), T, { pairwise_over(left, right, context, higher::<T>) }, else {
        Err(OpError::Type { expected: "a numeric type", found: left.dtype() })
    })
}

fn sum(left: Tensor, right: Tensor, context: &Context<'_>) -> Result<Tensor, OpError> {
    for_dtype!(left.dtype(), T in [f32, f64, f16, bf16], {
        pairwise_over(left, right, context, |a: T, b: T| a + b)
    }, else {
        Err(OpError::Type { expected: "a float type", found: left.dtype() })
    })
}

#[expect(clippy::cast_precision_loss, reason = "the number of operands of a node is small")]
fn divided(tensor: Tensor, count: usize) -> Result<Tensor, OpError> {
    use num_traits::AsPrimitive;
    for_dtype!(tensor.dtype(), T in [f32, f64, f16, bf16], {
        let count: T = (count as f64).as_();
        rewrite::<T>(tensor, |values| values.iter_mut().for_each(|value| *value /= count))
    }, else {
        Err(OpError::Type { expected: "a float type", found: tensor.dtype() })
    })
}
