//! Pow and Mod: <https://onnx.ai/onnx/operators/onnx__Pow.html>, <https://onnx.ai/onnx/operators/onnx__Mod.html>
//!
//! Integers wrap. An integer's power below zero is 0, 1 or -1, cut towards zero as a division would be; zero has none.

use half::{bf16, f16};

use super::cast::convert;
use super::pairs::{Placement, not_zero, pairwise_over, same_type};
use crate::dtype::{DType, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Pow(Placement);

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Pow(Placement::of(spec)?)))
}

impl Operator for Pow {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (base, exponent) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        let exponent = self.0.place(&base, exponent)?;
        let dtype = base.dtype();
        let integers = !dtype.is_float() && !exponent.dtype().is_float();
        let out = if dtype == DType::F32 && exponent.dtype() == DType::F32 {
            narrow(base, exponent, context)?
        } else if integers {
            let exponent = Tensor::new(exponent.shape(), exponent.to_i64s()?);
            let base = convert(base, DType::I64, context)?;
            if zero_below(&base, &exponent) {
                return Err(OpError::shape("zero may be raised to a power below zero"));
            }
            convert(pairwise_over(base, exponent, context, integer_power)?, dtype, context)?
        } else {
            let base = convert(base, DType::F64, context)?;
            let exponent = convert(exponent, DType::F64, context)?;
            convert(pairwise_over(base, exponent, context, f64::powf)?, dtype, context)?
        };
        Ok(vec![out.into()])
    }
}

/// The exponents that models are full of need no general power.
fn narrow(base: Tensor, exponent: Tensor, context: &Context<'_>) -> Result<Tensor, OpError> {
    match exponent.as_slice::<f32>()? {
        [2.0] => pairwise_over(base, exponent, context, |a: f32, _| a * a),
        [3.0] => pairwise_over(base, exponent, context, |a: f32, _| a * a * a),
        // Not of -infinity and -0, whose roots differ from their powers.
        [0.5] => {
            pairwise_over(
                base,
                exponent,
                context,
                |a: f32, _| {
                    if a > 0.0 { a.sqrt() } else { a.powf(0.5) }
                },
            )
        }
        [-1.0] => pairwise_over(base, exponent, context, |a: f32, _| 1.0 / a),
        _ => pairwise_over(base, exponent, context, f32::powf),
    }
}

/// Whether there is a zero in one and something below zero in the other: said without pairing them up.
fn zero_below(base: &Tensor, exponent: &Tensor) -> bool {
    let has = |tensor: &Tensor, f: fn(&i64) -> bool| {
        tensor.get::<i64>().is_some_and(|elements| elements.iter().any(f))
    };
    has(exponent, |exponent| *exponent < 0) && has(base, |base| *base == 0)
}

fn integer_power(base: i64, exponent: i64) -> i64 {
    let Ok(mut rest) = u64::try_from(exponent) else {
        return match base {
            1 => 1,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        };
    };
    let (mut square, mut product) = (base, 1_i64);
    while rest > 0 {
        if rest & 1 == 1 {
            product = product.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        rest >>= 1;
    }
    product
}

/// The remainder: with the sign of the divisor, or as C's `fmod` with that of the dividend.
#[derive(Debug)]
struct Mod {
    of_dividend: bool,
}

pub(super) fn build_mod(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Mod { of_dividend: spec.flag("fmod", false)? }))
}

impl Operator for Mod {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (left, right) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        same_type(&left, &right)?;
        for_dtype!(left.dtype(), T in [f32, f64, f16, bf16], {
            if !self.of_dividend {
                return Err(OpError::shape("Mod of floats wants the attribute fmod to be 1"));
            }
            return Ok(vec![pairwise_over(left, right, context, |a: T, b: T| a % b)?.into()]);
        }, else {});
        for_dtype!(left.dtype(), T in [u8, u16, u32, u64], {
            not_zero::<T>(&right)?;
            return Ok(vec![pairwise_over(left, right, context, |a: T, b: T| a % b)?.into()]);
        }, else {});
        for_dtype!(left.dtype(), T in [i64, i32, i16, i8], {
            not_zero::<T>(&right)?;
            let of_dividend = self.of_dividend;
            let remainder = |a: T, b: T| {
                let rest = a.wrapping_rem(b);
                let other_sign = rest != 0 && (rest < 0) != (b < 0);
                if other_sign && !of_dividend { rest.wrapping_add(b) } else { rest }
            };
            Ok(vec![pairwise_over(left, right, context, remainder)?.into()])
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: left.dtype() })
        })
    }
}
