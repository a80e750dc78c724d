//! Floating-point arithmetic of two and more tensors that broadcast. Integers are left to the host, which says how they overflow.

use burn::backend::ops::{BoolTensorOps, FloatTensorOps};
use burn::backend::{Dispatch, DispatchTensor};

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::operands::Operands;
use super::tensor::DeviceTensor;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::NodeSpec;
use crate::ops::broadcast::joint_shape;
use crate::run::Context;
use crate::tensor::{Shape, elements_of};

pub(super) const FAMILY: &[(&str, BuildForm)] = &[
    ("Add", |spec| pairwise(spec, Dispatch::float_add)),
    ("Sub", |spec| pairwise(spec, Dispatch::float_sub)),
    ("Mul", |spec| pairwise(spec, Dispatch::float_mul)),
    ("Div", |spec| pairwise(spec, Dispatch::float_div)),
    ("Sum", |_| variadic(Combine::Sum)),
    ("Mean", |_| variadic(Combine::Mean)),
    ("Max", |_| variadic(Combine::Max)),
    ("Min", |_| variadic(Combine::Min)),
    ("Pow", pow),
    ("PRelu", prelu),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combine {
    Sum,
    Mean,
    Max,
    Min,
}

/// The shape that operands broadcast to, if a run may make a tensor of it.
pub(super) fn joint(
    operands: &Operands<'_>,
    places: impl IntoIterator<Item = usize>,
    context: &Context<'_>,
) -> Result<Shape, OpError> {
    let mut shape = Vec::new();
    for at in places {
        shape = joint_shape(&shape, operands.shape(at).unwrap_or_default())?;
    }
    context.claim(&shape, 8)?;
    Ok(shape)
}

/// Two operands with equally many axes.
pub(super) fn take_pair(
    operands: &mut Operands<'_>,
    rank: usize,
) -> Result<(DispatchTensor, DispatchTensor), OpError> {
    let left = operands.take(0)?.with_rank(rank);
    let right = operands.take(1)?.with_rank(rank);
    Ok((left.into_primitive(), right.into_primitive()))
}

fn pairwise(
    spec: &NodeSpec<'_>,
    function: fn(DispatchTensor, DispatchTensor) -> DispatchTensor,
) -> Option<Form> {
    if spec.version() < 7 && spec.has("axis") {
        return None;
    }
    Some(Form::new(move |operands, context| {
        let (Some(dtype), true) = (operands.floats(0..2), operands.len() == 2) else {
            return NOT_COVERED;
        };
        let shape = joint(operands, 0..2, context)?;
        let (left, right) = take_pair(operands, shape.len())?;
        one(DeviceTensor::shaped(function(left, right), &shape, dtype))
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn variadic(combine: Combine) -> Option<Form> {
    Some(Form::new(move |operands, context| {
        let count = operands.len();
        let Some(dtype) = operands.floats(0..count) else { return NOT_COVERED };
        let shape = joint(operands, 0..count, context)?;
        let mut result = operands.take(0)?.with_rank(shape.len()).into_primitive();
        for at in 1..count {
            let next = operands.take(at)?.with_rank(shape.len());
            result = match combine {
                Combine::Sum | Combine::Mean => Dispatch::float_add(result, next.into_primitive()),
                Combine::Max | Combine::Min => {
                    let result = DeviceTensor::of(result, dtype).expand(&shape).into_primitive();
                    let next = next.expand(&shape).into_primitive();
                    extreme(result, next, combine == Combine::Max, operands.target.bools)
                }
            };
        }
        if combine == Combine::Mean {
            #[expect(clippy::cast_precision_loss, reason = "a number of operands")]
            let divisor = count as f64;
            result = Dispatch::float_div_scalar(result, divisor.into());
        }
        one(DeviceTensor::shaped(result, &shape, dtype))
    }))
}

/// The larger or smaller of two; NaN if either is.
fn extreme(
    left: DispatchTensor,
    right: DispatchTensor,
    larger: bool,
    bools: burn::tensor::BoolDType,
) -> DispatchTensor {
    let keeps = if larger {
        Dispatch::float_greater_equal(left.clone(), right.clone(), bools)
    } else {
        Dispatch::float_lower_equal(left.clone(), right.clone(), bools)
    };
    let keeps = Dispatch::bool_or(keeps, Dispatch::float_is_nan(left.clone(), bools));
    Dispatch::float_mask_where(right, keeps, left)
}

/// Powers with a constant exponent of those that are written; others are computed too differently from device to device.
fn pow(spec: &NodeSpec<'_>) -> Option<Form> {
    if spec.version() < 7 {
        return None;
    }
    Some(Form::new(|operands, _| {
        let (Some((_, shape)), Some(other)) = (operands.float(0), operands.shape(1)) else {
            return NOT_COVERED;
        };
        if elements_of(other) != Some(1) || other.len() > shape.len() {
            return NOT_COVERED;
        }
        let exponent = operands.host(1)?.filter(|exponent| exponent.dtype() != DType::F64);
        let exponent = exponent.and_then(|exponent| exponent.to_f32s().ok()?.first().copied());
        let Some(exponent) = exponent else { return NOT_COVERED };
        let known = [-1.0, -0.5, 0.5, 1.0, 2.0, 3.0];
        let Some(known) = known.into_iter().position(|known| known.eq(&exponent)) else {
            return NOT_COVERED;
        };
        let squared = |x: DispatchTensor| Dispatch::float_mul(x.clone(), x);
        one(operands.take(0)?.map(|x| match known {
            0 => Dispatch::float_recip(x),
            1 => Dispatch::float_recip(Dispatch::float_sqrt(x)),
            2 => Dispatch::float_sqrt(x),
            3 => x,
            4 => squared(x),
            _ => Dispatch::float_mul(squared(x.clone()), x),
        }))
    }))
}

fn prelu(spec: &NodeSpec<'_>) -> Option<Form> {
    if spec.version() < 7 {
        return None;
    }
    Some(Form::new(|operands, context| {
        let Some(dtype) = operands.floats(0..2) else { return NOT_COVERED };
        let shape = joint(operands, 0..2, context)?;
        if operands.shape(0) != Some(&shape[..]) {
            return NOT_COVERED;
        }
        let bools = operands.target.bools;
        let (x, slope) = take_pair(operands, shape.len())?;
        let below = Dispatch::float_mul(x.clone(), slope);
        let negative = Dispatch::float_lower_elem(x.clone(), 0.0.into(), bools);
        let result = Dispatch::float_mask_where(x, negative, below);
        one(DeviceTensor::shaped(result, &shape, dtype))
    }))
}
