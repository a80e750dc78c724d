//! NonMaxSuppression: <https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html>
//!
//! Among equal scores the box that comes first wins. Scores that are no numbers are never above the threshold, and sort last without one.

use std::cmp::Ordering;

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct NonMaxSuppression {
    /// Boxes are given by centre and size, not by corners.
    centred: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    match spec.int("center_point_box", 0)? {
        0 => Ok(Box::new(NonMaxSuppression { centred: false })),
        1 => Ok(Box::new(NonMaxSuppression { centred: true })),
        other => Err(BuildError::invalid(format!("center_point_box is {other}"))),
    }
}

/// A box by its corners.
#[derive(Clone, Copy, Debug)]
struct Area {
    low: [f32; 2],
    high: [f32; 2],
}

impl Area {
    fn of(numbers: &[f32], centred: bool) -> Self {
        let [a, b, c, d] = [numbers[0], numbers[1], numbers[2], numbers[3]];
        if centred {
            let (x, y) = (c / 2.0, d / 2.0);
            return Self { low: [a - x, b - y], high: [a + x, b + y] };
        }
        Self { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
    }

    fn size(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Whether intersection over union is above the threshold.
    fn overlaps(&self, other: &Self, threshold: f32) -> bool {
        let side = |axis: usize| {
            self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis])
        };
        let (width, height) = (side(0), side(1));
        if width <= 0.0 || height <= 0.0 {
            return false;
        }
        let (one, two, both) = (self.size(), other.size(), width * height);
        let union = one + two - both;
        one > 0.0 && two > 0.0 && union > 0.0 && both / union > threshold
    }
}

fn first<T: Copy>(values: Option<&[T]>) -> Option<T> {
    values.and_then(|values| values.first().copied())
}

impl Operator for NonMaxSuppression {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (boxes, scores) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let ([batch, count, 4], [items, classes, scored]) = (boxes.shape(), scores.shape()) else {
            return Err(OpError::shape(format!(
                "boxes of {:?} and scores of {:?}",
                boxes.shape(),
                scores.shape()
            )));
        };
        if (batch, count) != (items, scored) {
            return Err(OpError::shape(format!(
                "{batch} x {count} boxes and {items} x {scored} scores"
            )));
        }
        let most = inputs.optional(2)?.map(Tensor::to_i64s).transpose()?;
        let most = usize::try_from(first(most.as_deref()).unwrap_or(0)).unwrap_or(0);
        let float = |at: usize| -> Result<Option<f32>, OpError> {
            let tensor = inputs.optional(at)?;
            Ok(first(tensor.map(Tensor::as_slice::<f32>).transpose()?))
        };
        let (overlap, least) = (float(3)?.unwrap_or(0.0), float(4)?);
        let (boxes, scores) = (boxes.as_slice::<f32>()?, scores.as_slice::<f32>()?);
        let mut selected: Vec<i64> = Vec::new();
        let number = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
        if most == 0 || *count == 0 || *classes == 0 {
            return Ok(vec![Tensor::new([0, 3], selected).into()]);
        }
        context.claim(&[*batch, *classes, most.min(*count), 3], size_of::<i64>())?;
        for (item, scores) in scores.chunks_exact(*classes * *count).enumerate() {
            let boxes = boxes[item * count * 4..][..count * 4].chunks_exact(4);
            let areas: Vec<Area> = boxes.map(|numbers| Area::of(numbers, self.centred)).collect();
            for (class, scores) in scores.chunks_exact(*count).enumerate() {
                for at in select(&areas, scores, most, (overlap, least)) {
                    selected.extend([number(item), number(class), number(at)]);
                }
            }
        }
        Ok(vec![Tensor::new([selected.len() / 3, 3], selected).into()])
    }
}

fn select(
    areas: &[Area],
    scores: &[f32],
    most: usize,
    (overlap, least): (f32, Option<f32>),
) -> Vec<usize> {
    let above = |at: &usize| least.is_none_or(|least| scores[*at] > least);
    let mut candidates: Vec<usize> = (0..scores.len()).filter(above).collect();
    let key = |at: usize| if scores[at].is_nan() { f32::NEG_INFINITY } else { scores[at] };
    // The sort is stable, so equal scores stay in order. -0 equals 0.
    candidates.sort_by(|a, b| key(*b).partial_cmp(&key(*a)).unwrap_or(Ordering::Equal));
    let mut kept: Vec<usize> = Vec::new();
    for candidate in candidates {
        if kept.len() == most {
            break;
        }
        if !kept.iter().any(|kept| areas[candidate].overlaps(&areas[*kept], overlap)) {
            kept.push(candidate);
        }
    }
    kept
}
