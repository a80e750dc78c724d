//! Unique: <https://onnx.ai/onnx/operators/onnx__Unique.html>
//!
//! NaN equals NaN here and comes behind all numbers.

use std::cmp::Ordering;

use super::units::{Unit, for_unit};
use super::view::View;
use crate::dtype::{DType, for_number};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

#[derive(Debug)]
struct Unique {
    /// `None`: single elements.
    axis: Option<i64>,
    sorted: bool,
}

pub(super) fn unique(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Unique { axis: spec.int_opt("axis")?, sorted: spec.flag("sorted", true)? }))
}

/// Which items are the same.
struct Groups {
    /// For each distinct item, where it is first seen, and how often it is there.
    firsts: Vec<(usize, usize)>,
    /// For each item, the place of its like in `firsts`.
    places: Vec<usize>,
}

fn compare<T: PartialOrd>(left: &[T], right: &[T]) -> Ordering {
    #[expect(clippy::eq_op, reason = "tells NaN for any element type")]
    let nan = |x: &T| x != x;
    for (a, b) in left.iter().zip(right) {
        match a.partial_cmp(b).unwrap_or_else(|| nan(a).cmp(&nan(b))) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

/// Groups `count` items of `length` elements each.
fn grouped<T: PartialOrd>(elements: &[T], count: usize, length: usize, sorted: bool) -> Groups {
    let item = |at: usize| &elements[at * length..(at + 1) * length];
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| compare(item(*a), item(*b)));
    let mut firsts: Vec<(usize, usize)> = Vec::new();
    let mut places = vec![0; count];
    for at in order {
        match firsts.last_mut() {
            Some((first, times)) if compare(item(*first), item(at)) == Ordering::Equal => {
                *times += 1;
            }
            _ => firsts.push((at, 1)),
        }
        places[at] = firsts.len() - 1;
    }
    if !sorted {
        let mut order: Vec<usize> = (0..firsts.len()).collect();
        order.sort_by_key(|group| firsts[*group].0);
        let mut new_places = vec![0; firsts.len()];
        for (new, old) in order.iter().enumerate() {
            new_places[*old] = new;
        }
        firsts = order.into_iter().map(|group| firsts[group]).collect();
        places.iter_mut().for_each(|place| *place = new_places[*place]);
    }
    Groups { firsts, places }
}

impl Operator for Unique {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let (dtype, rank) = (tensor.dtype(), tensor.rank());
        // The items lie behind each other once their axis is the first.
        let (items, order) = match self.axis {
            None => {
                let count = tensor.len();
                (tensor.reshaped([count])?, vec![0])
            }
            Some(axis) => {
                let axis = axis_of(axis, rank)?;
                let mut order: Vec<usize> = (0..rank).collect();
                order[..=axis].rotate_right(1);
                let view = View::of(tensor.shape()).permuted(&order);
                let shape = view.sizes.clone();
                (view.of_tensor(tensor, shape)?, order)
            }
        };
        let count = items.shape()[0];
        let length = elements_of(&items.shape()[1..]).unwrap_or(0);
        // Items without elements take no memory, so their number is bounded by nothing.
        if length == 0 && count > 0 {
            return Err(OpError::unsupported("unique items without elements"));
        }
        // Orders, places and groups weigh more than elements may.
        context.claim(&[count, 8], size_of::<usize>())?;
        let groups = if dtype == DType::String {
            grouped(items.as_strings()?, count, length, self.sorted)
        } else if dtype == DType::Bool {
            grouped(items.as_slice::<u8>()?, count, length, self.sorted)
        } else {
            for_number!(dtype, T, {
                grouped(items.as_slice::<T>()?, count, length, self.sorted)
            }, else {
                return Err(OpError::Type { expected: "a numeric type", found: dtype });
            })
        };
        let mut shape = items.shape().to_vec();
        shape[0] = groups.firsts.len();
        let distinct = for_unit!(dtype, T, {
            let source = T::of(&items)?;
            let mut out: Vec<T> = Vec::with_capacity(groups.firsts.len() * length);
            for (first, _) in &groups.firsts {
                out.extend_from_slice(&source[first * length..(first + 1) * length]);
            }
            T::tensor(dtype, shape, out)
        });
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, old)| back[*old] = new);
        let view = View::of(distinct.shape()).permuted(&back);
        let shape = view.sizes.clone();
        let numbers = |places: &mut dyn Iterator<Item = usize>| {
            let numbers: Vec<i64> =
                places.map(|place| i64::try_from(place).unwrap_or(i64::MAX)).collect();
            Value::from(Tensor::new([numbers.len()], numbers))
        };
        Ok(vec![
            view.of_tensor(distinct, shape)?.into(),
            numbers(&mut groups.firsts.iter().map(|(first, _)| *first)),
            numbers(&mut groups.places.iter().copied()),
            numbers(&mut groups.firsts.iter().map(|(_, times)| *times)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_one_value() {
        let groups = grouped(&[f32::NAN, 1.0, f32::NAN, 0.5], 4, 1, true);
        assert_eq!(groups.firsts, [(3, 1), (1, 1), (0, 2)]);
        assert_eq!(groups.places, [2, 1, 2, 0]);
    }
}
