//! Operators that put elements together: from several tensors, by indices, by repetition.

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::shaping::axis_in;
use super::tensor::DeviceTensor;
use crate::error::OpError;
use crate::ops::NodeSpec;

pub(super) const FAMILY: &[(&str, BuildForm)] = &[
    ("Concat", concatenate),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("Tile", tile),
];

fn concatenate(spec: &NodeSpec<'_>) -> Option<Form> {
    let axis = spec.int("axis", 1).ok()?;
    Some(Form::new(move |operands, context| {
        let Some((dtype, shape)) = operands.tensor(0) else { return NOT_COVERED };
        let mut shape = shape.to_vec();
        let axis = axis_in(axis, operands, 0)?;
        for at in 1..operands.len() {
            let Some((other, next)) = operands.tensor(at) else { return NOT_COVERED };
            let same = |along: usize| along == axis || shape[along] == next[along];
            if other != dtype || next.len() != shape.len() || !(0..shape.len()).all(same) {
                return NOT_COVERED;
            }
            shape[axis] = shape[axis].saturating_add(next[axis]);
        }
        context.claim(&shape, dtype.bytes())?;
        let tensors = (0..operands.len()).map(|at| operands.take(at)).collect::<Result<_, _>>()?;
        one(DeviceTensor::concatenate(tensors, axis, dtype))
    }))
}

/// Indices counted from the front, all of which are there: a GPU would read whatever lies beyond.
fn within(indices: &mut [i64], size: usize) -> Result<(), OpError> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    for index in indices {
        let counted = if *index < 0 { index.saturating_add(size) } else { *index };
        if !(0..size).contains(&counted) {
            return Err(OpError::shape(format!("index {index} is out of range for {size} places")));
        }
        *index = counted;
    }
    Ok(())
}

fn gather(spec: &NodeSpec<'_>) -> Option<Form> {
    let axis = spec.int("axis", 0).ok()?;
    Some(Form::new(move |operands, context| {
        let (Some(dtype), Some(indices)) = (operands.dtype(0), operands.host(1)?) else {
            return NOT_COVERED;
        };
        let axis = axis_in(axis, operands, 0)?;
        let from = operands.shape(0).unwrap_or_default();
        let mut places = indices.to_i64s()?;
        within(&mut places, from[axis])?;
        let mut shape = from[..axis].to_vec();
        shape.extend(indices.shape());
        shape.extend(&from[axis + 1..]);
        context.claim(&shape, dtype.bytes())?;
        let flat = [places.len()];
        let places = DeviceTensor::upload_indices(&places, &flat, operands.target)?;
        one(operands.take(0)?.select(axis, places).reshape(&shape))
    }))
}

fn gather_elements(spec: &NodeSpec<'_>) -> Option<Form> {
    let axis = spec.int("axis", 0).ok()?;
    Some(Form::new(move |operands, context| {
        let (Some(dtype), Some(indices)) = (operands.dtype(0), operands.host(1)?) else {
            return NOT_COVERED;
        };
        let axis = axis_in(axis, operands, 0)?;
        let from = operands.shape(0).unwrap_or_default();
        let shape = indices.shape();
        // Fewer indices than places along another axis: not every backend takes that.
        let same = |along: usize| along == axis || shape[along] == from[along];
        if shape.len() != from.len() || !(0..shape.len()).all(same) {
            return NOT_COVERED;
        }
        let mut places = indices.to_i64s()?;
        within(&mut places, from[axis])?;
        context.claim(shape, dtype.bytes())?;
        let places = DeviceTensor::upload_indices(&places, shape, operands.target)?;
        one(operands.take(0)?.gather(axis, places))
    }))
}

fn tile(spec: &NodeSpec<'_>) -> Option<Form> {
    if spec.version() < 6 {
        return None;
    }
    Some(Form::new(|operands, context| {
        let (Some(dtype), Some(repeats)) = (operands.dtype(0), operands.host_i64s(1)?) else {
            return NOT_COVERED;
        };
        let shape = operands.shape(0).unwrap_or_default();
        let times = repeats.iter().map(|times| usize::try_from(*times).ok());
        let times = times.map(|times| times.filter(|times| *times > 0)).collect::<Option<Vec<_>>>();
        let Some(times) = times.filter(|times| times.len() == shape.len()) else {
            return NOT_COVERED;
        };
        let out: Vec<usize> =
            shape.iter().zip(&times).map(|(size, times)| size.saturating_mul(*times)).collect();
        context.claim(&out, dtype.bytes())?;
        let mut x = operands.take(0)?;
        for (axis, times) in times.into_iter().enumerate().filter(|(_, times)| *times > 1) {
            x = x.repeat(axis, times);
        }
        one(x)
    }))
}
