//! DequantizeLinear: <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>

use num_traits::AsPrimitive;

use super::blocks::Blocks;
use super::quantize::{block_size_of, scales_of, type_of, zeros_of};
use crate::dtype::{DType, Element};
use crate::error::OpError;
use crate::ops::elementwise::cast::convert;
use crate::ops::elementwise::maths::vectorised;
use crate::ops::elementwise::small_floats;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct DequantizeLinear {
    axis: i64,
    block_size: usize,
    output: Option<DType>,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let output = type_of(spec, "output_dtype")?;
    if output.is_some_and(|dtype| !dtype.is_float()) {
        return Err(BuildError::invalid("attribute \"output_dtype\" is no float type"));
    }
    Ok(Box::new(DequantizeLinear {
        axis: spec.int("axis", 1)?,
        block_size: block_size_of(spec)?,
        output,
    }))
}

impl Operator for DequantizeLinear {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (tensor, scale, zero) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.optional(2)?);
        if let Some(zero) = zero
            && zero.dtype() != tensor.dtype()
        {
            return Err(OpError::Type { expected: tensor.dtype().name(), found: zero.dtype() });
        }
        let output = self.output.unwrap_or(scale.dtype());
        if !output.is_float() {
            return Err(OpError::Type { expected: "a float type for the scales", found: output });
        }
        context.claim(tensor.shape(), size_of::<f32>())?;
        let shape = tensor.shape();
        let blocks = Blocks::of(shape, scale.shape(), self.axis, self.block_size)?;
        let (scales, zeros) = (scales_of(scale)?, zeros_of(zero, scale)?);
        let zeros = zeros.as_deref();
        let out = if let Some(decoded) = small_floats::decode(tensor)? {
            scaled::<f32>(decoded.as_slice()?, &scales, zeros, blocks)
        } else {
            match tensor.dtype() {
                DType::I8 | DType::I4 => scaled::<i8>(tensor.as_slice()?, &scales, zeros, blocks),
                DType::U8 | DType::U4 => scaled::<u8>(tensor.as_slice()?, &scales, zeros, blocks),
                DType::I16 => scaled::<i16>(tensor.as_slice()?, &scales, zeros, blocks),
                DType::U16 => scaled::<u16>(tensor.as_slice()?, &scales, zeros, blocks),
                DType::I32 => {
                    // f32 does not hold every i32, so a zero point cannot be taken off exactly.
                    if zeros.is_some_and(|zeros| zeros.iter().any(|zero| *zero != 0.0)) {
                        return Err(OpError::unsupported("zero points of i32 other than 0"));
                    }
                    scaled::<i32>(tensor.as_slice()?, &scales, None, blocks)
                }
                found => return Err(OpError::Type { expected: "a quantised type", found }),
            }
        };
        Ok(vec![convert(Tensor::new(shape, out), output, context)?.into()])
    }
}

fn scaled<T: Element + AsPrimitive<f32>>(
    values: &[T],
    scales: &[f32],
    zeros: Option<&[f32]>,
    blocks: Blocks,
) -> Vec<f32> {
    let mut out = vec![0.0_f32; values.len()];
    vectorised(|| {
        blocks.for_rows(|row| {
            let range = row.start..row.start + row.length;
            let pairs = out[range.clone()].iter_mut().zip(&values[range]);
            if row.step == 0 {
                let scale = scales[row.parameter];
                let zero = zeros.map_or(0.0, |zeros| zeros[row.parameter]);
                pairs.for_each(|(out, value)| *out = (value.as_() - zero) * scale);
                return;
            }
            let parameters = row.parameter..row.parameter + row.length;
            let pairs = pairs.zip(&scales[parameters.clone()]);
            match zeros {
                None => pairs.for_each(|((out, value), scale)| *out = value.as_() * scale),
                Some(zeros) => pairs
                    .zip(&zeros[parameters])
                    .for_each(|(((out, value), scale), zero)| *out = (value.as_() - zero) * scale),
            }
        });
    });
    out
}
