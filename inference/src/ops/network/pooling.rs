//! What pooling makes of the elements under a window, and the loops over windows.
//!
//! Maximum, sum and sum of powers can be taken axis by axis: rows under the window are joined first, elementwise, then neighbours within
//! the joined row. So each input row is read a few times in order, and no loop has a condition on padding.

use crate::dtype::Element;
use crate::ops::network::layout::advance;
use crate::ops::network::precision::{Real, f64_of};
use crate::ops::network::window::WindowAxis;

/// How elements under a window become one.
pub(super) trait Pooling<T>: Sync {
    /// What padding counts as.
    fn identity(&self) -> T;
    /// What an element counts as.
    fn load(&self, element: T) -> T;
    /// Two as one.
    fn join(&self, one: T, other: T) -> T;
    /// Finishes a row: `outer` and `last` are the numbers of elements along the outer axes together and along the last one.
    fn finish(&self, row: &mut [T], outer: usize, last: &[T]);
}

/// An element type that has a least value.
pub(super) trait Ordered: Element {
    const LEAST: Self;
    /// The larger one; NaN wins, so that it is seen in the output.
    fn larger(self, other: Self) -> Self;
}

macro_rules! ordered {
    ($($float:ty),*; $($int:ty),*) => {
        $(impl Ordered for $float {
            const LEAST: Self = Self::NEG_INFINITY;
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if other > self || other.is_nan() { other } else { self }
            }
        })*
        $(impl Ordered for $int {
            const LEAST: Self = Self::MIN;
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if other > self { other } else { self }
            }
        })*
    };
}

ordered!(f32, f64; i8, u8);

#[derive(Clone, Copy, Debug)]
pub(super) struct Largest;

impl<T: Ordered> Pooling<T> for Largest {
    #[inline(always)]
    fn identity(&self) -> T {
        T::LEAST
    }
    #[inline(always)]
    fn load(&self, element: T) -> T {
        element
    }
    #[inline(always)]
    fn join(&self, one: T, other: T) -> T {
        one.larger(other)
    }
    #[inline(always)]
    fn finish(&self, _: &mut [T], _: usize, _: &[T]) {}
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Average;

impl<T: Real> Pooling<T> for Average {
    #[inline(always)]
    fn identity(&self) -> T {
        T::ZERO
    }
    #[inline(always)]
    fn load(&self, element: T) -> T {
        element
    }
    #[inline(always)]
    fn join(&self, one: T, other: T) -> T {
        one + other
    }
    #[inline(always)]
    fn finish(&self, row: &mut [T], outer: usize, last: &[T]) {
        // A window that lies wholly on padding has an average of 0.
        let outer = T::of(f64_of(outer.max(1)));
        for (sum, last) in row.iter_mut().zip(last) {
            *sum = *sum / (outer * *last);
        }
    }
}

/// The Lp norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm(pub(super) f64);

impl<T: Real> Pooling<T> for Norm {
    #[inline(always)]
    fn identity(&self) -> T {
        T::ZERO
    }
    #[inline(always)]
    fn load(&self, element: T) -> T {
        match self.0 {
            1.0 => element.abs(),
            2.0 => element * element,
            p => element.abs().powf(T::of(p)),
        }
    }
    #[inline(always)]
    fn join(&self, one: T, other: T) -> T {
        one + other
    }
    #[inline(always)]
    fn finish(&self, row: &mut [T], _: usize, _: &[T]) {
        let root = T::of(1.0 / self.0);
        for sum in row {
            *sum = sum.powf(root);
        }
    }
}

/// For each place along an axis how many elements count, as the averages divide by it.
pub(super) fn counts<T: Real>(axis: WindowAxis, padding: bool) -> Vec<T> {
    (0..axis.out).map(|at| T::of(f64_of(axis.count(at, padding).max(1)))).collect()
}

/// Pools one plane. `joined` has the padded length of the last axis.
#[inline(always)]
pub(super) fn pool_plane<T: Element, P: Pooling<T>>(
    pooling: &P,
    input: &[T],
    out: &mut [T],
    (axes, padding): (&[WindowAxis], bool),
    (last_counts, joined): (&[T], &mut [T]),
) {
    let Some((last, outer)) = axes.split_last() else { return };
    if last.out == 0 {
        return;
    }
    joined.fill(pooling.identity());
    let places: Vec<usize> = outer.iter().map(|axis| axis.out).collect();
    let mut place = vec![0; outer.len()];
    let (mut taps, mut tap) = (vec![0; outer.len()], vec![0; outer.len()]);
    for row in out.chunks_exact_mut(last.out) {
        let middle = &mut joined[last.begin..last.begin + last.size];
        middle.fill(pooling.identity());
        for ((count, axis), at) in taps.iter_mut().zip(outer).zip(&place) {
            *count = axis.taps(*at).len();
        }
        if !taps.contains(&0) {
            tap.fill(0);
            loop {
                let mut number = 0;
                for ((axis, at), tap) in outer.iter().zip(&place).zip(&tap) {
                    let first = axis.taps(*at).start;
                    number = number * axis.size + axis.element(*at, first + tap);
                }
                let elements = &input[number * last.size..][..last.size];
                for (joined, element) in middle.iter_mut().zip(elements) {
                    *joined = pooling.join(*joined, pooling.load(*element));
                }
                if !advance(&mut tap, &taps) {
                    break;
                }
            }
        }
        join_neighbours(pooling, joined, row, *last);
        let counted = outer.iter().zip(&place).map(|(axis, at)| axis.count(*at, padding));
        let counted = counted.fold(1, usize::saturating_mul);
        pooling.finish(row, counted, last_counts);
        advance(&mut place, &places);
    }
}

#[inline(always)]
fn join_neighbours<T: Element, P: Pooling<T>>(
    pooling: &P,
    joined: &[T],
    row: &mut [T],
    axis: WindowAxis,
) {
    row.fill(pooling.identity());
    for tap in 0..axis.kernel {
        let from = &joined[tap * axis.dilation..];
        match axis.stride {
            1 => {
                for (out, one) in row.iter_mut().zip(from) {
                    *out = pooling.join(*out, *one);
                }
            }
            2 => {
                // The last one may have no neighbour, so it is left out of the pairs.
                let (pairs, _) = from.as_chunks::<2>();
                let whole = pairs.len().min(row.len());
                for (out, pair) in row.iter_mut().zip(pairs) {
                    *out = pooling.join(*out, pair[0]);
                }
                for at in whole..row.len() {
                    row[at] = pooling.join(row[at], from[2 * at]);
                }
            }
            stride => {
                for (out, one) in row.iter_mut().zip(from.iter().step_by(stride)) {
                    *out = pooling.join(*out, *one);
                }
            }
        }
    }
}
