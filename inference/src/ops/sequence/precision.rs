//! Half precision: computed as f32 and rounded once, at the end.

use half::{bf16, f16};

use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::Inputs;
use crate::tensor::Tensor;
use crate::value::Value;

/// Whether a type is narrower than the narrowest that is computed with.
pub(super) const fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::Bf16)
}

/// The operands with halves as f32.
pub(super) fn widened(inputs: &Inputs) -> Result<Inputs, OpError> {
    let widen = |operand: &Option<Value>| match operand {
        Some(Value::Tensor(tensor)) if is_half(tensor.dtype()) => {
            let elements = tensor.to_f32s()?;
            Ok(Some(Tensor::new(tensor.shape(), elements).into()))
        }
        other => Ok(other.clone()),
    };
    Ok(Inputs(inputs.0.iter().map(widen).collect::<Result<_, OpError>>()?))
}

/// An f32 result as a half.
pub(super) fn narrowed(value: Value, dtype: DType) -> Result<Value, OpError> {
    let tensor = value.into_tensor()?;
    let elements = tensor.as_slice::<f32>()?.iter();
    Ok(match dtype {
        DType::F16 => Tensor::new(tensor.shape(), elements.map(|x| f16::from_f32(*x)).collect()),
        _ => Tensor::new(tensor.shape(), elements.map(|x| bf16::from_f32(*x)).collect()),
    }
    .into())
}
