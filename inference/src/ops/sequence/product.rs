//! Products of rows with rows: `out[m][n] += a[m] · b[n]`, for weights that lie as ONNX keeps those of recurrent layers.
//!
//! Each row of weights is read once for two rows of `a`, in lanes that the compiler turns into vectors.

use num_traits::Float;

use crate::dtype::Element;

/// What layers over sequences compute with: f32 and f64.
pub(super) trait Real: Element + Float {
    fn of(value: f64) -> Self;
}

impl Real for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    fn of(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

const LANES: usize = 16;

/// Adds the products of all rows of `a` with all rows of `b`. Both have rows of `depth`; `out` has a row for each of `a`.
pub(super) fn add_products<T: Real>(a: &[T], b: &[T], depth: usize, out: &mut [T]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || blocks(a, b, depth, out),
    );
}

#[inline(always)]
fn blocks<T: Real>(a: &[T], b: &[T], depth: usize, out: &mut [T]) {
    if depth == 0 || b.is_empty() {
        return;
    }
    let columns = b.len() / depth;
    for (a, out) in a.chunks(2 * depth).zip(out.chunks_mut(2 * columns)) {
        if a.len() < 2 * depth {
            one_row(a, b, depth, out);
            continue;
        }
        let (first, second) = a.split_at(depth);
        let (out_first, out_second) = out.split_at_mut(columns);
        let columns = b.chunks_exact(depth).zip(out_first).zip(out_second);
        for ((b, first_out), second_out) in columns {
            let (one, two) = two_products(first, second, b);
            *first_out = *first_out + one;
            *second_out = *second_out + two;
        }
    }
}

#[inline(always)]
fn one_row<T: Real>(a: &[T], b: &[T], depth: usize, out: &mut [T]) {
    for (b, out) in b.chunks_exact(depth).zip(out) {
        *out = *out + product(a, b);
    }
}

#[inline(always)]
fn product<T: Real>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::ZERO; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] = sums[lane] + a[lane] * b[lane];
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(T::ZERO, |sum, (a, b)| sum + *a * *b);
    total(sums) + rest
}

#[inline(always)]
fn two_products<T: Real>(first: &[T], second: &[T], b: &[T]) -> (T, T) {
    let mut sums = [[T::ZERO; LANES]; 2];
    let (first_blocks, first_rest) = first.as_chunks::<LANES>();
    let (second_blocks, second_rest) = second.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for ((first, second), b) in first_blocks.iter().zip(second_blocks).zip(b_blocks) {
        for lane in 0..LANES {
            sums[0][lane] = sums[0][lane] + first[lane] * b[lane];
            sums[1][lane] = sums[1][lane] + second[lane] * b[lane];
        }
    }
    let rest = |a: &[T]| a.iter().zip(b_rest).fold(T::ZERO, |sum, (a, b)| sum + *a * *b);
    (total(sums[0]) + rest(first_rest), total(sums[1]) + rest(second_rest))
}

#[inline(always)]
fn total<T: Real>(mut sums: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] = sums[lane] + sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Adds rows of `b`, each weighted, to `out`: `out += Σ weight[n] * b[n]`.
pub(super) fn add_weighted<T: Real>(weights: &[T], b: &[T], out: &mut [T]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (weight, b) in weights.iter().zip(b.chunks_exact(out.len().max(1))) {
                for (out, b) in out.iter_mut().zip(b) {
                    *out = *out + *weight * *b;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_length_are_multiplied() {
        for (rows, columns, depth) in [(1, 1, 1), (2, 3, 16), (3, 5, 37), (4, 2, 0), (0, 2, 3)] {
            let a: Vec<f32> = (0_u8..).map(f32::from).take(rows * depth).collect();
            let b: Vec<f32> = (1_u8..).map(f32::from).take(columns * depth).collect();
            let mut out = vec![1.0_f32; rows * columns];
            add_products(&a, &b, depth, &mut out);
            for row in 0..rows {
                for column in 0..columns {
                    let expected: f32 = 1.0
                        + (0..depth)
                            .map(|at| a[row * depth + at] * b[column * depth + at])
                            .sum::<f32>();
                    let found = out[row * columns + column];
                    assert!((found - expected).abs() <= expected * 1e-6);
                }
            }
        }
    }
}
