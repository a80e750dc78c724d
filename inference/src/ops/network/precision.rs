//! The types that layers compute in: f32 and f64. 16-bit floats are widened to f32 and rounded once, at the end.

use half::{bf16, f16};
use num_traits::{AsPrimitive, Float};

use crate::dtype::{DType, Element, for_dtype};
use crate::error::OpError;
use crate::tensor::Tensor;

/// f32 or f64.
pub(super) trait Real:
    Element + Float + AsPrimitive<f64> + AsPrimitive<f32> + Default
{
    /// The nearest value of this type.
    fn of(value: f64) -> Self;
}

impl Real for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    fn of(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

/// The number as f64; exact up to 2^53, far beyond any size that fits in memory.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
pub(super) const fn f64_of(size: usize) -> f64 {
    size as f64
}

/// The elements in a type to compute in, with the type that they had.
pub(super) fn widened(tensor: Tensor) -> Result<(Tensor, DType), OpError> {
    let dtype = tensor.dtype();
    match dtype {
        DType::F32 | DType::F64 => Ok((tensor, dtype)),
        DType::F16 | DType::Bf16 => {
            let wide = tensor.to_f32s()?;
            Ok((Tensor::new(tensor.shape(), wide), dtype))
        }
        found => Err(OpError::Type { expected: "a floating point type", found }),
    }
}

/// Back to the type that [`widened`] found.
pub(super) fn narrowed(tensor: Tensor, dtype: DType) -> Result<Tensor, OpError> {
    if tensor.dtype() == dtype {
        return Ok(tensor);
    }
    let shape = tensor.shape().to_vec();
    let convert = |wide: Vec<f64>| match dtype {
        DType::F32 => Tensor::new(shape, wide.into_iter().map(f32::of).collect()),
        DType::F16 => Tensor::new(shape, wide.into_iter().map(f16::from_f64).collect::<Vec<_>>()),
        DType::Bf16 => Tensor::new(shape, wide.into_iter().map(bf16::from_f64).collect::<Vec<_>>()),
        _ => Tensor::new(shape, wide),
    };
    Ok(convert(reals::<f64>(&tensor)?))
}

/// The elements of a float tensor as `T`.
pub(super) fn reals<T: Real>(tensor: &Tensor) -> Result<Vec<T>, OpError> {
    for_dtype!(tensor.dtype(), S in [f32, f64, f16, bf16], {
        Ok(tensor.as_slice::<S>()?.iter().map(|value| T::of((*value).as_())).collect())
    }, else {
        Err(OpError::Type { expected: "a floating point type", found: tensor.dtype() })
    })
}

/// The elements of a parameter that holds one value per channel.
pub(super) fn per_channel<T: Real>(
    tensor: &Tensor,
    name: &str,
    channels: usize,
) -> Result<Vec<T>, OpError> {
    if tensor.len() != channels {
        return Err(OpError::shape(format!(
            "{name} has shape {:?}, {channels} elements are wanted",
            tensor.shape()
        )));
    }
    reals(tensor)
}

/// Runs `$body` with `$T` standing for f32 or f64; `$tensor` comes from [`widened`].
macro_rules! for_real {
    ($tensor:expr, $T:ident, $body:block) => {
        $crate::dtype::for_dtype!($tensor.dtype(), $T in [f32, f64], $body, else {
            return Err($crate::error::OpError::Type {
                expected: "a floating point type",
                found: $tensor.dtype(),
            })
        })
    };
}

pub(super) use for_real;
