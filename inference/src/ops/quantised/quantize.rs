//! QuantizeLinear: <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>

use half::{bf16, f16};

use super::blocks::Blocks;
use super::requantize::range_of;
use crate::dtype::{DType, Element};
use crate::error::OpError;
use crate::ops::elementwise::maths::vectorised;
use crate::ops::elementwise::small_floats::{self, Mode, Rounding};
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct QuantizeLinear {
    axis: i64,
    block_size: usize,
    saturate: bool,
    output: Option<DType>,
    /// The type that the quotient is rounded to. `None`: that of the scale.
    precision: Option<DType>,
}

/// An attribute that names an element type, 0 for none.
pub(super) fn type_of(spec: &NodeSpec<'_>, name: &str) -> Result<Option<DType>, BuildError> {
    match spec.int(name, 0)? {
        0 => Ok(None),
        number => i32::try_from(number)
            .ok()
            .and_then(DType::from_onnx)
            .map(Some)
            .ok_or_else(|| BuildError::unsupported(format!("{name}: element type {number}"))),
    }
}

pub(super) fn block_size_of(spec: &NodeSpec<'_>) -> Result<usize, BuildError> {
    let size = spec.int("block_size", 0)?;
    usize::try_from(size).map_err(|_| BuildError::invalid(format!("block_size is {size}")))
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(QuantizeLinear {
        axis: spec.int("axis", 1)?,
        block_size: block_size_of(spec)?,
        saturate: spec.flag("saturate", true)?,
        output: type_of(spec, "output_dtype")?,
        precision: type_of(spec, "precision")?,
    }))
}

/// Scales as f32.
pub(super) fn scales_of(scale: &Tensor) -> Result<Vec<f32>, OpError> {
    match scale.dtype() {
        DType::F8E8M0 => match small_floats::decode(scale)? {
            Some(decoded) => decoded.into_vec(),
            None => Ok(Vec::new()),
        },
        DType::F32 | DType::F16 | DType::Bf16 => scale.to_f32s(),
        found => Err(OpError::Type { expected: "f32, f16 or bf16", found }),
    }
}

/// Zero points as f32, checked to be as many as the scales.
pub(super) fn zeros_of(zero: Option<&Tensor>, scale: &Tensor) -> Result<Option<Vec<f32>>, OpError> {
    let Some(zero) = zero else { return Ok(None) };
    if zero.len() != scale.len() {
        return Err(OpError::shape(format!(
            "zero points of shape {:?} for scales of shape {:?}",
            zero.shape(),
            scale.shape()
        )));
    }
    if let Some(decoded) = small_floats::decode(zero)? {
        return Ok(Some(decoded.into_vec()?));
    }
    let plain = match zero.dtype() {
        DType::I4 => DType::I8,
        DType::U4 => DType::U8,
        other => other,
    };
    Ok(Some(zero.clone().retyped(plain).to_f32s()?))
}

impl Operator for QuantizeLinear {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (tensor, scale, zero) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.optional(2)?);
        let output = match (zero.map(Tensor::dtype), self.output) {
            (Some(zero), Some(output)) if zero != output => {
                return Err(OpError::Type { expected: output.name(), found: zero });
            }
            (zero, output) => zero.or(output).unwrap_or(DType::U8),
        };
        if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::Bf16 | DType::I32) {
            return Err(OpError::Type { expected: "f32, f16, bf16 or i32", found: tensor.dtype() });
        }
        context.claim(tensor.shape(), size_of::<f32>())?;
        let blocks = Blocks::of(tensor.shape(), scale.shape(), self.axis, self.block_size)?;
        let mut values = tensor.to_f32s()?;
        let precision = self.precision.unwrap_or(scale.dtype());
        divide(&mut values, &scales_of(scale)?, blocks, precision);
        let zeros = zeros_of(zero, scale)?;
        let Some((low, high)) = range_of(output) else {
            if zeros.iter().flatten().any(|zero| *zero != 0.0) {
                return Err(OpError::shape("the zero point of floats should be zero"));
            }
            // Adding it makes negative zeros positive; 8-bit floats are quantised without.
            if zeros.is_some() && output == DType::F4E2M1 {
                values.iter_mut().for_each(|value| *value += 0.0);
            }
            let rounding = Rounding { saturate: self.saturate, mode: Mode::Nearest };
            let out = small_floats::encode(&values, output, tensor.shape(), rounding);
            let wrong = OpError::Type { expected: "a quantised type", found: output };
            return Ok(vec![out.ok_or(wrong)?.into()]);
        };
        shift(&mut values, zeros.as_deref(), blocks);
        Ok(vec![saturated(&values, output, tensor.shape(), low, high).into()])
    }
}

