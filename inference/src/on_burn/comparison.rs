//! Comparisons, logic, choices by a mask, and conversions between types.

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, DispatchTensor};
use burn::tensor::BoolDType;

use super::arithmetic::{joint, take_pair};
use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::tensor::DeviceTensor;
use crate::dtype::DType;
use crate::ops::NodeSpec;

pub(super) const FAMILY: &[(&str, BuildForm)] = &[
    ("Equal", |spec| compare(spec, Dispatch::float_equal, Dispatch::int_equal)),
    ("Greater", |spec| compare(spec, Dispatch::float_greater, Dispatch::int_greater)),
    ("GreaterOrEqual", |spec| {
        compare(spec, Dispatch::float_greater_equal, Dispatch::int_greater_equal)
    }),
    ("Less", |spec| compare(spec, Dispatch::float_lower, Dispatch::int_lower)),
    ("LessOrEqual", |spec| compare(spec, Dispatch::float_lower_equal, Dispatch::int_lower_equal)),
    ("And", |spec| logic(spec, Dispatch::bool_and)),
    ("Or", |spec| logic(spec, Dispatch::bool_or)),
    ("Xor", |spec| logic(spec, Dispatch::bool_xor)),
    ("Not", |_| not()),
    ("IsNaN", |_| is_nan()),
    ("Where", |_| choose()),
    ("Cast", cast),
];

type Compare = fn(DispatchTensor, DispatchTensor, BoolDType) -> DispatchTensor;

fn compare(spec: &NodeSpec<'_>, floats: Compare, integers: Compare) -> Option<Form> {
    if spec.version() < 7 {
        return None;
    }
    Some(Form::new(move |operands, context| {
        let (Some((dtype, _)), Some((other, _))) = (operands.tensor(0), operands.tensor(1)) else {
            return NOT_COVERED;
        };
        if dtype != other || dtype == DType::Bool {
            return NOT_COVERED;
        }
        let shape = joint(operands, 0..2, context)?;
        let bools = operands.target.bools;
        let (left, right) = take_pair(operands, shape.len())?;
        let compare = if dtype.is_float() { floats } else { integers };
        one(DeviceTensor::shaped(compare(left, right, bools), &shape, DType::Bool))
    }))
}

fn logic(
    spec: &NodeSpec<'_>,
    function: fn(DispatchTensor, DispatchTensor) -> DispatchTensor,
) -> Option<Form> {
    if spec.version() < 7 {
        return None;
    }
    Some(Form::new(move |operands, context| {
        let is_bool = |at| matches!(operands.tensor(at), Some((DType::Bool, _)));
        if !is_bool(0) || !is_bool(1) {
            return NOT_COVERED;
        }
        let shape = joint(operands, 0..2, context)?;
        let left = operands.take(0)?.expand(&shape).into_primitive();
        let right = operands.take(1)?.expand(&shape).into_primitive();
        one(DeviceTensor::shaped(function(left, right), &shape, DType::Bool))
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn not() -> Option<Form> {
    Some(Form::new(|operands, _| {
        if !matches!(operands.tensor(0), Some((DType::Bool, _))) {
            return NOT_COVERED;
        }
        one(operands.take(0)?.map(Dispatch::bool_not))
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn is_nan() -> Option<Form> {
    Some(Form::new(|operands, _| {
        let Some(shape) = operands.float(0).map(|(_, shape)| shape.to_vec()) else {
            return NOT_COVERED;
        };
        let bools = operands.target.bools;
        let result = Dispatch::float_is_nan(operands.take(0)?.into_primitive(), bools);
        one(DeviceTensor::shaped(result, &shape, DType::Bool))
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn choose() -> Option<Form> {
    Some(Form::new(|operands, context| {
        let mask = operands.tensor(0).map(|(dtype, _)| dtype);
        let chosen = operands.tensor(1).map(|(dtype, _)| dtype);
        let other = operands.tensor(2).map(|(dtype, _)| dtype);
        if mask != Some(DType::Bool) || chosen.is_none() || chosen != other {
            return NOT_COVERED;
        }
        let shape = joint(operands, 0..3, context)?;
        let mask = operands.take(0)?.expand(&shape);
        let chosen = operands.take(1)?.expand(&shape);
        let other = operands.take(2)?.expand(&shape);
        one(other.replaced_where(mask, chosen))
    }))
}

fn cast(spec: &NodeSpec<'_>) -> Option<Form> {
    let to = i32::try_from(spec.int_opt("to").ok()??).ok().and_then(DType::from_onnx)?;
    Some(Form::new(move |operands, _| {
        let Some((from, shape)) = operands.tensor(0).filter(|_| operands.target.takes(to)) else {
            return NOT_COVERED;
        };
        let shape = shape.to_vec();
        // What does not fit an integer is a matter of the host's.
        let fits = to.is_float() || to == from || (from, to) == (DType::I32, DType::I64);
        let fits = fits || to == DType::Bool || (from == DType::Bool && to.to_burn().is_some());
        let Some(burn) = to.to_burn().or(from.to_burn()).filter(|_| fits) else {
            return NOT_COVERED;
        };
        let bools = operands.target.bools;
        let tensor = operands.take(0)?;
        if from == to {
            return one(tensor);
        }
        let x = tensor.into_primitive();
        let result = match (from, to) {
            (DType::Bool, to) if to.is_float() => Dispatch::bool_into_float(x, burn.into()),
            (DType::Bool, _) => Dispatch::bool_into_int(x, burn.into()),
            (from, DType::Bool) if from.is_float() => {
                Dispatch::float_not_equal_elem(x, 0.0.into(), bools)
            }
            (_, DType::Bool) => Dispatch::int_not_equal_elem(x, 0_i64.into(), bools),
            (from, _) if from.is_float() => Dispatch::float_cast(x, burn.into()),
            (_, to) if to.is_float() => Dispatch::int_into_float(x, burn.into()),
            _ => Dispatch::int_cast(x, burn.into()),
        };
        one(DeviceTensor::shaped(result, &shape, to))
    }))
}
