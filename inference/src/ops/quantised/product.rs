//! MatMulInteger and QLinearMatMul: <https://onnx.ai/onnx/operators/onnx__MatMulInteger.html>,
//! <https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html>

use super::requantize::{along, requantized, wide_scales, without_zeros};
use crate::error::OpError;
use crate::ops::broadcast::{for_rows, joint_shape, strides_in};
use crate::ops::elementwise::maths::vectorised;
use crate::ops::elementwise::pairs::pairwise_over;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::{Shape, Tensor};
use crate::value::Value;

#[derive(Debug)]
struct MatMulInteger;

pub(super) fn build(_spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(MatMulInteger))
}

/// Parameters of the left operand belong to its rows, those of the right one to its columns.
const ROWS: usize = 2;
const COLUMNS: usize = 1;

impl Operator for MatMulInteger {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let left = without_zeros(inputs.tensor(0)?, inputs.optional(2)?, ROWS, context)?;
        let right = without_zeros(inputs.tensor(1)?, inputs.optional(3)?, COLUMNS, context)?;
        Ok(vec![product(&left, &right, context)?.into()])
    }
}

#[derive(Debug)]
struct QLinearMatMul;

pub(super) fn build_requantized(_spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(QLinearMatMul))
}

impl Operator for QLinearMatMul {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let left = without_zeros(inputs.tensor(0)?, Some(inputs.tensor(2)?), ROWS, context)?;
        let right = without_zeros(inputs.tensor(3)?, Some(inputs.tensor(5)?), COLUMNS, context)?;
        let sums = product(&left, &right, context)?;
        let left_scale = along(wide_scales(inputs.tensor(1)?)?, ROWS)?;
        let right_scale = along(wide_scales(inputs.tensor(4)?)?, COLUMNS)?;
        let scale = along(wide_scales(inputs.tensor(6)?)?, ROWS)?;
        let factor = pairwise_over(left_scale, right_scale, context, |a: f64, b| a * b)?;
        let factor = pairwise_over(factor, scale, context, |a: f64, b| a / b)?;
        Ok(vec![requantized(sums, factor, inputs.tensor(7)?, context)?.into()])
    }
}

/// A matrix or a stack of them: the stack's shape, rows and columns.
fn matrices(shape: &[usize], is_left: bool) -> Result<(&[usize], usize, usize), OpError> {
    match shape {
        [] => Err(OpError::shape("a scalar is no matrix")),
        [size] if is_left => Ok((&[], 1, *size)),
        [size] => Ok((&[], *size, 1)),
        [stack @ .., rows, columns] => Ok((stack, *rows, *columns)),
    }
}

/// The matrix product of 32-bit integers.
fn product(left: &Tensor, right: &Tensor, context: &Context<'_>) -> Result<Tensor, OpError> {
    let (left_stack, rows, inner) = matrices(left.shape(), true)?;
    let (right_stack, right_inner, columns) = matrices(right.shape(), false)?;
    if inner != right_inner {
        return Err(OpError::shape(format!(
            "{:?} and {:?} cannot be multiplied: {inner} columns, {right_inner} rows",
            left.shape(),
            right.shape()
        )));
    }
    let mut stack = joint_shape(left_stack, right_stack)?;
    let shape: Shape = stack
        .iter()
        .copied()
        .chain((left.rank() > 1).then_some(rows))
        .chain((right.rank() > 1).then_some(columns))
        .collect();
    let mut out = vec![0_i32; context.claim(&shape, size_of::<i32>())?];
    let (a, b) = (left.as_slice::<i32>()?, right.as_slice::<i32>()?);
    let mut strides = [strides_in(left_stack, &stack), strides_in(right_stack, &stack)];
    // Each matrix is a row of one.
    stack.push(1);
    strides.iter_mut().for_each(|strides| strides.push(0));
    if out.is_empty() {
        return Ok(Tensor::new(shape, out));
    }
    let size = rows * columns;
    vectorised(|| {
        for_rows(&stack, &strides[0], &strides[1], |at, l, r| {
            let out = &mut out[at * size..(at + 1) * size];
            let a = &a[l * rows * inner..(l + 1) * rows * inner];
            let b = &b[r * inner * columns..(r + 1) * inner * columns];
            for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                let a = &a[row * inner..(row + 1) * inner];
                for (a, b) in a.iter().zip(b.chunks_exact(columns)) {
                    for (out, b) in out.iter_mut().zip(b) {
                        *out = out.wrapping_add(a.wrapping_mul(*b));
                    }
                }
            }
        });
    });
    Ok(Tensor::new(shape, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn stacks_broadcast_and_vectors_are_matrices() {
        let limits = Limits::default();
        let context = Context::new(&limits, 0);
        let left = Tensor::new([2, 1, 2], vec![1, 2, 3, 4]);
        let right = Tensor::new([2, 2], vec![1, 0, 0, 10]);
        let found = product(&left, &right, &context).unwrap();
        assert_eq!(
            (found.shape(), found.as_slice::<i32>().unwrap()),
            (&[2, 1, 2][..], &[1, 20, 3, 40][..])
        );
        let vector = Tensor::new([2], vec![1, 1]);
        let found = product(&vector, &vector, &context).unwrap();
        assert_eq!((found.shape(), found.as_slice::<i32>().unwrap()), (&[][..], &[2][..]));
        assert!(product(&Tensor::scalar(1), &vector, &context).is_err());
        assert!(product(&Tensor::new([3], vec![1; 3]), &vector, &context).is_err());
        let empty = Tensor::new([2, 0], vec![0_i32; 0]);
        let none = Tensor::new([0, 2], vec![0_i32; 0]);
        assert_eq!(product(&empty, &none, &context).unwrap().as_slice::<i32>().unwrap(), [0; 4]);
    }
}
