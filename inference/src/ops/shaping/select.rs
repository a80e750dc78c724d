//! NonZero, Compress, ReverseSequence: <https://onnx.ai/onnx/operators/onnx__NonZero.html>

use super::units::{Unit, for_unit};
use crate::dtype::{DType, Element, for_number};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

#[derive(Debug)]
struct NonZero;

pub(super) fn non_zero(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(NonZero))
}

fn places_not_zero<T: Element>(
    elements: &[T],
    context: &Context<'_>,
) -> Result<Vec<usize>, OpError> {
    // A place weighs more than an element may.
    let count = elements.iter().filter(|element| **element != T::ZERO).count();
    let mut places = Vec::with_capacity(context.claim(&[count], size_of::<usize>())?);
    let found = elements.iter().enumerate().filter(|(_, element)| **element != T::ZERO);
    places.extend(found.map(|(place, _)| place));
    Ok(places)
}

impl Operator for NonZero {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        if tensor.rank() == 0 {
            return Err(OpError::unsupported("places of a tensor without axes"));
        }
        let places = if tensor.dtype() == DType::Bool {
            places_not_zero(tensor.as_slice::<u8>()?, context)?
        } else {
            for_number!(tensor.dtype(), T, {
                places_not_zero(tensor.as_slice::<T>()?, context)?
            }, else {
                return Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() });
            })
        };
        let shape = vec![tensor.rank(), places.len()];
        let elements = context.claim(&shape, size_of::<i64>())?;
        let mut out = vec![0_i64; elements];
        if !places.is_empty() {
            let mut rest = places;
            for (row, size) in
                out.chunks_exact_mut(rest.len()).rev().zip(tensor.shape().iter().rev())
            {
                for (index, rest) in row.iter_mut().zip(&mut rest) {
                    *index = i64::try_from(*rest % size).unwrap_or(i64::MAX);
                    *rest /= size;
                }
            }
        }
        Ok(vec![Tensor::new(shape, out).into()])
    }
}

#[derive(Debug)]
struct Compress {
    /// `None`: the elements as one axis.
    axis: Option<i64>,
}

pub(super) fn compress(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Compress { axis: spec.int_opt("axis")? }))
}

impl Operator for Compress {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (tensor, condition) = (inputs.tensor(0)?, inputs.tensor(1)?);
        if condition.dtype() != DType::Bool || condition.rank() != 1 {
            return Err(OpError::shape(format!(
                "the condition is {} of {} axes, booleans on one are wanted",
                condition.dtype(),
                condition.rank()
            )));
        }
        let (axis, shape) = match self.axis {
            Some(axis) => (axis_of(axis, tensor.rank())?, tensor.shape().to_vec()),
            None => (0, vec![tensor.len()]),
        };
        let kept = places_not_zero(condition.as_slice::<u8>()?, context)?;
        let (size, inner) = (shape[axis], elements_of(&shape[axis + 1..]).unwrap_or(0));
        if let Some(place) = kept.iter().find(|place| **place >= size) {
            return Err(OpError::shape(format!("place {place} is chosen of an axis of {size}")));
        }
        let mut chosen = shape;
        chosen[axis] = kept.len();
        for_unit!(tensor.dtype(), T, {
            let source = T::of(tensor)?;
            let mut out: Vec<T> = Vec::new();
            if !source.is_empty() {
                out.reserve(source.len() / size * kept.len());
                for block in source.chunks_exact(size * inner) {
                    for place in &kept {
                        out.extend_from_slice(&block[place * inner..(place + 1) * inner]);
                    }
                }
            }
            Ok(vec![T::tensor(tensor.dtype(), chosen, out).into()])
        })
    }
}

#[derive(Debug)]
struct ReverseSequence {
    /// Whether the batch is the first axis and time the second; else the other way round.
    batch_first: bool,
}

pub(super) fn reverse_sequence(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    match (spec.int("batch_axis", 1)?, spec.int("time_axis", 0)?) {
        (0, 1) => Ok(Box::new(ReverseSequence { batch_first: true })),
        (1, 0) => Ok(Box::new(ReverseSequence { batch_first: false })),
        (batch, time) => Err(BuildError::invalid(format!(
            "the batch is axis {batch} and time axis {time}; they have to be 0 and 1"
        ))),
    }
}

impl Operator for ReverseSequence {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (tensor, lengths) = (inputs.tensor(0)?, inputs.tensor(1)?.to_i64s()?);
        let [first, second, ref rest @ ..] = *tensor.shape() else {
            return Err(OpError::shape(format!("two axes are wanted, not {}", tensor.rank())));
        };
        let (batch, time) = if self.batch_first { (first, second) } else { (second, first) };
        let lengths: Vec<usize> = lengths
            .iter()
            .map(|length| usize::try_from(*length).ok().filter(|length| *length <= time))
            .collect::<Option<_>>()
            .filter(|lengths: &Vec<usize>| lengths.len() == batch)
            .ok_or_else(|| {
                OpError::shape(format!("lengths {lengths:?} for a batch of {batch} × {time}"))
            })?;
        let inner = elements_of(rest).unwrap_or(0);
        let place = |batch: usize, time: usize| {
            let row = if self.batch_first { batch * second + time } else { time * second + batch };
            row * inner
        };
        for_unit!(tensor.dtype(), T, {
            let source = T::of(tensor)?;
            let mut out = source.to_vec();
            if !source.is_empty() {
                for (batch, length) in lengths.iter().enumerate() {
                    for time in 0..*length {
                        let (to, from) = (place(batch, time), place(batch, length - 1 - time));
                        out[to..to + inner].clone_from_slice(&source[from..from + inner]);
                    }
                }
            }
            Ok(vec![T::tensor(tensor.dtype(), tensor.shape().to_vec(), out).into()])
        })
    }
}
