//! Sums over long rows. Sixteen partial sums let the compiler use vectors, and round less than one would.

use super::precision::Real;

const LANES: usize = 16;

#[inline(always)]
fn fold<T: Real>(elements: &[T], join: impl Fn(T, T) -> T) -> T {
    let mut sums = [T::ZERO; LANES];
    let (chunks, rest) = elements.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, element) in sums.iter_mut().zip(chunk) {
            *sum = join(*sum, *element);
        }
    }
    for (sum, element) in sums.iter_mut().zip(rest) {
        *sum = join(*sum, *element);
    }
    sums.iter().fold(T::ZERO, |sum, part| sum + *part)
}

/// The sum.
#[inline(always)]
pub(super) fn sum<T: Real>(elements: &[T]) -> T {
    fold(elements, |sum, element| sum + element)
}

/// The sum of squares of the distances from `centre`.
#[inline(always)]
pub(super) fn squares_about<T: Real>(elements: &[T], centre: T) -> T {
    fold(elements, |sum, element| {
        let apart = element - centre;
        sum + apart * apart
    })
}

/// Mean and variance (not corrected for a sample).
#[inline(always)]
pub(super) fn moments<T: Real>(elements: &[T], count: T) -> (T, T) {
    let mean = sum(elements) / count;
    (mean, squares_about(elements, mean) / count)
}

/// Adds rows, which follow each other in memory, by their weights: a vector times a matrix.
#[inline(always)]
pub(super) fn add_weighted<T: Real>(
    out: &mut [T],
    rows: &[T],
    count: usize,
    weight: impl Fn(usize) -> T,
) {
    let len = out.len();
    let row = |number: usize| &rows[number * len..][..len];
    let mut number = 0;
    // Four at a time: the output is read and written a quarter as often.
    while number + 4 <= count {
        let [a, b, c, d] = [0, 1, 2, 3].map(|step| weight(number + step));
        let (one, two) = (row(number).iter().zip(row(number + 1)), row(number + 2));
        for (((out, (p, q)), r), s) in out.iter_mut().zip(one).zip(two).zip(row(number + 3)) {
            *out = *out + *p * a + *q * b + (*r * c + *s * d);
        }
        number += 4;
    }
    for number in number..count {
        let weight = weight(number);
        for (out, element) in out.iter_mut().zip(row(number)) {
            *out = *out + *element * weight;
        }
    }
}
