//! Add, Sub, Mul, Div: <https://onnx.ai/onnx/operators/onnx__Add.html>
//!
//! Integers wrap. An integer divided by zero is an error of the run, as the specification leaves it open.

use half::{bf16, f16};

use super::pairs::{Placement, not_zero, pairwise_over, same_type};
use crate::dtype::for_dtype;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
}

#[derive(Debug)]
struct Arithmetic {
    kind: Kind,
    placement: Placement,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let kind = match spec.op() {
        "Add" => Kind::Add,
        "Sub" => Kind::Sub,
        "Mul" => Kind::Mul,
        _ => Kind::Div,
    };
    Ok(Box::new(Arithmetic { kind, placement: Placement::of(spec)? }))
}

impl Operator for Arithmetic {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (left, right) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        same_type(&left, &right)?;
        let right = self.placement.place(&left, right)?;
        Ok(vec![compute(self.kind, left, right, context)?.into()])
    }
}

/// Types of every model are computed by a loop for each operation, the others through a pointer: less code.
fn compute(
    kind: Kind,
    left: Tensor,
    right: Tensor,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    for_dtype!(left.dtype(), T in [f32, f64], {
        return match kind {
            Kind::Add => pairwise_over(left, right, context, |a: T, b: T| a + b),
            Kind::Sub => pairwise_over(left, right, context, |a: T, b: T| a - b),
            Kind::Mul => pairwise_over(left, right, context, |a: T, b: T| a * b),
            Kind::Div => pairwise_over(left, right, context, |a: T, b: T| a / b),
        };
    }, else {});
    for_dtype!(left.dtype(), T in [f16, bf16], {
        let f: fn(T, T) -> T = match kind {
            Kind::Add => |a, b| a + b,
            Kind::Sub => |a, b| a - b,
            Kind::Mul => |a, b| a * b,
            Kind::Div => |a, b| a / b,
        };
        return pairwise_over(left, right, context, f);
    }, else {});
    integers(kind, left, right, context)
}

#[expect(clippy::cognitive_complexity, reason = "the same few lines for each type")]
fn integers(
    kind: Kind,
    left: Tensor,
    right: Tensor,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    for_dtype!(left.dtype(), T in [i64, i32, i16, i8, u8, u16, u32, u64], {
        if matches!(kind, Kind::Div) {
            not_zero::<T>(&right)?;
        }
        let f: fn(T, T) -> T = match kind {
            Kind::Add => T::wrapping_add,
            Kind::Sub => T::wrapping_sub,
            Kind::Mul => T::wrapping_mul,
            Kind::Div => T::wrapping_div,
        };
        pairwise_over(left, right, context, f)
    }, else {
        Err(OpError::Type { expected: "a numeric type", found: left.dtype() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn operands_are_written_over_from_either_side() {
        let limits = Limits::default();
        let context = Context::new(&limits, 0);
        let whole = || Tensor::new([2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]);
        let row = || Tensor::new([2], vec![10.0_f32, 20.0]);
        let shared = whole();
        for left in [whole(), Tensor::clone(&shared)] {
            let found = compute(Kind::Sub, left, row(), &context).unwrap();
            assert_eq!(found.as_slice::<f32>().unwrap(), [-9.0, -18.0, -7.0, -16.0]);
        }
        let found = compute(Kind::Sub, row(), whole(), &context).unwrap();
        assert_eq!(found.as_slice::<f32>().unwrap(), [9.0, 18.0, 7.0, 16.0]);
        let scalar = Tensor::scalar(2.0_f32);
        let found = compute(Kind::Div, scalar, Tensor::new([0, 2], vec![0.0_f32; 0]), &context);
        assert_eq!(found.unwrap().shape(), [0, 2]);
        let zero = compute(Kind::Div, Tensor::scalar(1_i32), Tensor::scalar(0_i32), &context);
        assert!(zero.is_err());
        let lowest = compute(Kind::Div, Tensor::scalar(i8::MIN), Tensor::scalar(-1_i8), &context);
        assert_eq!(lowest.unwrap().as_slice::<i8>().unwrap(), [i8::MIN]);
    }
}
