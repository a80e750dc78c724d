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
    let mut step = 1_usize;
    for (stride, size) in strides.iter_mut().rev().zip(shape.iter().rev()) {
        *stride = if *size == 1 { 0 } else { step };
        // Nothing is read through these strides where a size is 0, and the others may be as large as they like.
        step = step.wrapping_mul(*size);
    }
    strides
}

/// Merges neighbouring axes that every operand walks as if they were one, and drops axes of size 1: longer rows.
pub(crate) fn collapse<const N: usize>(shape: &mut Shape, strides: &mut [Vec<usize>; N]) {
    for axis in (0..shape.len()).rev() {
        let inner = shape.get(axis + 1).copied();
        let joins = inner.is_some_and(|size| {
            strides.iter().all(|steps| steps[axis] == steps[axis + 1].wrapping_mul(size))
        });
        if shape[axis] == 1 {
            shape.remove(axis);
            for steps in strides.iter_mut() {
                steps.remove(axis);
            }
        } else if let (true, Some(size)) = (joins, inner) {
            shape[axis + 1] = size.saturating_mul(shape[axis]);
            shape.remove(axis);
            for steps in strides.iter_mut() {
                steps.remove(axis);
            }
        }
    }
}

/// Calls `row(out, left, right)` for each run along the last axis of `shape`, with where it begins in the output and
/// in both operands. The last axis' strides are given back: 0 or 1 each.
pub(crate) fn for_rows(
    shape: &[usize],
    left: &[usize],
    right: &[usize],
    mut row: impl FnMut(usize, usize, usize),
) {
    for_rows_of(shape, [left, right], |out, [left, right]| row(out, left, right));
}

/// [`for_rows`] for any number of operands.
pub(crate) fn for_rows_of<const N: usize>(
    shape: &[usize],
    strides: [&[usize]; N],
    mut row: impl FnMut(usize, [usize; N]),
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
    let mut places = [0; N];
    for number in 0..rows {
        row(number * last, places);
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            for (place, steps) in places.iter_mut().zip(strides) {
                *place += steps[axis];
            }
            if index[axis] < outer[axis] {
                break;
            }
            index[axis] = 0;
            for (place, steps) in places.iter_mut().zip(strides) {
                *place -= steps[axis] * outer[axis];
            }
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

    #[test]
    fn axes_collapse_where_both_operands_walk_them_alike() {
        let mut shape = vec![2, 3, 1, 4, 5];
        let mut strides = [strides_in(&shape, &shape), strides_in(&[3, 1, 1, 1], &shape)];
        collapse(&mut shape, &mut strides);
        assert_eq!((shape, strides), (vec![2, 3, 20], [vec![60, 20, 1], vec![0, 1, 0]]));
        let (mut shape, mut strides) = (vec![2, 3], [vec![3, 1], vec![3, 1]]);
        collapse(&mut shape, &mut strides);
        assert_eq!((shape, strides), (vec![6], [vec![1], vec![1]]));
    }
}
