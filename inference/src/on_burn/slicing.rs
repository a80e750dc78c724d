//! Operators that cut tensors into parts, and that put something around them.

use burn::backend::Dispatch;
use burn::backend::ops::{FloatTensorOps, PadMode};

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::operands::{Held, Operands};
use super::shaping::axis_in;
use super::tensor::DeviceTensor;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::{NodeSpec, axes_of, axis_of};

pub(super) const FAMILY: &[(&str, BuildForm)] = &[("Slice", slice), ("Split", split), ("Pad", pad)];

/// From, to, by: along one axis.
pub(super) type Range = (usize, usize, usize);

/// Where a slice begins and ends, along which axes, by which steps.
struct Cuts {
    starts: Vec<i64>,
    ends: Vec<i64>,
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
}

fn slice(spec: &NodeSpec<'_>) -> Option<Form> {
    // Before version 10 these were attributes.
    let declared = if spec.version() < 10 {
        let list = |name| spec.ints_opt(name).ok().map(|values| values.map(<[i64]>::to_vec));
        Some((list("starts")??, list("ends")??, list("axes")?))
    } else {
        None
    };
    Some(Form::new(move |operands, _| {
        if operands.tensor(0).is_none() {
            return NOT_COVERED;
        }
        let cuts = match &declared {
            Some((starts, ends, axes)) => {
                Cuts { starts: starts.clone(), ends: ends.clone(), axes: axes.clone(), steps: None }
            }
            None => Cuts {
                starts: operands.host_i64s(1)?.ok_or(OpError::Missing(1))?,
                ends: operands.host_i64s(2)?.ok_or(OpError::Missing(2))?,
                axes: operands.host_i64s(3)?,
                steps: operands.host_i64s(4)?,
            },
        };
        let Some(ranges) = cuts.ranges(operands.shape(0).unwrap_or_default())? else {
            return NOT_COVERED;
        };
        match operands.take(0)?.slice(&ranges) {
            Some(part) => one(part),
            None => Err(OpError::unsupported("a slice of such a size on a device")),
        }
    }))
}

impl Cuts {
    /// Ranges for all axes. `None`: backwards, or nothing is left.
    fn ranges(&self, shape: &[usize]) -> Result<Option<Vec<Range>>, OpError> {
        let count = self.starts.len();
        let counted: Vec<i64> = (0..i64::try_from(count).unwrap_or(0)).collect();
        let axes = self.axes.as_ref().unwrap_or(&counted);
        let ones = vec![1; count];
        let steps = self.steps.as_ref().unwrap_or(&ones);
        axes_of(axes, shape.len())?;
        if [self.ends.len(), axes.len(), steps.len()] != [count; 3] {
            return Ok(None);
        }
        let mut ranges: Vec<_> = shape.iter().map(|size| (0, *size, 1)).collect();
        for (at, axis) in axes.iter().enumerate() {
            let axis = axis_of(*axis, shape.len())?;
            let size = shape[axis];
            let Some(step) = usize::try_from(steps[at]).ok().filter(|step| *step > 0) else {
                return Ok(None);
            };
            let (start, end) = (place(self.starts[at], size), place(self.ends[at], size));
            if start >= end {
                return Ok(None);
            }
            ranges[axis] = (start, end, step);
        }
        Ok(Some(ranges))
    }
}

/// A place along an axis, counted from the end if negative, and kept within it.
fn place(at: i64, size: usize) -> usize {
    let signed = i64::try_from(size).unwrap_or(i64::MAX);
    let at = if at < 0 { at.saturating_add(signed) } else { at };
    usize::try_from(at.clamp(0, signed)).unwrap_or(size)
}

fn split(spec: &NodeSpec<'_>) -> Option<Form> {
    let axis = spec.int("axis", 0).ok()?;
    let declared = spec.ints_opt("split").ok()?.map(<[i64]>::to_vec);
    let count = spec.output_count();
    Some(Form::new(move |operands, _| {
        if operands.tensor(0).is_none() {
            return NOT_COVERED;
        }
        let sizes = match &declared {
            Some(sizes) => Some(sizes.clone()),
            None => operands.host_i64s(1)?,
        };
        let axis = axis_in(axis, operands, 0)?;
        let shape = operands.shape(0).unwrap_or_default().to_vec();
        let Some(sizes) = parts(sizes.as_deref(), shape[axis], count) else { return NOT_COVERED };
        let whole = operands.take(0)?;
        let mut outputs: Vec<Held> = Vec::with_capacity(sizes.len());
        let mut start = 0;
        for size in sizes {
            let mut ranges: Vec<_> = shape.iter().map(|size| (0, *size, 1)).collect();
            ranges[axis] = (start, start + size, 1);
            start += size;
            let part = whole.clone().slice(&ranges);
            outputs.push(part.ok_or_else(|| OpError::unsupported("a part of such a size"))?.into());
        }
        Ok(Some(outputs))
    }))
}

