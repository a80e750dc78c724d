//! TopK: <https://onnx.ai/onnx/operators/onnx__TopK.html>
//!
//! Of equal elements those that come first are taken. NaN counts as larger than all numbers. The answer is sorted even where it need
//! not be.

use std::cmp::Ordering;

use super::lines::{Extent, for_each, with_size};
use crate::dtype::{Element, for_number};
use crate::error::OpError;
use crate::ops::shaping::numbers::single;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct TopK {
    axis: i64,
    largest: bool,
    /// How many, where that is an attribute; else it is an operand.
    count: Option<i64>,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let count = if spec.version() < 10 {
        Some(spec.int_opt("k")?.ok_or_else(|| BuildError::invalid("the number k is missing"))?)
    } else {
        None
    };
    Ok(Box::new(TopK { axis: spec.int("axis", -1)?, largest: spec.flag("largest", true)?, count }))
}

#[expect(clippy::eq_op, reason = "tells NaN for any element type")]
fn compare<T: Element>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| (a != a).cmp(&(b != b)))
}

impl TopK {
    /// Brings the places of the `count` elements that are wanted to the front of `order`, sorted.
    fn choose<T: Element>(&self, line: &[T], count: usize, order: &mut Vec<usize>) {
        order.clear();
        order.extend(0..line.len());
        let before = |a: &usize, b: &usize| {
            let by_value = compare(line[*a], line[*b]);
            (if self.largest { by_value.reverse() } else { by_value }).then(a.cmp(b))
        };
        if let Some(last) = count.checked_sub(1)
            && count < line.len()
        {
            order.select_nth_unstable_by(last, before);
        }
        order[..count].sort_unstable_by(before);
    }
}

impl Operator for TopK {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let wanted = match self.count {
            Some(count) => count,
            None => single(&inputs, 1)?,
        };
        let axis = axis_of(self.axis, tensor.rank())?;
        let extent = Extent::of(tensor.shape(), axis);
        let count = usize::try_from(wanted).ok().filter(|count| *count <= extent.size);
        let count = count.ok_or_else(|| {
            OpError::shape(format!("{wanted} elements are wanted of {}", extent.size))
        })?;
        let shape = with_size(tensor.shape(), axis, count);
        let elements = context.claim(&shape, size_of::<i64>())?;
        context.claim(&[extent.size], size_of::<usize>())?;
        let mut places = vec![0_i64; elements];
        for_number!(tensor.dtype(), T, {
            let mut values = vec![T::ZERO; elements];
            let mut order = Vec::new();
            for_each(tensor.as_slice::<T>()?, extent, |at, line| {
                self.choose(line, count, &mut order);
                let start = at / extent.inner * count * extent.inner + at % extent.inner;
                for (rank, place) in order[..count].iter().enumerate() {
                    values[start + rank * extent.inner] = line[*place];
                    places[start + rank * extent.inner] = i64::try_from(*place).unwrap_or(i64::MAX);
                }
            });
            Ok(vec![Tensor::new(shape.clone(), values).into(), Tensor::new(shape, places).into()])
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_elements_keep_their_order() {
        let line = [1.0_f32, 3.0, f32::NAN, 3.0, 1.0];
        let mut order = Vec::new();
        TopK { axis: 0, largest: true, count: None }.choose(&line, 3, &mut order);
        assert_eq!(order[..3], [2, 1, 3]);
        TopK { axis: 0, largest: false, count: None }.choose(&line, 5, &mut order);
        assert_eq!(order, [0, 4, 1, 3, 2]);
    }
}
