//! Conditions: tensors of one boolean.

use crate::dtype::DType;
use crate::error::OpError;
use crate::tensor::Tensor;

/// The one boolean of a tensor.
pub(super) fn truth(tensor: &Tensor) -> Result<bool, OpError> {
    if tensor.dtype() != DType::Bool {
        return Err(OpError::Type { expected: "bool", found: tensor.dtype() });
    }
    match tensor.as_slice::<u8>()? {
        [bit] => Ok(*bit != 0),
        bits => Err(OpError::shape(format!("a condition has {} elements, not one", bits.len()))),
    }
}