fn divide(values: &mut [f32], scales: &[f32], blocks: Blocks, precision: DType) {
    vectorised(|| {
        blocks.for_rows(|row| {
            let values = &mut values[row.start..row.start + row.length];
            if row.step == 0 {
                let scale = scales[row.parameter];
                values.iter_mut().for_each(|value| *value /= scale);
            } else {
                let scales = &scales[row.parameter..row.parameter + row.length];
                values.iter_mut().zip(scales).for_each(|(value, scale)| *value /= scale);
            }
        });
    });
    match precision {
        DType::F16 => values.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32()),
        DType::Bf16 => values.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32()),
        _ => {}
    }
}

/// Rounds, and adds the zero points: exactly, wherever the result is not out of every range anyway.
fn shift(values: &mut [f32], zeros: Option<&[f32]>, blocks: Blocks) {
    vectorised(|| values.iter_mut().for_each(|value| *value = value.round_ties_even()));
    let Some(zeros) = zeros else { return };
    vectorised(|| {
        blocks.for_rows(|row| {
            let values = &mut values[row.start..row.start + row.length];
            if row.step == 0 {
                let zero = zeros[row.parameter];
                values.iter_mut().for_each(|value| *value += zero);
            } else {
                let zeros = &zeros[row.parameter..row.parameter + row.length];
                values.iter_mut().zip(zeros).for_each(|(value, zero)| *value += zero);
            }
        });
    });
}

/// Whole numbers as a type that has these bounds.
fn saturated(values: &[f32], dtype: DType, shape: &[usize], low: f32, high: f32) -> Tensor {
    use num_traits::AsPrimitive;
    fn collect<T: Element>(values: &[f32], low: f32, high: f32) -> Vec<T>
    where
        f32: AsPrimitive<T>,
    {
        vectorised(|| values.iter().map(|value| value.clamp(low, high).as_()).collect())
    }
    match dtype {
        DType::I8 | DType::I4 => Tensor::with_dtype::<i8>(dtype, shape, collect(values, low, high)),
        DType::I16 => Tensor::new::<i16>(shape, collect(values, low, high)),
        DType::U16 => Tensor::new::<u16>(shape, collect(values, low, high)),
        _ => Tensor::with_dtype::<u8>(dtype, shape, collect(values, low, high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn what_is_beyond_the_type_saturates() {
        let operator = QuantizeLinear {
            axis: 1,
            block_size: 0,
            saturate: true,
            output: Some(DType::I4),
            precision: None,
        };
        let run = |values: Vec<f32>, scale: Tensor| {
            let tensor = Tensor::new([values.len()], values);
            let inputs = Inputs(vec![Some(tensor.into()), Some(scale.into())]);
            operator.run(inputs, &mut Context::new(&Limits::default(), 0))
        };
        let values = vec![f32::INFINITY, -1e30, f32::NAN, 2.5, -3.5];
        let out = run(values, Tensor::scalar(1.0_f32)).unwrap().remove(0).into_tensor().unwrap();
        assert_eq!(out.dtype(), DType::I4);
        assert_eq!(out.as_slice::<i8>().unwrap(), [7, -8, 0, 2, -4]);
        assert!(run(vec![1.0], Tensor::new([2], vec![1.0_f32, 2.0])).is_err());
        assert!(run(vec![1.0], Tensor::scalar(1_i32)).is_err());
    }
}
