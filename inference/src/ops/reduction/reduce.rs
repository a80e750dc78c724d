//! ReduceSum, ReduceMean and the eight others: <https://onnx.ai/onnx/operators/onnx__ReduceSum.html>
//!
//! Neighbouring axes that are reduced are one; each such run is folded on its own, the last one first. Halves are computed in f32.
//! Integers wrap; roots and logarithms of them are computed in f64 and cut.

use half::{bf16, f16};
use num_traits::{AsPrimitive, Bounded, Float, WrappingAdd, WrappingMul, WrappingSub};

use super::fold::fold;
use super::lines::Extent;
use crate::dtype::{DType, Element, for_dtype};
use crate::error::OpError;
use crate::ops::shaping::numbers::Numbers;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axes_of};
use crate::run::Context;
use crate::tensor::{Shape, Tensor};
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

#[derive(Debug)]
struct Reduce {
    kind: Kind,
    axes: Numbers,
    keep_axes: bool,
    /// Whether no axes mean none; else they mean all.
    none_without_axes: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let kind = match spec.op() {
        "ReduceL1" => Kind::L1,
        "ReduceL2" => Kind::L2,
        "ReduceLogSum" => Kind::LogSum,
        "ReduceLogSumExp" => Kind::LogSumExp,
        "ReduceMax" => Kind::Max,
        "ReduceMean" => Kind::Mean,
        "ReduceMin" => Kind::Min,
        "ReduceProd" => Kind::Prod,
        "ReduceSum" => Kind::Sum,
        _ => Kind::SumSquare,
    };
    let since = if kind == Kind::Sum { 13 } else { 18 };
    Ok(Box::new(Reduce {
        kind,
        axes: Numbers::read(spec, "axes", 1, since)?,
        keep_axes: spec.flag("keepdims", true)?,
        none_without_axes: spec.flag("noop_with_empty_axes", false)?,
    }))
}

/// What is to be done with an operand's shape.
struct Course {
    /// Runs of reduced axes, the last one first.
    extents: Vec<Extent>,
    shape: Shape,
    /// How many elements make one.
    count: usize,
}

impl Course {
    fn of(shape: &[usize], axes: &[usize], keep_axes: bool) -> Result<Self, OpError> {
        let mut reduced = vec![false; shape.len()];
        axes.iter().for_each(|axis| reduced[*axis] = true);
        let too_large = || OpError::shape("the sizes of an empty tensor are too large to reduce");
        let mut now = shape.to_vec();
        let (mut extents, mut count) = (Vec::new(), 1_usize);
        let mut end = shape.len();
        while end > 0 {
            let start = (0..end).rev().find(|at| reduced[*at] != reduced[end - 1]);
            let start = start.map_or(0, |at| at + 1);
            if reduced[end - 1] {
                let extent = Extent::joining(&now, start..end);
                count = count.checked_mul(extent.size).ok_or_else(too_large)?;
                now[start..end].fill(1);
                extents.push(extent);
            }
            end = start;
        }
        let kept = |axis: &usize| keep_axes || !reduced[*axis];
        let shape = (0..shape.len()).filter(kept).map(|axis| now[axis]).collect();
        Ok(Self { extents, shape, count })
    }
}

impl Operator for Reduce {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let named = self.axes.get_or_empty(&inputs)?;
        let axes = if !named.is_empty() {
            axes_of(&named, tensor.rank())?
        } else if self.none_without_axes {
            return self.left_alone(tensor);
        } else {
            (0..tensor.rank()).collect()
        };
        let course = Course::of(tensor.shape(), &axes, self.keep_axes)?;
        // An axis of size 0 that is reduced leaves others that nothing has bounded yet.
        context.claim(&course.shape, tensor.dtype().bytes().max(size_of::<f64>()))?;
        for extent in &course.extents {
            context.claim(&[extent.outer, extent.inner], size_of::<f64>())?;
        }
        Ok(vec![self.reduced(&tensor, course)?.into()])
    }
}

impl Reduce {
    fn left_alone(&self, tensor: Tensor) -> Result<Vec<Value>, OpError> {
        match self.kind {
            Kind::L1 | Kind::L2 | Kind::LogSum | Kind::SumSquare => Err(OpError::unsupported(
                "no axes for a reduction that changes single elements: versions differ in what is meant",
            )),
            _ => Ok(vec![tensor.into()]),
        }
    }

    fn reduced(&self, tensor: &Tensor, course: Course) -> Result<Tensor, OpError> {
        let dtype = tensor.dtype();
        for_dtype!(dtype, T in [f32, f64], {
            return Ok(Tensor::new(course.shape.clone(), floats(self.kind, tensor.as_slice::<T>()?, &course)));
        }, else {});
        for_dtype!(dtype, T in [f16, bf16], {
            let wide: Vec<f32> = tensor.as_slice::<T>()?.iter().map(|x| x.to_f32()).collect();
            let out = floats(self.kind, &wide, &course).into_iter().map(T::from_f32).collect();
            return Ok(Tensor::new(course.shape, out));
        }, else {});
        if dtype == DType::Bool && matches!(self.kind, Kind::Max | Kind::Min) {
            let limits = (0, 1);
            let out = extremes(self.kind, tensor.as_slice::<u8>()?, &course, limits);
            return Ok(Tensor::with_dtype(dtype, course.shape, out));
        }
        for_dtype!(dtype, T in [i32, i64, u32, u64, i8, u8, i16, u16], {
            let data = tensor.as_slice::<T>()?;
            if matches!(self.kind, Kind::L2 | Kind::LogSum | Kind::LogSumExp) {
                let wide: Vec<f64> = data.iter().map(|x| (*x).as_()).collect();
                let out = floats(self.kind, &wide, &course).into_iter().map(AsPrimitive::<T>::as_).collect();
                return Ok(Tensor::new(course.shape, out));
            }
            if self.kind == Kind::Mean && course.count == 0 {
                return Err(OpError::shape("the mean of no integers"));
            }
            let out = integers(self.kind, data, &course)?;
            Ok(Tensor::new(course.shape, out))
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: dtype })
        })
    }
}

