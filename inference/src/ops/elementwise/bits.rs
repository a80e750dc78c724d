//! Bitwise operators and shifts: <https://onnx.ai/onnx/operators/onnx__BitShift.html>
//!
//! A shift by as many bits as the type has, or more, gives 0.

use num_traits::ToPrimitive;

use super::maths::map_slice;
use super::pairs::{pairwise_over, same_type};
use super::pointwise::rewrite;
use crate::dtype::for_dtype;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

#[derive(Debug)]
enum Shift {
    Left,
    Right,
}

pub(super) fn build_shift(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    match spec.text_opt("direction")? {
        Some("LEFT") => Ok(Box::new(Shift::Left)),
        Some("RIGHT") => Ok(Box::new(Shift::Right)),
        other => Err(BuildError::invalid(format!(
            "attribute \"direction\" is {other:?}, it should be \"LEFT\" or \"RIGHT\""
        ))),
    }
}

impl Operator for Shift {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (left, right) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        same_type(&left, &right)?;
        for_dtype!(left.dtype(), T in [u8, u16, u32, u64], {
            let shift: fn(T, u32) -> Option<T> = match self {
                Self::Left => T::checked_shl,
                Self::Right => T::checked_shr,
            };
            let f = |a: T, b: T| b.to_u32().and_then(|b| shift(a, b)).unwrap_or(0);
            Ok(vec![pairwise_over(left, right, context, f)?.into()])
        }, else {
            Err(OpError::Type { expected: "an unsigned type", found: left.dtype() })
        })
    }
}

#[derive(Debug)]
enum Bitwise {
    And,
    Or,
    Xor,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(match spec.op() {
        "BitwiseAnd" => Box::new(Bitwise::And),
        "BitwiseOr" => Box::new(Bitwise::Or),
        "BitwiseXor" => Box::new(Bitwise::Xor),
        _ => Box::new(Complement),
    })
}

impl Operator for Bitwise {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (left, right) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        same_type(&left, &right)?;
        for_dtype!(left.dtype(), T in [i64, i32, i16, i8, u8, u16, u32, u64], {
            let f: fn(T, T) -> T = match self {
                Self::And => |a, b| a & b,
                Self::Or => |a, b| a | b,
                Self::Xor => |a, b| a ^ b,
            };
            Ok(vec![pairwise_over(left, right, context, f)?.into()])
        }, else {
            Err(OpError::Type { expected: "an integer type", found: left.dtype() })
        })
    }
}

#[derive(Debug)]
struct Complement;

impl Operator for Complement {
    fn run(&self, mut inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        for_dtype!(tensor.dtype(), T in [i64, i32, i16, i8, u8, u16, u32, u64], {
            Ok(vec![rewrite::<T>(tensor, |values| map_slice(values, |x: T| !x))?.into()])
        }, else {
            Err(OpError::Type { expected: "an integer type", found: tensor.dtype() })
        })
    }
}
