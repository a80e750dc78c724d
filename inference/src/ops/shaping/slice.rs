//! Slice: <https://onnx.ai/onnx/operators/onnx__Slice.html>

use super::numbers::{Numbers, axes_in_order};
use super::view::View;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

#[derive(Debug)]
struct Slice {
    starts: Numbers,
    ends: Numbers,
    axes: Numbers,
    steps: Numbers,
}

pub(super) fn slice(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Slice {
        starts: Numbers::read(spec, "starts", 1, 10)?.required("starts")?,
        ends: Numbers::read(spec, "ends", 2, 10)?.required("ends")?,
        axes: Numbers::read(spec, "axes", 3, 10)?,
        steps: Numbers::read(spec, "steps", 4, 10)?,
    }))
}

/// Where a slice begins and how many places it has, along an axis of this size.
fn range(size: usize, start: i64, end: i64, step: i64) -> (usize, usize) {
    let signed_size = i64::try_from(size).unwrap_or(i64::MAX);
    if signed_size == 0 || step == 0 {
        return (0, 0);
    }
    let placed = |at: i64| if at < 0 { at.saturating_add(signed_size) } else { at };
    // Backwards, the last place is before the first element.
    let (low, high) = if step > 0 { (0, signed_size) } else { (-1, signed_size - 1) };
    let (start, end) = (placed(start).clamp(low.max(0), high), placed(end).clamp(low, high));
    let distance = if step > 0 { end - start } else { start - end };
    let places = u64::try_from(distance).unwrap_or(0).div_ceil(step.unsigned_abs());
    (usize::try_from(start).unwrap_or(0), usize::try_from(places).unwrap_or(0))
}

impl Operator for Slice {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let starts = self.starts.get_or_empty(&inputs)?;
        let ends = self.ends.get_or_empty(&inputs)?;
        let axes = match self.axes.get(&inputs)? {
            Some(axes) => axes_in_order(&axes, tensor.rank())?,
            None => (0..tensor.rank().min(starts.len())).collect(),
        };
        let steps = self.steps.get(&inputs)?;
        let counts = [starts.len(), ends.len(), steps.as_ref().map_or(axes.len(), |s| s.len())];
        if counts.iter().any(|count| *count != axes.len()) {
            return Err(OpError::shape(format!(
                "{} starts, {} ends and {} steps are given for {} axes",
                counts[0],
                counts[1],
                counts[2],
                axes.len()
            )));
        }
        let mut view = View::of(tensor.shape());
        for (at, axis) in axes.into_iter().enumerate() {
            let step = steps.as_ref().map_or(1, |steps| steps[at]);
            if step == 0 {
                return Err(OpError::shape("a step is 0"));
            }
            let (start, places) = range(tensor.shape()[axis], starts[at], ends[at], step);
            view = view.narrowed(axis, start, places);
            // A step over all there is may be of any size; it is never taken.
            let step = if places > 1 { isize::try_from(step).unwrap_or(0) } else { 0 };
            view.strides[axis] = view.strides[axis].wrapping_mul(step);
        }
        let shape = view.sizes.clone();
        Ok(vec![view.of_tensor(tensor, shape)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within() {
        assert_eq!(range(5, 1, 3, 1), (1, 2));
        assert_eq!(range(5, i64::MIN, i64::MAX, 1), (0, 5));
        assert_eq!(range(5, -1, i64::MIN, -2), (4, 3));
        assert_eq!(range(5, i64::MAX, i64::MIN, i64::MIN), (4, 1));
        assert_eq!(range(5, 0, 5, i64::MAX), (0, 1));
        assert_eq!(range(5, 4, 1, 1).1, 0);
        assert_eq!(range(0, 0, 5, -1), (0, 0));
        assert_eq!(range(5, -9, -9, -1).1, 1);
    }
}
