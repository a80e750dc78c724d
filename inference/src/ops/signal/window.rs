//! HannWindow, HammingWindow, BlackmanWindow: <https://onnx.ai/onnx/operators/onnx__HannWindow.html>
#![expect(clippy::cast_precision_loss, reason = "places within a window are far below 2^53")]

use std::f64::consts::TAU;

use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// A window as a sum of cosines: of the constant, of one period, of two.
#[derive(Debug)]
struct Window {
    terms: [f64; 3],
    periodic: bool,
    dtype: DType,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let terms = match spec.op() {
        "HannWindow" => [0.5, -0.5, 0.0],
        // As the specification has them, not 0.54 and 0.46.
        "HammingWindow" => [25.0 / 46.0, -21.0 / 46.0, 0.0],
        _ => [0.42, -0.5, 0.08],
    };
    let (periodic, dtype) = (spec.flag("periodic", true)?, output_dtype(spec)?);
    Ok(Box::new(Window { terms, periodic, dtype }))
}

/// The type that `output_datatype` asks for.
pub(super) fn output_dtype(spec: &NodeSpec<'_>) -> Result<DType, BuildError> {
    let number = spec.int("output_datatype", 1)?;
    let dtype = i32::try_from(number).ok().and_then(DType::from_onnx);
    dtype.ok_or_else(|| BuildError::invalid(format!("output_datatype {number} is no element type")))
}

/// A tensor of numbers, each converted.
pub(super) fn converted(
    dtype: DType,
    shape: impl Into<Vec<usize>>,
    values: &[f64],
) -> Result<Tensor, OpError> {
    use num_traits::AsPrimitive;
    crate::dtype::for_number!(dtype, T, {
        let elements = values.iter().map(|value| -> T { (*value).as_() }).collect();
        Ok(Tensor::new(shape, elements))
    }, else {
        Err(OpError::Type { expected: "a numeric type", found: dtype })
    })
}

/// The only element of an operand, as an integer.
pub(super) fn scalar_i64(tensor: &Tensor) -> Result<i64, OpError> {
    match tensor.to_i64s()?.as_slice() {
        [one] => Ok(*one),
        many => Err(OpError::shape(format!("{} elements where one is wanted", many.len()))),
    }
}

impl Operator for Window {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let size = scalar_i64(inputs.tensor(0)?)?;
        let size = usize::try_from(size)
            .map_err(|_| OpError::shape(format!("a window of size {size}")))?;
        context.claim(&[size], size_of::<f64>())?;
        let period = if self.periodic { size } else { size.saturating_sub(1) };
        let [constant, once, twice] = self.terms;
        let value = |at: usize| {
            // A symmetric window of one element has no period; it is at its peak.
            if period == 0 {
                return constant - once + twice;
            }
            let angle = TAU * at as f64 / period as f64;
            constant + once * angle.cos() + twice * (2.0 * angle).cos()
        };
        let values: Vec<f64> = (0..size).map(value).collect();
        Ok(vec![converted(self.dtype, [size], &values)?.into()])
    }
}
