//! DynamicQuantizeLinear: <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>
//!
//! A tensor of zeros, or without elements, has the scale 1.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is cast lies between 0 and 255"
)]

use crate::error::OpError;
use crate::ops::elementwise::maths::vectorised;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct DynamicQuantizeLinear;

pub(super) fn build(_spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(DynamicQuantizeLinear))
}

impl Operator for DynamicQuantizeLinear {
    fn run(&self, inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let values = tensor.as_slice::<f32>()?;
        let (low, high) = vectorised(|| {
            values.iter().fold((0.0_f32, 0.0_f32), |(low, high), value| {
                (if *value < low { *value } else { low }, if *value > high { *value } else { high })
            })
        });
        let scale = if low < high { (high - low) / 255.0 } else { 1.0 };
        let zero = (-low / scale).clamp(0.0, 255.0).round_ties_even();
        let quantize =
            |value: &f32| ((value / scale).round_ties_even() + zero).clamp(0.0, 255.0) as u8;
        let out: Vec<u8> = vectorised(|| values.iter().map(quantize).collect());
        Ok(vec![
            Tensor::new(tensor.shape(), out).into(),
            Tensor::scalar(scale).into(),
            Tensor::scalar(zero as u8).into(),
        ])
    }
}
