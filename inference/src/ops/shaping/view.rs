//! A window on a tensor's elements, by strides; and copying what it shows.
//!
//! Transposing, slicing, broadcasting and tiling are all such a copy. Axes that lie behind each other in memory are joined first, so
//! that rows are as long as they can be.

use super::units::{Unit, for_unit};
use crate::error::OpError;
use crate::tensor::{Shape, Tensor, elements_of};

/// Where the elements of a tensor lie among those of another. Whoever makes one sees to it that every place is within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) offset: usize,
    pub(crate) sizes: Shape,
    pub(crate) strides: Vec<isize>,
}

/// How far apart elements of a row-major tensor lie per axis.
pub(crate) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        // Only a tensor with no elements can be too large for this; nothing is read of it.
        strides[axis - 1] = shape[axis].wrapping_mul(strides[axis]);
    }
    strides
}

impl View {
    /// All of a tensor as it lies.
    pub(crate) fn of(shape: &[usize]) -> Self {
        let strides = row_major(shape).into_iter().map(usize::cast_signed).collect();
        Self { offset: 0, sizes: shape.to_vec(), strides }
    }

    /// The axes in another order, which has to name each once.
    pub(crate) fn permuted(&self, order: &[usize]) -> Self {
        Self {
            offset: self.offset,
            sizes: order.iter().map(|axis| self.sizes[*axis]).collect(),
            strides: order.iter().map(|axis| self.strides[*axis]).collect(),
        }
    }

    /// `size` places along an axis, from `start` on.
    pub(crate) fn narrowed(mut self, axis: usize, start: usize, size: usize) -> Self {
        if size > 0 {
            self.offset =
                self.offset.wrapping_add(start.wrapping_mul(self.strides[axis].unsigned_abs()));
        }
        self.sizes[axis] = size;
        self
    }

    /// The axes with those of size 1 left out and those joined that lie behind each other.
    fn joined(&self) -> Vec<(usize, isize)> {
        let mut axes: Vec<(usize, isize)> = Vec::with_capacity(self.sizes.len());
        for (size, stride) in self.sizes.iter().copied().zip(self.strides.iter().copied()) {
            if size == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((outer, step)) if *step == stride.wrapping_mul(size.cast_signed()) => {
                    (*outer, *step) = (*outer * size, stride);
                }
                _ => axes.push((size, stride)),
            }
        }
        axes
    }

    /// Copies what it shows out of a tensor; where that is the tensor as it is, shares it.
    pub(crate) fn of_tensor(&self, tensor: Tensor, shape: Shape) -> Result<Tensor, OpError> {
        if elements_of(&self.sizes) == Some(tensor.len()) {
            let as_it_lies = || self.offset == 0 && matches!(self.joined()[..], [] | [(_, 1)]);
            if tensor.is_empty() || as_it_lies() {
                return tensor.reshaped(shape);
            }
        }
        for_unit!(tensor.dtype(), T, {
            Ok(T::tensor(tensor.dtype(), shape, self.copied(T::of(&tensor)?)))
        })
    }

    /// Copies what it shows.
    pub(crate) fn copied<T: Unit>(&self, source: &[T]) -> Vec<T> {
        if self.sizes.contains(&0) {
            return Vec::new();
        }
        let axes = self.joined();
        let Some(((last, step), outer)) = axes.split_last() else {
            return vec![source[self.offset].clone()];
        };
        let (last, step) = (*last, *step);
        let total = axes.iter().map(|(size, _)| size).product();
        if step != 1
            && step != 0
            && let Some(unit) = outer.iter().rposition(|(_, stride)| *stride == 1)
        {
            return turned(source, self.offset, &axes, unit, total);
        }
        let mut out = Vec::with_capacity(total);
        for_each_place(outer, self.offset, |at| match step {
            1 => out.extend_from_slice(&source[at..at + last]),
            0 => out.extend(std::iter::repeat_n(&source[at], last).cloned()),
            _ => {
                let mut at = at;
                out.extend((0..last).map(|_| {
                    let element = source[at].clone();
                    at = at.wrapping_add_signed(step);
                    element
                }));
            }
        });
        out
    }
}

