//! Products of matrices.

use burn::backend::Dispatch;
use burn::backend::ops::FloatTensorOps;

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::tensor::DeviceTensor;
use crate::error::OpError;
use crate::ops::NodeSpec;
use crate::ops::broadcast::joint_shape;
use crate::tensor::Shape;

pub(super) const FAMILY: &[(&str, BuildForm)] = &[("MatMul", |_| matmul()), ("Gemm", gemm)];

/// The shapes that two operands are multiplied as, and that of the result.
struct Product {
    left: Shape,
    right: Shape,
    result: Shape,
}

/// As NumPy has it: a vector is a row on the left and a column on the right, and that axis is gone afterwards.
fn product(left: &[usize], right: &[usize]) -> Result<Product, OpError> {
    let wrong = || OpError::shape(format!("{left:?} and {right:?} cannot be multiplied"));
    if left.is_empty() || right.is_empty() {
        return Err(wrong());
    }
    let mut rows = left.to_vec();
    if left.len() == 1 {
        rows.insert(0, 1);
    }
    let mut columns = right.to_vec();
    if right.len() == 1 {
        columns.push(1);
    }
    let (batch, [row_count, depth]) = rows.split_last_chunk::<2>().ok_or_else(wrong)?;
    let (other_batch, [same, column_count]) = columns.split_last_chunk::<2>().ok_or_else(wrong)?;
    if depth != same {
        return Err(wrong());
    }
    let mut result = joint_shape(batch, other_batch)?;
    if left.len() > 1 {
        result.push(*row_count);
    }
    if right.len() > 1 {
        result.push(*column_count);
    }
    Ok(Product { left: rows, right: columns, result })
}

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn matmul() -> Option<Form> {
    Some(Form::new(|operands, context| {
        let (Some(dtype), Some(left), Some(right)) =
            (operands.floats(0..2), operands.shape(0), operands.shape(1))
        else {
            return NOT_COVERED;
        };
        let product = product(left, right)?;
        context.claim(&product.result, dtype.bytes())?;
        let rank = product.left.len().max(product.right.len());
        let left = operands.take(0)?.reshape(&product.left).with_rank(rank);
        let right = operands.take(1)?.reshape(&product.right).with_rank(rank);
        let result = Dispatch::float_matmul(left.into_primitive(), right.into_primitive());
        one(DeviceTensor::shaped(result, &product.result, dtype))
    }))
}

fn gemm(spec: &NodeSpec<'_>) -> Option<Form> {
    let (alpha, beta) = (spec.float("alpha", 1.0).ok()?, spec.float("beta", 1.0).ok()?);
    let flipped = (spec.flag("transA", false).ok()?, spec.flag("transB", false).ok()?);
    if spec.version() < 7 {
        return None;
    }
    Some(Form::new(move |operands, context| {
        let (Some(dtype), Some([a, b]), Some([c, d])) =
            (operands.floats(0..3), operands.shape(0), operands.shape(1))
        else {
            return NOT_COVERED;
        };
        let (rows, depth) = if flipped.0 { (*b, *a) } else { (*a, *b) };
        let (same, columns) = if flipped.1 { (*d, *c) } else { (*c, *d) };
        let shape = [rows, columns];
        let added = operands.shape(2).unwrap_or_default();
        let fits = joint_shape(added, &shape).is_ok_and(|joint| joint == shape);
        if depth != same || !fits {
            return NOT_COVERED;
        }
        context.claim(&shape, dtype.bytes())?;
        let mut left = operands.take(0)?;
        if flipped.0 {
            left = left.permute(&[1, 0]);
        }
        let mut right = operands.take(1)?;
        if flipped.1 {
            right = right.permute(&[1, 0]);
        }
        let mut result = Dispatch::float_matmul(left.into_primitive(), right.into_primitive());
        let is_one = |factor: f32| (factor - 1.0).abs() < f32::EPSILON / 2.0;
        if !is_one(alpha) {
            result = Dispatch::float_mul_scalar(result, alpha.into());
        }
        if let Some(added) = operands.take_optional(2)? {
            let mut added = added.with_rank(2).into_primitive();
            if !is_one(beta) {
                added = Dispatch::float_mul_scalar(added, beta.into());
            }
            result = Dispatch::float_add(result, added);
        }
        one(DeviceTensor::shaped(result, &shape, dtype))
    }))
}
