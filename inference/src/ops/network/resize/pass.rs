//! One pass of a resize over a tensor, along one axis.

use super::taps::Taps;
use super::{split, zeroed};
use crate::dtype::Element;
use crate::ops::network::planes::for_chunks;
use crate::ops::network::precision::Real;

/// Takes the nearest element at each place.
pub(super) fn nearest<T: Element>(
    elements: &[T],
    shape: &[usize],
    axis: usize,
    taps: &Taps,
) -> Vec<T> {
    let parts @ (_, size, inner) = split(shape, axis);
    let mut out = zeroed::<T>(parts, taps.out());
    for_chunks(&mut out, taps.out() * inner, |number, out| {
        let block = &elements[number * size * inner..][..size * inner];
        if inner == 1 {
            for (out, from) in out.iter_mut().zip(&taps.elements) {
                *out = block[*from];
            }
            return;
        }
        for (row, from) in out.chunks_exact_mut(inner).zip(&taps.elements) {
            row.copy_from_slice(&block[from * inner..][..inner]);
        }
    });
    out
}

/// Takes the weighted sum at each place; `extrapolation` where it lies outside.
pub(super) fn weighted<T: Real>(
    elements: &[T],
    shape: &[usize],
    axis: usize,
    (taps, extrapolation): (&Taps, T),
) -> Vec<T> {
    let parts @ (_, size, inner) = split(shape, axis);
    let mut out = zeroed::<T>(parts, taps.out());
    let weights: Vec<T> = taps.weights.iter().map(|weight| T::of(*weight)).collect();
    for_chunks(&mut out, taps.out() * inner, |number, out| {
        let block = &elements[number * size * inner..][..size * inner];
        let places = taps.elements.chunks_exact(taps.width).zip(weights.chunks_exact(taps.width));
        let places = places.zip(&taps.outside);
        for (row, ((from, weights), outside)) in out.chunks_exact_mut(inner).zip(places) {
            if *outside {
                row.fill(extrapolation);
            } else if inner == 1 {
                let products =
                    from.iter().zip(weights).map(|(from, weight)| block[*from] * *weight);
                row[0] = products.fold(T::ZERO, |sum, product| sum + product);
            } else {
                add_rows(row, block, from, weights);
            }
        }
    });
    out
}

#[inline(always)]
fn add_rows<T: Real>(row: &mut [T], block: &[T], from: &[usize], weights: &[T]) {
    let inner = row.len();
    let of = |from: usize| &block[from * inner..][..inner];
    if let ([one, other], [a, b]) = (from, weights) {
        for (out, (one, other)) in row.iter_mut().zip(of(*one).iter().zip(of(*other))) {
            *out = *one * *a + *other * *b;
        }
        return;
    }
    for (from, weight) in from.iter().zip(weights) {
        // What weighs nothing is not read: it may be infinite.
        if *weight == T::ZERO {
            continue;
        }
        for (out, element) in row.iter_mut().zip(of(*from)) {
            *out = *out + *element * *weight;
        }
    }
}
