//! A numeric operand as rows of features.

use num_traits::AsPrimitive;

use crate::dtype::{DType, for_dtype};
use crate::error::OpError;
use crate::tensor::Tensor;

/// Rows of an operand. One axis is one row.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    tensor: &'a Tensor,
    pub(super) count: usize,
    pub(super) width: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self, OpError> {
        let (count, width) = match *tensor.shape() {
            [width] => (1, width),
            [count, width] => (count, width),
            ref other => {
                return Err(OpError::shape(format!("{other:?} where rows of features are wanted")));
            }
        };
        Ok(Self { tensor, count, width })
    }

    /// Writes some rows as f64. Integers are rounded to f32 first, as the specification has it.
    pub(super) fn copy(
        &self,
        rows: std::ops::Range<usize>,
        to: &mut Vec<f64>,
    ) -> Result<(), OpError> {
        let range = rows.start * self.width..rows.end * self.width;
        to.clear();
        for_dtype!(self.tensor.dtype(), T in [f32, half::f16, f64], {
            to.extend(self.tensor.as_slice::<T>()?[range].iter().map(|x| -> f64 { (*x).as_() }));
        }, else {
            to.extend(integers(self.tensor, range)?);
        });
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "what the specification asks for")]
fn integers(tensor: &Tensor, range: std::ops::Range<usize>) -> Result<Vec<f64>, OpError> {
    match tensor.dtype() {
        DType::I64 => {
            Ok(tensor.as_slice::<i64>()?[range].iter().map(|x| f64::from(*x as f32)).collect())
        }
        DType::I32 => {
            Ok(tensor.as_slice::<i32>()?[range].iter().map(|x| f64::from(*x as f32)).collect())
        }
        found => Err(OpError::Type { expected: "f32, f64, i64 or i32", found }),
    }
}

/// A float as f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
pub(super) const fn rounded(value: f64) -> f32 {
    value as f32
}