/// Folds run by run. The first fold may change elements as it takes them in, the others only join.
fn runs<T: Copy>(
    data: &[T],
    course: &Course,
    first: T,
    add: impl Fn(T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> Vec<T> {
    let Some((innermost, others)) = course.extents.split_first() else {
        return data.iter().map(|element| add(first, *element)).collect();
    };
    let mut out = fold(data, *innermost, first, add, &join);
    for extent in others {
        out = fold(&out, *extent, first, &join, &join);
    }
    out
}

fn extremes<T: Copy + PartialOrd>(
    kind: Kind,
    data: &[T],
    course: &Course,
    (least, most): (T, T),
) -> Vec<T> {
    // What does not equal itself is NaN, and stays.
    #[expect(clippy::eq_op, reason = "tells NaN for any element type")]
    let larger = |a: T, b: T| if b > a || b != b { b } else { a };
    #[expect(clippy::eq_op, reason = "tells NaN for any element type")]
    let smaller = |a: T, b: T| if b < a || b != b { b } else { a };
    if kind == Kind::Max {
        runs(data, course, least, larger, larger)
    } else {
        runs(data, course, most, smaller, smaller)
    }
}

fn floats<T: Element + Float + 'static>(kind: Kind, data: &[T], course: &Course) -> Vec<T>
where
    usize: AsPrimitive<T>,
{
    let (zero, one) = (T::ZERO, T::ONE);
    let plus = |a: T, b: T| a + b;
    let each = |mut out: Vec<T>, f: fn(T) -> T| {
        out.iter_mut().for_each(|x| *x = f(*x));
        out
    };
    match kind {
        Kind::Sum => runs(data, course, zero, plus, plus),
        Kind::L1 => runs(data, course, zero, |a, b| a + b.abs(), plus),
        Kind::SumSquare => runs(data, course, zero, |a, b| a + b * b, plus),
        Kind::L2 => each(runs(data, course, zero, |a, b| a + b * b, plus), T::sqrt),
        Kind::LogSum => each(runs(data, course, zero, plus, plus), T::ln),
        Kind::Prod => runs(data, course, one, |a, b| a * b, |a, b| a * b),
        Kind::Mean => {
            let count: T = course.count.as_();
            let mut out = runs(data, course, zero, plus, plus);
            out.iter_mut().for_each(|x| *x = *x / count);
            out
        }
        Kind::Max | Kind::Min => extremes(kind, data, course, (T::neg_infinity(), T::infinity())),
        Kind::LogSumExp => {
            let mut data = data.to_vec();
            for extent in &course.extents {
                data = log_sum_exp(&data, *extent);
            }
            data
        }
    }
}

fn log_sum_exp<T: Element + Float>(data: &[T], extent: Extent) -> Vec<T> {
    let largest = |a: T, b: T| if b > a || b.is_nan() { b } else { a };
    let tops = fold(data, extent, T::neg_infinity(), largest, largest);
    let mut totals = vec![T::ZERO; tops.len()];
    let Extent { size, inner, .. } = extent;
    // An infinite top is the answer itself, and nothing may be subtracted from it.
    let base = |top: T| if top.is_infinite() { T::ZERO } else { top };
    if !data.is_empty() {
        let blocks = data.chunks_exact(size * inner);
        let rows = totals.chunks_exact_mut(inner).zip(tops.chunks_exact(inner));
        for (block, (totals, tops)) in blocks.zip(rows) {
            for elements in block.chunks_exact(inner) {
                for ((total, top), element) in totals.iter_mut().zip(tops).zip(elements) {
                    *total = *total + (*element - base(*top)).exp();
                }
            }
        }
    }
    totals.iter().zip(&tops).map(|(total, top)| total.ln() + base(*top)).collect()
}

fn integers<T>(kind: Kind, data: &[T], course: &Course) -> Result<Vec<T>, OpError>
where
    T: Element
        + Bounded
        + WrappingAdd
        + WrappingSub
        + WrappingMul
        + std::ops::Div<Output = T>
        + TryFrom<usize>,
{
    let (zero, one) = (T::ZERO, T::ONE);
    let plus = |a: T, b: T| a.wrapping_add(&b);
    let times = |a: T, b: T| a.wrapping_mul(&b);
    Ok(match kind {
        Kind::L1 => {
            let absolute = |x: T| if x < zero { zero.wrapping_sub(&x) } else { x };
            runs(data, course, zero, |a, b| plus(a, absolute(b)), plus)
        }
        Kind::SumSquare => runs(data, course, zero, |a, b| plus(a, times(b, b)), plus),
        Kind::Prod => runs(data, course, one, times, times),
        Kind::Max | Kind::Min => extremes(kind, data, course, (T::min_value(), T::max_value())),
        Kind::Mean => {
            let count = T::try_from(course.count).map_err(|_| {
                OpError::unsupported(format!(
                    "the mean of {} integers of {}",
                    course.count,
                    T::DTYPE
                ))
            })?;
            runs(data, course, zero, plus, plus).into_iter().map(|sum| sum / count).collect()
        }
        _ => runs(data, course, zero, plus, plus),
    })
}
