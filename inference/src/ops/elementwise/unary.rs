//! Functions of one number without parameters: <https://onnx.ai/onnx/operators/onnx__Exp.html> and the like.

use half::{bf16, f16};

use super::maths::{self, map_slice};
use super::pointwise::{Pointwise, map_floats, rewrite};
use super::wide::erf as wide_erf;
use crate::dtype::for_dtype;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Functions of floats.
pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let op = spec.op();
    Ok(match op {
        "Acos" => Pointwise::boxed(op, f32::acos, f64::acos),
        "Acosh" => Pointwise::boxed(op, f32::acosh, f64::acosh),
        "Asin" => Pointwise::boxed(op, f32::asin, f64::asin),
        "Asinh" => Pointwise::boxed(op, f32::asinh, f64::asinh),
        "Atan" => Pointwise::boxed(op, f32::atan, f64::atan),
        "Atanh" => Pointwise::boxed(op, f32::atanh, f64::atanh),
        "Ceil" => Pointwise::boxed(op, f32::ceil, f64::ceil),
        "Cos" => Pointwise::boxed(op, f32::cos, f64::cos),
        "Cosh" => Pointwise::boxed(op, f32::cosh, f64::cosh),
        "Exp" => Pointwise::boxed(op, maths::exp, f64::exp),
        "Floor" => Pointwise::boxed(op, f32::floor, f64::floor),
        "Log" => Pointwise::boxed(op, maths::log, f64::ln),
        "Reciprocal" => Pointwise::boxed(op, |x| 1.0 / x, |x| 1.0 / x),
        "Round" => Pointwise::boxed(op, f32::round_ties_even, f64::round_ties_even),
        "Sin" => Pointwise::boxed(op, f32::sin, f64::sin),
        "Sinh" => Pointwise::boxed(op, f32::sinh, f64::sinh),
        "Sqrt" => Pointwise::boxed(op, f32::sqrt, f64::sqrt),
        "Tan" => Pointwise::boxed(op, f32::tan, f64::tan),
        "Tanh" => Pointwise::boxed(op, maths::tanh, f64::tanh),
        other => return Err(BuildError::unsupported(format!("{other} as a function of floats"))),
    })
}

/// Functions of any number.
#[derive(Clone, Copy, Debug)]
enum Numeric {
    Abs,
    Neg,
    Sign,
    Relu,
    Erf,
}

pub(super) fn build_numeric(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(match spec.op() {
        "Abs" => Numeric::Abs,
        "Neg" => Numeric::Neg,
        "Sign" => Numeric::Sign,
        "Relu" => Numeric::Relu,
        _ => Numeric::Erf,
    }))
}

impl Operator for Numeric {
    fn run(&self, mut inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let out =
            if tensor.dtype().is_float() { self.floats(tensor)? } else { self.integers(tensor)? };
        Ok(vec![out.into()])
    }
}

impl Numeric {
    fn floats(self, tensor: Tensor) -> Result<Tensor, OpError> {
        // Negation and magnitude are exact, whatever the width.
        for_dtype!(tensor.dtype(), T in [f16, bf16], {
            match self {
                Self::Neg => return rewrite::<T>(tensor, |values| map_slice(values, |x| -x)),
                Self::Abs => {
                    let magnitude = |x: T| T::from_bits(x.to_bits() & 0x7fff);
                    return rewrite::<T>(tensor, |values| map_slice(values, magnitude));
                }
                _ => {}
            }
        }, else {});
        match self {
            Self::Abs => {
                map_floats(tensor, &|v| map_slice(v, f32::abs), &|v| map_slice(v, f64::abs))
            }
            Self::Neg => map_floats(tensor, &|v| map_slice(v, |x| -x), &|v| map_slice(v, |x| -x)),
            // Zeros and NaN stay as they are.
            Self::Sign => map_floats(
                tensor,
                &|v| map_slice(v, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
                &|v| map_slice(v, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
            ),
            Self::Relu => {
                let narrow = |v: &mut [f32]| map_slice(v, |x| if x < 0.0 { 0.0 } else { x });
                let wide = |v: &mut [f64]| map_slice(v, |x| if x < 0.0 { 0.0 } else { x });
                map_floats(tensor, &narrow, &wide)
            }
            Self::Erf => map_floats(tensor, &|v| maths::erf_slice(v), &|v| map_slice(v, wide_erf)),
        }
    }

    fn integers(self, tensor: Tensor) -> Result<Tensor, OpError> {
        for_dtype!(tensor.dtype(), T in [i64, i32, i16, i8], {
            let f: fn(T) -> T = match self {
                Self::Abs => T::wrapping_abs,
                Self::Neg => T::wrapping_neg,
                // The error function of an integer is within rounding of its sign only from 4 on; nobody defines the rest.
                Self::Erf => return Err(OpError::unsupported("Erf of integers")),
                Self::Sign => T::signum,
                Self::Relu => |x| x.max(0),
            };
            return rewrite::<T>(tensor, |values| map_slice(values, f));
        }, else {});
        for_dtype!(tensor.dtype(), T in [u8, u16, u32, u64], {
            let f: fn(T) -> T = match self {
                Self::Abs | Self::Relu => return Ok(tensor),
                Self::Sign => |x| x.min(1),
                Self::Neg | Self::Erf => {
                    return Err(OpError::Type { expected: "a signed type", found: tensor.dtype() });
                }
            };
            rewrite::<T>(tensor, |values| map_slice(values, f))
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() })
        })
    }
}
