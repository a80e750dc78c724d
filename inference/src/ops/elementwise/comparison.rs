//! Comparisons, IsInf and IsNaN: <https://onnx.ai/onnx/operators/onnx__Equal.html>

use half::{bf16, f16};

use super::pairs::{Placement, pairwise, same_type};
use crate::dtype::{DType, Element, for_dtype, for_number};
use crate::error::OpError;
use crate::ops::broadcast::{for_rows, joint_shape, strides_in};
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Equal,
    Less,
    LessOrEqual,
}

#[derive(Debug)]
struct Comparison {
    kind: Kind,
    /// Greater is Less the other way round.
    swapped: bool,
    placement: Placement,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let (kind, swapped) = match spec.op() {
        "Equal" => (Kind::Equal, false),
        "Less" => (Kind::Less, false),
        "LessOrEqual" => (Kind::LessOrEqual, false),
        "Greater" => (Kind::Less, true),
        _ => (Kind::LessOrEqual, true),
    };
    Ok(Box::new(Comparison { kind, swapped, placement: Placement::of(spec)? }))
}

impl Operator for Comparison {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (left, right) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        same_type(&left, &right)?;
        let right = self.placement.place(&left, right)?;
        let (left, right) = if self.swapped { (right, left) } else { (left, right) };
        let equal = matches!(self.kind, Kind::Equal);
        let out = match left.dtype() {
            DType::String if equal => equal_strings(&left, &right, context)?,
            DType::Bool if equal => compare::<u8>(Kind::Equal, &left, &right, context)?,
            dtype => for_number!(dtype, T, {
                compare::<T>(self.kind, &left, &right, context)?
            }, else {
                return Err(OpError::Type { expected: "a numeric type", found: dtype });
            }),
        };
        Ok(vec![out.into()])
    }
}

fn compare<T: Element>(
    kind: Kind,
    left: &Tensor,
    right: &Tensor,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    let bits = match kind {
        Kind::Equal => pairwise(left, right, context, |a: T, b: T| u8::from(a == b)),
        Kind::Less => pairwise(left, right, context, |a: T, b: T| u8::from(a < b)),
        Kind::LessOrEqual => pairwise(left, right, context, |a: T, b: T| u8::from(a <= b)),
    };
    Ok(bits?.retyped(DType::Bool))
}

fn equal_strings(left: &Tensor, right: &Tensor, context: &Context<'_>) -> Result<Tensor, OpError> {
    let shape = joint_shape(left.shape(), right.shape())?;
    let mut out = Vec::with_capacity(context.claim(&shape, 1)?);
    let (a, b) = (left.as_strings()?, right.as_strings()?);
    let (in_left, in_right) = (strides_in(left.shape(), &shape), strides_in(right.shape(), &shape));
    let last = shape.last().copied().unwrap_or(1);
    let step = |strides: &[usize]| strides.last().copied().unwrap_or(0);
    let (step_left, step_right) = (step(&in_left), step(&in_right));
    for_rows(&shape, &in_left, &in_right, |_, l, r| {
        out.extend((0..last).map(|at| a[l + at * step_left] == b[r + at * step_right]));
    });
    Ok(Tensor::bools(shape, out.into_iter()))
}

#[derive(Debug)]
enum Test {
    Nan,
    Infinite { negative: bool, positive: bool },
}

pub(super) fn build_test(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(if spec.op() == "IsNaN" {
        Test::Nan
    } else {
        Test::Infinite {
            negative: spec.flag("detect_negative", true)?,
            positive: spec.flag("detect_positive", true)?,
        }
    }))
}

impl Operator for Test {
    fn run(&self, inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let shape = tensor.shape().to_vec();
        for_dtype!(tensor.dtype(), T in [f32, f64, f16, bf16], {
            let values = tensor.as_slice::<T>()?.iter();
            let out = match self {
                Self::Nan => Tensor::bools(shape, values.map(|x| x.is_nan())),
                Self::Infinite { negative, positive } => {
                    let wanted = |x: &T| {
                        *negative && *x == T::NEG_INFINITY || *positive && *x == T::INFINITY
                    };
                    Tensor::bools(shape, values.map(wanted))
                }
            };
            Ok(vec![out.into()])
        }, else {
            self.small_floats(tensor)
        })
    }
}

impl Test {
    /// 8-bit floats: what their bits say.
    fn small_floats(&self, tensor: &Tensor) -> Result<Vec<Value>, OpError> {
        let wrong = OpError::Type { expected: "a float type", found: tensor.dtype() };
        let decoded = super::small_floats::decode(tensor)?.ok_or(wrong)?;
        self.run_decoded(&decoded)
    }

    fn run_decoded(&self, tensor: &Tensor) -> Result<Vec<Value>, OpError> {
        let values = tensor.as_slice::<f32>()?.iter();
        let wanted = |x: &f32| match self {
            Self::Nan => x.is_nan(),
            Self::Infinite { negative, positive } => {
                *negative && *x == f32::NEG_INFINITY || *positive && *x == f32::INFINITY
            }
        };
        Ok(vec![Tensor::bools(tensor.shape(), values.map(wanted)).into()])
    }
}
