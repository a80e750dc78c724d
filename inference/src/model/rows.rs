//! Rows into one tensor along the batch axis, and back.

use crate::dtype::{DType, for_repr};
use crate::error::OpError;
use crate::tensor::{Tensor, elements_of};

/// One tensor of several that differ along `axis` at most.
pub(super) fn stacked(parts: &[&Tensor], axis: usize) -> Result<Tensor, OpError> {
    let Some(first) = parts.first() else { return Err(OpError::shape("nothing to stack")) };
    if let [one] = parts {
        return Ok((*one).clone());
    }
    let dtype = first.dtype();
    let mut shape = first.shape().to_vec();
    let sizes = parts.iter().map(|part| part.shape().get(axis).copied());
    let total = sizes.sum::<Option<usize>>();
    let total = total.ok_or_else(|| OpError::shape(format!("a row has no axis {axis}")))?;
    shape[axis] = total;
    let elements = elements_of(&shape).ok_or_else(|| OpError::shape("the batch is too large"))?;
    let outer: usize = shape.iter().take(axis).product();
    if dtype == DType::String {
        let mut all = Vec::with_capacity(elements);
        for at in 0..outer {
            for part in parts {
                let strings = part.as_strings()?;
                let block = strings.len() / outer.max(1);
                all.extend(strings.iter().skip(at * block).take(block).cloned());
            }
        }
        return Ok(Tensor::strings(shape, all));
    }
    for_repr!(dtype, T, {
        let mut all: Vec<T> = Vec::with_capacity(elements);
        for at in 0..outer {
            for part in parts {
                let units = part.as_units::<T>()?;
                let block = units.len() / outer.max(1);
                all.extend_from_slice(units.get(at * block..(at + 1) * block).unwrap_or(&[]));
            }
        }
        if all.len() != elements {
            return Err(OpError::shape("rows of different shapes"));
        }
        Ok(Tensor::from_units(dtype, shape, all))
    }, else { Err(OpError::shape("rows of strings")) })
}

/// `size` rows from `start` on along `axis`.
pub(super) fn part(
    tensor: &Tensor,
    axis: usize,
    start: usize,
    size: usize,
) -> Result<Tensor, OpError> {
    let total = tensor.shape().get(axis).copied().unwrap_or(0);
    if start.checked_add(size).is_none_or(|end| end > total) {
        return Err(OpError::shape(format!(
            "an output has the shape {:?}, rows {start} to {} were expected along axis {axis}",
            tensor.shape(),
            start.saturating_add(size)
        )));
    }
    if size == total {
        return Ok(tensor.clone());
    }
    let mut shape = tensor.shape().to_vec();
    shape[axis] = size;
    let outer: usize = shape.iter().take(axis).product();
    let inner = elements_of(&shape[axis + 1..]).unwrap_or(0);
    let range = |at: usize| (at * total + start) * inner..(at * total + start + size) * inner;
    let dtype = tensor.dtype();
    if dtype == DType::String {
        let strings = tensor.as_strings()?;
        let taken = (0..outer).flat_map(|at| strings.get(range(at)).unwrap_or(&[]).iter().cloned());
        return Ok(Tensor::strings(shape, taken.collect()));
    }
    for_repr!(dtype, T, {
        let units = tensor.as_units::<T>()?;
        let mut taken: Vec<T> = Vec::with_capacity(outer * size * inner);
        for at in 0..outer {
            taken.extend_from_slice(units.get(range(at)).unwrap_or(&[]));
        }
        Ok(Tensor::from_units(dtype, shape, taken))
    }, else { Err(OpError::shape("rows of strings")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stacked_comes_apart_again() {
        for axis in 0..3 {
            let mut shape = [2, 3, 2];
            shape[axis] = 1;
            let other =
                Tensor::new(shape, (100..100 + elements_of(&shape).unwrap() as i64).collect());
            let one = Tensor::new([2, 3, 2], (0..12_i64).collect());
            let both = stacked(&[&one, &other], axis).unwrap();
            let size = one.shape()[axis];
            let back = part(&both, axis, 0, size).unwrap();
            assert_eq!(back.i64s().unwrap(), one.i64s().unwrap());
            let back = part(&both, axis, size, 1).unwrap();
            assert_eq!(back.i64s().unwrap(), other.i64s().unwrap());
            assert!(part(&both, axis, size, 2).is_err());
        }
        let texts = Tensor::strings([1, 1], vec!["a".to_owned()]);
        assert_eq!(stacked(&[&texts, &texts], 0).unwrap().shape(), [2, 1]);
    }

    #[test]
    fn rows_without_the_axis_or_of_other_shapes_are_refused() {
        let one = Tensor::new([1, 2], vec![1_u8, 2]);
        let other = Tensor::new([1, 3], vec![1_u8, 2, 3]);
        assert!(stacked(&[&one, &other], 0).is_err());
        assert!(stacked(&[&one, &one], 2).is_err());
        assert!(stacked(&[&one, &Tensor::new([1, 2], vec![1_i64, 2])], 0).is_err());
        assert!(stacked(&[], 0).is_err());
        assert!(part(&one, 7, 0, 1).is_err());
        assert!(part(&one, 0, usize::MAX, 2).is_err());
    }
}
