//! And, Or, Xor, Not: <https://onnx.ai/onnx/operators/onnx__And.html>

use super::maths::map_slice;
use super::pairs::{Placement, pairwise_over};
use super::pointwise::rewrite;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Logic {
    f: fn(u8, u8) -> u8,
    placement: Placement,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let f: fn(u8, u8) -> u8 = match spec.op() {
        "And" => |a, b| a & b,
        "Or" => |a, b| a | b,
        "Xor" => |a, b| a ^ b,
        _ => return Ok(Box::new(Not)),
    };
    Ok(Box::new(Logic { f, placement: Placement::of(spec)? }))
}

fn booleans(tensor: &Tensor) -> Result<(), OpError> {
    if tensor.dtype() == DType::Bool {
        return Ok(());
    }
    Err(OpError::Type { expected: "bool", found: tensor.dtype() })
}

impl Operator for Logic {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (left, right) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        booleans(&left)?;
        booleans(&right)?;
        let right = self.placement.place(&left, right)?;
        let out = pairwise_over(left, right, context, self.f)?;
        Ok(vec![out.retyped(DType::Bool).into()])
    }
}

#[derive(Debug)]
struct Not;

impl Operator for Not {
    fn run(&self, mut inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        booleans(&tensor)?;
        Ok(vec![rewrite::<u8>(tensor, |values| map_slice(values, |bit: u8| bit ^ 1))?.into()])
    }
}