/// The sizes of the parts; none is empty.
fn parts(declared: Option<&[i64]>, size: usize, count: usize) -> Option<Vec<usize>> {
    let sizes: Vec<usize> = match declared {
        Some(sizes) => {
            sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<_>>()?
        }
        None => {
            let each = size.div_ceil(count.max(1));
            let last = size.checked_sub(each.checked_mul(count.checked_sub(1)?)?)?;
            let mut sizes = vec![each; count];
            *sizes.last_mut()? = last;
            sizes
        }
    };
    let sum = sizes.iter().try_fold(0_usize, |sum, size| sum.checked_add(*size));
    (sum == Some(size) && sizes.len() == count && !sizes.contains(&0)).then_some(sizes)
}

fn pad(spec: &NodeSpec<'_>) -> Option<Form> {
    if spec.text("mode", "constant").ok()? != "constant" {
        return None;
    }
    // Before version 11 these were attributes.
    let declared = if spec.version() < 11 {
        Some((spec.ints_opt("pads").ok()??.to_vec(), spec.float("value", 0.0).ok()?))
    } else {
        None
    };
    Some(Form::new(move |operands, context| {
        let Some(dtype) = operands.floats(0..1).filter(|dtype| *dtype != DType::F64) else {
            return NOT_COVERED;
        };
        let (amounts, value) = match &declared {
            Some((amounts, value)) => (Some(amounts.clone()), *value),
            None => (operands.host_i64s(1)?, value_of(operands)?),
        };
        let (shape, axes) = (operands.shape(0).unwrap_or_default().to_vec(), axes_for(operands)?);
        let Some(pads) = amounts.and_then(|amounts| pads_for(&amounts, &axes)) else {
            return NOT_COVERED;
        };
        let mut out = Vec::with_capacity(shape.len());
        for (size, (front, behind)) in shape.iter().zip(&pads) {
            out.push(size.saturating_add(*front).saturating_add(*behind));
        }
        context.claim(&out, dtype.bytes())?;
        let x = operands.take(0)?;
        if out == shape {
            return one(x);
        }
        let result = Dispatch::float_pad(x.into_primitive(), &pads, PadMode::Constant(value));
        one(DeviceTensor::shaped(result, &out, dtype))
    }))
}

fn value_of(operands: &mut Operands<'_>) -> Result<f32, OpError> {
    let Some(value) = operands.host(2)? else { return Ok(0.0) };
    let wrong = OpError::shape(format!("the value of Pad has shape {:?}", value.shape()));
    value.to_f32s()?.first().copied().ok_or(wrong)
}

/// For each axis, where its pads are in the list.
fn axes_for(operands: &mut Operands<'_>) -> Result<Vec<Option<usize>>, OpError> {
    let rank = operands.shape(0).unwrap_or_default().len();
    let Some(axes) = operands.host_i64s(3)? else { return Ok((0..rank).map(Some).collect()) };
    axes_of(&axes, rank)?;
    let mut places = vec![None; rank];
    for (at, axis) in axes.iter().enumerate() {
        places[axis_of(*axis, rank)?] = Some(at);
    }
    Ok(places)
}

/// Pads in front of and behind each axis. `None`: something is cut off, or the list has another length.
fn pads_for(amounts: &[i64], axes: &[Option<usize>]) -> Option<Vec<(usize, usize)>> {
    let count = axes.iter().flatten().count();
    if Some(amounts.len()) != count.checked_mul(2) {
        return None;
    }
    axes.iter()
        .map(|place| match place {
            None => Some((0, 0)),
            Some(at) => {
                let (front, behind) = (amounts.get(*at)?, amounts.get(at + count)?);
                Some((usize::try_from(*front).ok()?, usize::try_from(*behind).ok()?))
            }
        })
        .collect()
}