/// Calls `visit` with the place of each index over `axes`, the last one fastest.
fn for_each_place(axes: &[(usize, isize)], offset: usize, mut visit: impl FnMut(usize)) {
    let mut index = vec![0_usize; axes.len()];
    let mut at = offset;
    loop {
        visit(at);
        let mut axis = axes.len();
        loop {
            let Some(next) = axis.checked_sub(1) else { return };
            axis = next;
            let (size, stride) = axes[axis];
            index[axis] += 1;
            if index[axis] < size {
                at = at.wrapping_add_signed(stride);
                break;
            }
            let back = stride.wrapping_mul((size - 1).cast_signed());
            at = at.wrapping_add_signed(back.wrapping_neg());
            index[axis] = 0;
        }
    }
}

/// Edge of the squares in which two axes are turned: both sides of one fit the first cache.
const SQUARE: usize = 16;

/// Copies where another axis than the last has stride 1: square by square over these two, so that neither side is
/// walked in long strides.
fn turned<T: Unit>(
    source: &[T],
    offset: usize,
    axes: &[(usize, isize)],
    unit: usize,
    total: usize,
) -> Vec<T> {
    let mut out = vec![T::default(); total];
    let sizes: Vec<usize> = axes.iter().map(|(size, _)| *size).collect();
    let out_strides = row_major(&sizes);
    let (last, step) = axes[axes.len() - 1];
    let (rows, row_stride) = (sizes[unit], out_strides[unit]);
    let others: Vec<(usize, isize)> =
        (0..axes.len() - 1).filter(|at| *at != unit).map(|at| axes[at]).collect();
    let out_others: Vec<(usize, isize)> = (0..axes.len() - 1)
        .filter(|at| *at != unit)
        .map(|at| (sizes[at], out_strides[at].cast_signed()))
        .collect();
    let mut out_places = Vec::new();
    for_each_place(&out_others, 0, |at| out_places.push(at));
    let mut out_places = out_places.into_iter();
    for_each_place(&others, offset, |at| {
        let to = out_places.next().unwrap_or(0);
        for row in (0..rows).step_by(SQUARE) {
            let high = SQUARE.min(rows - row);
            for column in (0..last).step_by(SQUARE) {
                for place in column..last.min(column + SQUARE) {
                    let from = at
                        .wrapping_add_signed(step.wrapping_mul(place.cast_signed()))
                        .wrapping_add(row);
                    let to = to + row * row_stride + place;
                    let places = out[to..].iter_mut().step_by(row_stride);
                    for (place, element) in places.zip(&source[from..from + high]) {
                        place.clone_from(element);
                    }
                }
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slowly(view: &View, source: &[u32]) -> Vec<u32> {
        let axes: Vec<_> = view.sizes.iter().copied().zip(view.strides.iter().copied()).collect();
        let mut out = Vec::new();
        if !view.sizes.contains(&0) {
            for_each_place(&axes, view.offset, |at| out.push(source[at]));
        }
        out
    }

    #[test]
    fn every_order_of_axes_is_copied_right() {
        let shape = [3, 20, 1, 18, 2];
        let source: Vec<u32> = (0..3 * 20 * 18 * 2).collect();
        let view = View::of(&shape);
        let orders =
            [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 0, 2, 3, 4], [0, 3, 1, 2, 4], [3, 4, 0, 2, 1]];
        for order in orders {
            let turned = view.permuted(&order);
            assert_eq!(turned.copied(&source), slowly(&turned, &source), "{order:?}");
        }
    }

    #[test]
    fn repeated_reversed_and_empty_axes() {
        let source = [1_u32, 2, 3, 4, 5, 6];
        let twice = View { offset: 0, sizes: vec![2, 2, 3], strides: vec![3, 0, 1] };
        assert_eq!(twice.copied(&source), [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
        let back = View { offset: 5, sizes: vec![3], strides: vec![-2] };
        assert_eq!(back.copied(&source), [6, 4, 2]);
        let none = View { offset: 9, sizes: vec![2, 0], strides: vec![1, 1] };
        assert!(none.copied(&source).is_empty());
        let same = View { offset: 2, sizes: vec![1, 2], strides: vec![7, 0] };
        assert_eq!(same.copied(&source), [3, 3]);
    }
}
