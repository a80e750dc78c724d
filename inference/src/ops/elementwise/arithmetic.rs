//! Add, Sub, Mul, Div: <https://onnx.ai/onnx/operators/onnx__Add.html>
//!
//! Integers wrap. An integer divided by zero is an error of the run, as the specification leaves it open.

use half::{bf16, f16};

use crate::dtype::{Element, for_dtype};
use crate::error::OpError;
use crate::ops::broadcast::{for_rows, joint_shape, strides_in};
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
struct Arithmetic(Kind);

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    // Before version 7 the second operand was placed by `axis`, if `broadcast` was set.
    if spec.version() < 7 && spec.int("broadcast", 0)? != 0 && spec.has("axis") {
        return Err(BuildError::unsupported("broadcasting by axis, as before opset 7"));
    }
    Ok(Box::new(Arithmetic(match spec.op() {
        "Add" => Kind::Add,
        "Sub" => Kind::Sub,
        "Mul" => Kind::Mul,
        _ => Kind::Div,
    })))
}

impl Operator for Arithmetic {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (left, right) = (inputs.tensor(0)?, inputs.tensor(1)?);
        for_dtype!(left.dtype(), T in [f32, f64, f16, bf16], {
            let f = match self.0 {
                Kind::Add => |a: T, b: T| a + b,
                Kind::Sub => |a: T, b: T| a - b,
                Kind::Mul => |a: T, b: T| a * b,
                Kind::Div => |a: T, b: T| a / b,
            };
            return Ok(vec![pairwise(left, right, context, f)?.into()]);
        }, else {});
        for_dtype!(left.dtype(), T in [i64, i32, i16, i8, u8, u16, u32, u64], {
            if matches!(self.0, Kind::Div) && right.as_slice::<T>()?.contains(&T::ZERO) {
                return Err(OpError::shape("an integer is divided by zero"));
            }
            let f = match self.0 {
                Kind::Add => |a: T, b: T| a.wrapping_add(b),
                Kind::Sub => |a: T, b: T| a.wrapping_sub(b),
                Kind::Mul => |a: T, b: T| a.wrapping_mul(b),
                Kind::Div => T::wrapping_div,
            };
            Ok(vec![pairwise(left, right, context, f)?.into()])
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: left.dtype() })
        })
    }
}

/// Applies `f` to each pair of elements.
pub(crate) fn pairwise<T: Element, R: Element>(
    left: &Tensor,
    right: &Tensor,
    context: &Context<'_>,
    f: impl Fn(T, T) -> R,
) -> Result<Tensor, OpError> {
    let shape = joint_shape(left.shape(), right.shape())?;
    let elements = context.claim(&shape, size_of::<R>())?;
    let (a, b) = (left.as_slice::<T>()?, right.as_slice::<T>()?);
    if left.shape() == right.shape() {
        let out = a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
        return Ok(Tensor::new(shape, out));
    }
    let mut out = Vec::with_capacity(elements);
    let (in_left, in_right) = (strides_in(left.shape(), &shape), strides_in(right.shape(), &shape));
    let last = shape.last().copied().unwrap_or(1);
    let step = (in_left.last().copied().unwrap_or(0), in_right.last().copied().unwrap_or(0));
    for_rows(&shape, &in_left, &in_right, |_, l, r| match step {
        (0, 0) => out.extend(std::iter::repeat_n(f(a[l], b[r]), last)),
        (0, _) => out.extend(b[r..r + last].iter().map(|b| f(a[l], *b))),
        (_, 0) => out.extend(a[l..l + last].iter().map(|a| f(*a, b[r]))),
        _ => out.extend(a[l..l + last].iter().zip(&b[r..r + last]).map(|(a, b)| f(*a, *b))),
    });
    Ok(Tensor::new(shape, out))
}
