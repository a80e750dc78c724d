//! Range, EyeLike, OneHot, Trilu: tensors whose elements follow from their places.
//!
//! <https://onnx.ai/onnx/operators/onnx__Range.html>

use half::{bf16, f16};
use num_traits::AsPrimitive;

use super::numbers::single;
use super::units::{Unit, claim_like, for_unit, writable};
use crate::dtype::{DType, Element, for_dtype, for_number};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

#[derive(Debug)]
struct Range {
    /// Steps of 16-bit floats are counted in a wider type, as since operator set 27.
    stashed: bool,
}

pub(super) fn range(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Range { stashed: spec.version() >= 27 }))
}

/// The one element of a tensor.
fn only<T: Element>(tensor: &Tensor) -> Result<T, OpError> {
    match tensor.as_slice::<T>()? {
        [value] => Ok(*value),
        values => Err(OpError::shape(format!("{} elements where one is wanted", values.len()))),
    }
}

impl Operator for Range {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of steps that is too large for memory is refused by the claim"
    )]
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (start, limit, delta) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        let dtype = start.dtype();
        if self.stashed && matches!(dtype, DType::F16 | DType::Bf16) {
            return Err(OpError::unsupported("a range of 16-bit floats computed in a wider type"));
        }
        for_dtype!(dtype, T in [f32, f64, f16, bf16], {
            let (start, limit, delta) = (only::<T>(start)?, only::<T>(limit)?, only::<T>(delta)?);
            let steps: f64 = ((limit - start) / delta).as_();
            if delta == T::ZERO || steps.is_nan() {
                return Err(OpError::shape(format!("a range from {start} to {limit} by {delta}")));
            }
            let elements = context.claim(&[steps.ceil().max(0.0) as usize], size_of::<T>())?;
            let element = |at: usize| {
                let at: T = (at as f64).as_();
                start + at * delta
            };
            let out: Vec<T> = (0..elements).map(element).collect();
            return Ok(vec![Tensor::new([elements], out).into()]);
        }, else {});
        for_dtype!(dtype, T in [i64, i32, i16], {
            let (start, limit, delta) = (only::<T>(start)?, only::<T>(limit)?, only::<T>(delta)?);
            if delta == 0 {
                return Err(OpError::shape("a range by steps of 0"));
            }
            let mut distance = i128::from(limit) - i128::from(start);
            let mut step = i128::from(delta);
            if step < 0 {
                (distance, step) = (-distance, -step);
            }
            let steps = (distance.max(0) + step - 1) / step;
            let elements = context.claim(&[steps as usize], size_of::<T>())?;
            let places = (0..elements).scan(start, |next, _| {
                let now = *next;
                *next = now.wrapping_add(delta);
                Some(now)
            });
            Ok(vec![Tensor::new([elements], places.collect::<Vec<T>>()).into()])
        }, else {
            Err(OpError::Type { expected: "a float or signed integer type", found: dtype })
        })
    }
}

#[derive(Debug)]
struct EyeLike {
    dtype: Option<DType>,
    diagonal: i64,
}

pub(super) fn eye_like(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let dtype = match spec.int_opt("dtype")? {
        None => None,
        Some(number) => {
            let dtype = i32::try_from(number).ok().and_then(DType::from_onnx);
            let unknown = || BuildError::unsupported(format!("element type {number}"));
            Some(dtype.ok_or_else(unknown)?)
        }
    };
    Ok(Box::new(EyeLike { dtype, diagonal: spec.int("k", 0)? }))
}

