//! Broadcasting as NumPy has it: axes are aligned at the end, an axis of size 1 is repeated.

use crate::error::OpError;
use crate::tensor::Shape;

/// The shape that both broadcast to.
pub(crate) fn joint_shape(left: &[usize], right: &[usize]) -> Result<Shape, OpError> {
    let rank = left.len().max(right.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |at| shape[at])
    };
    (0..rank)
        .map(|axis| match (size(left, axis), size(right, axis)) {
            (same, other) if same == other => Ok(same),
            (1, size) | (size, 1) => Ok(size),
            _ => Err(OpError::shape(format!("{left:?} and {right:?} do not broadcast"))),
        })
        .collect()
}

/// For each axis of `target`, how far the elements of a row-major tensor of shape `shape` lie apart: 0 where it is repeated.
pub(crate) fn strides_in(shape: &[usize], target: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; target.len()];
    let mut step = 1;
    for (stride, size) in strides.iter_mut().rev().zip(shape.iter().rev()) {
        *stride = if *size == 1 { 0 } else { step };
        // Too large only for a tensor with no elements.
        step = usize::wrapping_mul(step, *size);
    }
    strides
}

/// Calls `row(out, left, right)` for each run along the last axis of `shape`, with where it begins in the output and
/// in both operands. The last axis' strides are given back: 0 or 1 each.
pub(crate) fn for_rows(
    shape: &[usize],
    left: &[usize],
    right: &[usize],
    mut row: impl FnMut(usize, usize, usize),
) {
    let (outer, last) = match shape.split_last() {
        Some((last, outer)) => (outer, *last),
        None => (shape, 1),
    };
    if last == 0 || outer.contains(&0) {
        return;
    }
    let rows: usize = outer.iter().product();
    let mut index = vec![0_usize; outer.len()];
    let (mut at_left, mut at_right) = (0, 0);
    for number in 0..rows {
        row(number * last, at_left, at_right);
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            at_left += left[axis];
            at_right += right[axis];
            if index[axis] < outer[axis] {
                break;
            }
            index[axis] = 0;
            at_left -= left[axis] * outer[axis];
            at_right -= right[axis] * outer[axis];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_join_at_the_end() {
        assert_eq!(joint_shape(&[2, 1, 4], &[3, 1]).unwrap(), [2, 3, 4]);
        assert_eq!(joint_shape(&[], &[5]).unwrap(), [5]);
        assert_eq!(joint_shape(&[0], &[1]).unwrap(), [0]);
        assert!(joint_shape(&[2], &[3]).is_err());
        assert_eq!(strides_in(&[3, 1], &[2, 3, 4]), [0, 1, 0]);
    }

    #[test]
    fn rows_visit_every_place() {
        let shape = [2, 3, 2];
        let (left, right) = (strides_in(&[3, 2], &shape), strides_in(&[2, 1, 2], &shape));
        let mut seen = Vec::new();
        for_rows(&shape, &left, &right, |out, left, right| seen.push((out, left, right)));
        assert_eq!(seen, [(0, 0, 0), (2, 2, 0), (4, 4, 0), (6, 0, 2), (8, 2, 2), (10, 4, 2)]);
    }
}
