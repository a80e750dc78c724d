//! From sums of products to a quantised type: scaled, rounded to the nearest, ties to even, and saturated.

use num_traits::AsPrimitive;

use super::quantize::scales_of;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::elementwise::cast::convert;
use crate::ops::elementwise::pairs::pairwise_over;
use crate::run::Context;
use crate::tensor::Tensor;

/// The lowest and the highest number of an integer type that numbers are quantised to.
pub(super) const fn range_of(dtype: DType) -> Option<(f32, f32)> {
    Some(match dtype {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65535.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U4 => (0.0, 15.0),
        DType::I4 => (-8.0, 7.0),
        _ => return None,
    })
}

/// Scales as a tensor of f64.
pub(super) fn wide_scales(scale: &Tensor) -> Result<Tensor, OpError> {
    let scales = scales_of(scale)?.into_iter().map(f64::from).collect();
    Ok(Tensor::new(scale.shape(), scales))
}

/// An 8-bit operand as 32-bit integers, its zero points taken off. Those of one axis lie along `axis`, counted from the end.
pub(super) fn without_zeros(
    tensor: &Tensor,
    zero: Option<&Tensor>,
    axis_from_end: usize,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    if !matches!(tensor.dtype(), DType::U8 | DType::I8) {
        return Err(OpError::Type { expected: "u8 or i8", found: tensor.dtype() });
    }
    let wide = convert(tensor.clone(), DType::I32, context)?;
    let Some(zero) = zero else { return Ok(wide) };
    if zero.dtype() != tensor.dtype() {
        return Err(OpError::Type { expected: tensor.dtype().name(), found: zero.dtype() });
    }
    let zero = along(convert(zero.clone(), DType::I32, context)?, axis_from_end)?;
    let out = pairwise_over(wide, zero, context, i32::wrapping_sub)?;
    if out.shape() != tensor.shape() {
        return Err(OpError::shape(format!(
            "zero points do not broadcast to shape {:?}",
            tensor.shape()
        )));
    }
    Ok(out)
}

/// Parameters of one axis with axes of size 1 behind it.
pub(super) fn along(parameters: Tensor, axis_from_end: usize) -> Result<Tensor, OpError> {
    match *parameters.shape() {
        [1] => parameters.reshaped([]),
        [count] => {
            let mut shape = vec![1; axis_from_end];
            shape[0] = count;
            parameters.reshaped(shape)
        }
        _ => Ok(parameters),
    }
}

/// Sums times `factor`, and the zero point added, as that one's type.
pub(super) fn requantized(
    sums: Tensor,
    factor: Tensor,
    zero: &Tensor,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    let shape = sums.shape().to_vec();
    let scaled =
        pairwise_over(convert(sums, DType::F64, context)?, factor, context, |sum: f64, factor| {
            (sum * factor).round_ties_even()
        })?;
    if scaled.shape() != shape {
        return Err(OpError::shape(format!("scales do not broadcast to shape {shape:?}")));
    }
    let values = scaled.as_slice::<f64>()?.iter();
    let one = |count: usize| {
        OpError::shape(format!("there are {count} zero points for the output, one is supported"))
    };
    match zero.dtype() {
        DType::U8 => {
            let [zero] = *zero.as_slice::<u8>()? else { return Err(one(zero.len())) };
            let out: Vec<u8> = values.map(|value| (value + f64::from(zero)).as_()).collect();
            Ok(Tensor::new(shape, out))
        }
        DType::I8 => {
            let [zero] = *zero.as_slice::<i8>()? else { return Err(one(zero.len())) };
            let out: Vec<i8> = values.map(|value| (value + f64::from(zero)).as_()).collect();
            Ok(Tensor::new(shape, out))
        }
        found => Err(OpError::Type { expected: "u8 or i8", found }),
    }
}
