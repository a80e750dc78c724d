//! Pad and CenterCropPad: <https://onnx.ai/onnx/operators/onnx__Pad.html>
//!
//! A negative pad crops.

use half::{bf16, f16};
use num_traits::AsPrimitive;

use super::numbers::{Numbers, axes_in_order, shape_of};
use super::units::{Unit, claim_like, for_unit, require_same_type};
use super::view::row_major;
use crate::dtype::{DType, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::{Shape, Tensor};
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Constant,
    /// Mirrored at the edge, which is not repeated.
    Reflect,
    Edge,
    /// From the other side.
    Wrap,
}

#[derive(Debug)]
struct Pad {
    mode: Mode,
    pads: Numbers,
    axes: Numbers,
    /// The value, where it is an attribute; else it is an operand.
    value: Option<f32>,
}

pub(super) fn pad(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let mode = match spec.text("mode", "constant")? {
        "constant" => Mode::Constant,
        "reflect" => Mode::Reflect,
        "edge" => Mode::Edge,
        "wrap" => Mode::Wrap,
        other => return Err(BuildError::invalid(format!("mode {other:?}"))),
    };
    let name = if spec.version() < 2 { "paddings" } else { "pads" };
    Ok(Box::new(Pad {
        mode,
        pads: Numbers::read(spec, name, 1, 11)?.required("pads")?,
        axes: if spec.version() < 18 {
            Numbers::Absent
        } else {
            Numbers::read(spec, "axes", 3, 18)?
        },
        value: if spec.version() < 11 { Some(spec.float("value", 0.0)?) } else { None },
    }))
}

impl Pad {
    /// The value for places outside, as a tensor of one element. `None`: zero.
    fn value(&self, dtype: DType, inputs: &Inputs) -> Result<Option<Tensor>, OpError> {
        let Some(value) = self.value else { return Ok(inputs.optional(2)?.cloned()) };
        for_dtype!(dtype, T in [f32, f64, f16, bf16], {
            let value: T = value.as_();
            Ok(Some(Tensor::scalar(value)))
        }, else {
            Err(OpError::Type { expected: "a float type", found: dtype })
        })
    }
}

impl Operator for Pad {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let pads = self.pads.get_or_empty(&inputs)?;
        let axes = match self.axes.get(&inputs)? {
            Some(axes) => axes_in_order(&axes, data.rank())?,
            None => (0..data.rank()).collect(),
        };
        if pads.len() != axes.len() * 2 {
            return Err(OpError::shape(format!("{} pads for {} axes", pads.len(), axes.len())));
        }
        let mut around = vec![(0, 0); data.rank()];
        for (at, axis) in axes.iter().enumerate() {
            around[*axis] = (pads[at], pads[axes.len() + at]);
        }
        let value = self.value(data.dtype(), &inputs)?;
        Ok(vec![padded(data, &around, self.mode, value.as_ref(), context)?.into()])
    }
}

/// The sizes with pads before and behind each axis.
fn padded_shape(shape: &[usize], around: &[(i64, i64)]) -> Result<Shape, OpError> {
    let sizes = shape.iter().zip(around).map(|(size, (before, behind))| {
        let whole = i64::try_from(*size).ok()?.checked_add(*before)?.checked_add(*behind)?;
        usize::try_from(whole).ok()
    });
    sizes.collect::<Option<_>>().ok_or_else(|| {
        OpError::shape(format!("{shape:?} cannot be padded or cropped by {around:?}"))
    })
}

/// Which place of an axis of this size each place of the padded axis shows. `None`: it is outside.
fn places(size: usize, padded: usize, before: i64, mode: Mode) -> Option<Vec<Option<usize>>> {
    if size == 0 && mode != Mode::Constant {
        return (padded == 0).then(Vec::new);
    }
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let inner = |at: i64| match mode {
        Mode::Constant => at,
        Mode::Edge => at.clamp(0, size - 1),
        Mode::Wrap => at.rem_euclid(size),
        Mode::Reflect if size == 1 => 0,
        Mode::Reflect => {
            let at = at.rem_euclid(2 * (size - 1));
            at.min(2 * (size - 1) - at)
        }
    };
    let place = |at: i64| usize::try_from(at).ok().filter(|_| at < size);
    Some((0..).take(padded).map(|at: i64| place(inner(at - before))).collect())
}

