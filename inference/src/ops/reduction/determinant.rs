//! Det: <https://onnx.ai/onnx/operators/onnx__Det.html>
//!
//! By elimination with pivots, in f64.

use half::{bf16, f16};
use num_traits::AsPrimitive;

use crate::dtype::for_dtype;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Determinant;

pub(super) fn build(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Determinant))
}

/// The determinant of a square matrix, which is eliminated on the way.
fn determinant(matrix: &mut [f64], size: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..size {
        let magnitude = |row: &usize| matrix[row * size + column].abs();
        let pivot = (column..size).max_by(|a, b| magnitude(a).total_cmp(&magnitude(b)));
        let pivot = pivot.unwrap_or(column);
        let value = matrix[pivot * size + column];
        if value == 0.0 {
            return 0.0;
        }
        if pivot != column {
            product = -product;
            for at in 0..size {
                matrix.swap(pivot * size + at, column * size + at);
            }
        }
        product *= value;
        let (above, below) = matrix.split_at_mut((column + 1) * size);
        let pivot_row = &above[column * size..];
        for row in below.chunks_exact_mut(size) {
            let factor = row[column] / value;
            for (element, pivot) in row.iter_mut().zip(pivot_row).skip(column) {
                *element -= factor * pivot;
            }
        }
    }
    product
}

impl Operator for Determinant {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let [ref batch @ .., rows, columns] = *tensor.shape() else {
            return Err(OpError::shape(format!("matrices are wanted, not {} axes", tensor.rank())));
        };
        if rows != columns {
            return Err(OpError::shape(format!("{rows} × {columns} is no square matrix")));
        }
        let count = context.claim(batch, size_of::<f64>())?;
        for_dtype!(tensor.dtype(), T in [f32, f64, f16, bf16], {
            if rows == 0 {
                let one: T = 1.0_f64.as_();
                return Ok(vec![Tensor::new(batch, vec![one; count]).into()]);
            }
            let mut matrix = Vec::new();
            let mut of_one = |elements: &[T]| -> T {
                matrix.clear();
                matrix.extend(elements.iter().map(|x| -> f64 { (*x).as_() }));
                determinant(&mut matrix, rows).as_()
            };
            let out: Vec<T> = if count == 0 {
                Vec::new()
            } else {
                tensor.as_slice::<T>()?.chunks_exact(rows * rows).map(&mut of_one).collect()
            };
            Ok(vec![Tensor::new(batch, out).into()])
        }, else {
            Err(OpError::Type { expected: "a float type", found: tensor.dtype() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_swapped_where_a_zero_leads() {
        assert_eq!(determinant(&mut [0.0, 2.0, 3.0, 4.0], 2), -6.0);
        assert_eq!(determinant(&mut [1.0, 2.0, 2.0, 4.0], 2), 0.0);
        assert_eq!(determinant(&mut [2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0], 3), 24.0);
    }
}