impl Operator for EyeLike {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let like = inputs.tensor(0)?;
        let [rows, columns] = *like.shape() else {
            return Err(OpError::shape(format!("a matrix is wanted, not {} axes", like.rank())));
        };
        let dtype = self.dtype.unwrap_or_else(|| like.dtype());
        let elements = context.claim(&[rows, columns], dtype.bytes())?;
        // Without columns there may be any number of rows.
        let rows_with_places = if elements == 0 { 0 } else { rows };
        let ones = (0..rows_with_places).filter_map(|row| {
            let column = i64::try_from(row).ok()?.checked_add(self.diagonal)?;
            let column = usize::try_from(column).ok().filter(|column| *column < columns)?;
            Some(row * columns + column)
        });
        if dtype == DType::Bool {
            let mut out = vec![0_u8; elements];
            ones.for_each(|place| out[place] = 1);
            return Ok(vec![Tensor::with_dtype(dtype, [rows, columns], out).into()]);
        }
        for_number!(dtype, T, {
            let mut out = vec![T::ZERO; elements];
            ones.for_each(|place| out[place] = T::ONE);
            Ok(vec![Tensor::new([rows, columns], out).into()])
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: dtype })
        })
    }
}

#[derive(Debug)]
struct OneHot {
    axis: i64,
}

pub(super) fn one_hot(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(OneHot { axis: spec.int("axis", -1)? }))
}

/// The elements as integers; floats are cut.
fn whole_numbers(tensor: &Tensor) -> Result<Vec<i64>, OpError> {
    for_number!(tensor.dtype(), T, {
        Ok(tensor.as_slice::<T>()?.iter().map(|value| (*value).as_()).collect())
    }, else {
        Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() })
    })
}

impl Operator for OneHot {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (indices, values) = (inputs.tensor(0)?, inputs.tensor(2)?);
        let [depth] = whole_numbers(inputs.tensor(1)?)?[..] else {
            return Err(OpError::shape("the depth is not one number"));
        };
        let wrong = || OpError::shape(format!("a depth of {depth}"));
        let size = usize::try_from(depth).map_err(|_| wrong())?;
        if values.len() != 2 {
            return Err(OpError::shape(format!("{} values, not off and on", values.len())));
        }
        let axis = axis_of(self.axis, indices.rank() + 1)?;
        let mut shape = indices.shape().to_vec();
        shape.insert(axis, size);
        let elements = claim_like(context, values, &shape)?;
        context.claim(indices.shape(), size_of::<i64>())?;
        let inner = elements_of(&shape[axis + 1..]).unwrap_or(0);
        let places = whole_numbers(indices)?;
        for_unit!(values.dtype(), T, {
            let pair = T::of(values)?;
            let mut out = vec![T::clone(&pair[0]); elements];
            for (at, index) in places.into_iter().enumerate() {
                let index = if index < 0 { index.saturating_add(depth) } else { index };
                // What is out of range is on nowhere.
                if let Some(index) = usize::try_from(index).ok().filter(|index| *index < size) {
                    out[(at / inner * size + index) * inner + at % inner].clone_from(&pair[1]);
                }
            }
            Ok(vec![T::tensor(values.dtype(), shape, out).into()])
        })
    }
}

#[derive(Debug)]
struct Trilu {
    upper: bool,
}

pub(super) fn trilu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Trilu { upper: spec.flag("upper", true)? }))
}

impl Operator for Trilu {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let diagonal = if inputs.get(1).is_some() { single(&inputs, 1)? } else { 0 };
        let [.., rows, columns] = *tensor.shape() else {
            return Err(OpError::shape(format!("matrices are wanted, not {} axes", tensor.rank())));
        };
        if tensor.is_empty() {
            return Ok(vec![tensor.into()]);
        }
        // Where the kept part begins (upper) or the part behind the kept one (lower).
        let edge = |row: usize| {
            let row = i64::try_from(row).unwrap_or(i64::MAX);
            let edge = row.saturating_add(diagonal).saturating_add(i64::from(!self.upper));
            usize::try_from(edge).unwrap_or(0).min(columns)
        };
        for_unit!(tensor.dtype(), T, {
            let mut tensor = writable::<T>(tensor)?;
            let out = T::of_mut(&mut tensor).unwrap_or_default();
            for (at, row) in out.chunks_exact_mut(columns).enumerate() {
                let edge = edge(at % rows);
                let cleared = if self.upper { &mut row[..edge] } else { &mut row[edge..] };
                cleared.fill(T::default());
            }
            Ok(vec![tensor.into()])
        })
    }
}