fn padded(
    data: &Tensor,
    around: &[(i64, i64)],
    mode: Mode,
    value: Option<&Tensor>,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    let shape = padded_shape(data.shape(), around)?;
    let elements = claim_like(context, data, &shape)?;
    if let Some(value) = value {
        require_same_type(data, value)?;
        if value.len() != 1 {
            return Err(OpError::shape(format!("the value has {} elements", value.len())));
        }
        claim_like(context, value, &shape)?;
    }
    if elements == 0 || around.iter().all(|pads| *pads == (0, 0)) {
        return if elements == 0 { emptied(data, shape) } else { Ok(data.clone()) };
    }
    // A place weighs more than an element may.
    context.claim(&[shape.iter().sum()], size_of::<Option<usize>>())?;
    let mut maps = Vec::with_capacity(shape.len());
    for ((size, padded), (before, _)) in data.shape().iter().zip(&shape).zip(around) {
        let map = places(*size, *padded, *before, mode);
        maps.push(map.ok_or_else(|| OpError::shape("an axis of size 0 has nothing to repeat"))?);
    }
    for_unit!(data.dtype(), T, {
        let fill = match value {
            Some(value) => T::of(value)?.first().cloned().unwrap_or_default(),
            None => T::default(),
        };
        let mut out = Vec::with_capacity(elements);
        let strides = row_major(data.shape());
        Walk { source: T::of(data)?, maps: &maps, strides: &strides, fill }.axis(0, 0, &mut out);
        Ok(T::tensor(data.dtype(), shape, out))
    })
}

fn emptied(data: &Tensor, shape: Shape) -> Result<Tensor, OpError> {
    for_unit!(data.dtype(), T, { Ok(T::tensor(data.dtype(), shape, Vec::<T>::new())) })
}

struct Walk<'a, T> {
    source: &'a [T],
    maps: &'a [Vec<Option<usize>>],
    strides: &'a [usize],
    fill: T,
}

impl<T: Unit> Walk<'_, T> {
    /// Appends what lies at `base` along the axes from `axis` on. As deep as there are axes, whose number is bounded.
    fn axis(&self, axis: usize, base: usize, out: &mut Vec<T>) {
        let map = &self.maps[axis];
        if axis + 1 < self.maps.len() {
            for place in map {
                match place {
                    Some(place) => self.axis(axis + 1, base + place * self.strides[axis], out),
                    None => {
                        let length = self.maps[axis + 1..].iter().map(Vec::len).product();
                        out.extend(std::iter::repeat_n(&self.fill, length).cloned());
                    }
                }
            }
            return;
        }
        let mut at = 0;
        while let Some(place) = map.get(at) {
            let Some(place) = place else {
                out.push(self.fill.clone());
                at += 1;
                continue;
            };
            // Places that follow each other are copied at once.
            let run =
                map[at..].iter().zip(*place..).take_while(|(found, next)| **found == Some(*next));
            let length = run.count();
            out.extend_from_slice(&self.source[base + place..base + place + length]);
            at += length;
        }
    }
}

#[derive(Debug)]
struct CenterCropPad {
    axes: Option<Vec<i64>>,
}

pub(super) fn center_crop_pad(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(CenterCropPad { axes: spec.ints_opt("axes")?.map(<[i64]>::to_vec) }))
}

impl Operator for CenterCropPad {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let data = inputs.tensor(0)?;
        let target = shape_of(&inputs.tensor(1)?.to_i64s()?, context.limits.rank_max)?;
        let axes = match &self.axes {
            Some(axes) => axes_in_order(axes, data.rank())?,
            None => (0..data.rank()).collect(),
        };
        if axes.len() != target.len() {
            return Err(OpError::shape(format!("{} sizes for {} axes", target.len(), axes.len())));
        }
        let mut around = vec![(0, 0); data.rank()];
        for (axis, size) in axes.into_iter().zip(target) {
            let old = data.shape()[axis];
            let difference = i64::try_from(size.abs_diff(old)).unwrap_or(i64::MAX);
            // The odd place lies behind.
            let (before, behind) = (difference / 2, difference - difference / 2);
            around[axis] = if size < old { (-before, -behind) } else { (before, behind) };
        }
        Ok(vec![padded(data, &around, Mode::Constant, None, context)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_repeat_beyond_the_far_edge() {
        let found = |size, padded, before, mode| {
            let places = places(size, padded, before, mode).unwrap();
            places.into_iter().map(|place| place.map_or(-1, usize::cast_signed)).collect::<Vec<_>>()
        };
        assert_eq!(found(3, 9, 3, Mode::Reflect), [1, 2, 1, 0, 1, 2, 1, 0, 1]);
        assert_eq!(found(2, 7, 3, Mode::Wrap), [1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(found(2, 4, 1, Mode::Edge), [0, 0, 1, 1]);
        assert_eq!(found(1, 3, 1, Mode::Reflect), [0, 0, 0]);
        assert_eq!(found(3, 3, -1, Mode::Constant), [1, 2, -1]);
        assert!(places(0, 2, 1, Mode::Edge).is_none());
        assert!(padded_shape(&[2], &[(-3, 0)]).is_err());
        assert!(padded_shape(&[2], &[(i64::MAX, i64::MAX)]).is_err());
    }
}
