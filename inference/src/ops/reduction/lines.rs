//! The lines of a tensor along one axis, each as a slice.

use crate::tensor::{Shape, elements_of};

/// How elements lie along an axis: `outer` blocks of `size` rows of `inner` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) outer: usize,
    pub(super) size: usize,
    pub(super) inner: usize,
}

impl Extent {
    /// Along `axis`, which is one of the shape. All zero for a tensor with no elements, but for the size.
    pub(super) fn of(shape: &[usize], axis: usize) -> Self {
        Self::joining(shape, axis..axis + 1)
    }

    /// Along some axes behind each other as if they were one.
    pub(super) fn joining(shape: &[usize], axes: std::ops::Range<usize>) -> Self {
        let count = |sizes: &[usize]| elements_of(sizes).unwrap_or(0);
        Self {
            outer: count(&shape[..axes.start]),
            size: count(&shape[axes.clone()]),
            inner: count(&shape[axes.end..]),
        }
    }

    /// The number of lines.
    pub(super) const fn lines(self) -> usize {
        self.outer.saturating_mul(self.inner)
    }
}

/// The shape with another size along an axis.
pub(super) fn with_size(shape: &[usize], axis: usize, size: usize) -> Shape {
    let mut shape = shape.to_vec();
    shape[axis] = size;
    shape
}

/// Calls `work` with each line to write on.
pub(super) fn for_each_mut<T: Copy>(
    data: &mut [T],
    extent: Extent,
    mut work: impl FnMut(&mut [T]),
) {
    let Extent { size, inner, .. } = extent;
    if data.is_empty() || size == 0 || inner == 0 {
        return;
    }
    if inner == 1 {
        return data.chunks_exact_mut(size).for_each(work);
    }
    let mut line = Vec::with_capacity(size);
    for block in data.chunks_exact_mut(size * inner) {
        for column in 0..inner {
            line.clear();
            line.extend(block[column..].iter().step_by(inner).copied());
            work(&mut line);
            for (place, element) in block[column..].iter_mut().step_by(inner).zip(&line) {
                *place = *element;
            }
        }
    }
}

/// Calls `look` with each line and its number: the place of its result among `outer` × `inner`.
pub(super) fn for_each<T: Copy>(data: &[T], extent: Extent, mut look: impl FnMut(usize, &[T])) {
    let Extent { size, inner, .. } = extent;
    if data.is_empty() || size == 0 || inner == 0 {
        return;
    }
    if inner == 1 {
        return data.chunks_exact(size).enumerate().for_each(|(at, line)| look(at, line));
    }
    let mut line = Vec::with_capacity(size);
    for (at, block) in data.chunks_exact(size * inner).enumerate() {
        for column in 0..inner {
            line.clear();
            line.extend(block[column..].iter().step_by(inner).copied());
            look(at * inner + column, &line);
        }
    }
}
