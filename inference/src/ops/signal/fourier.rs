//! The discrete Fourier transform of one row, in f64: by halves where the length is a power of two, else as a
//! convolution that is (Bluestein), so that it is never slower than `n log n`.
#![expect(clippy::cast_precision_loss, reason = "lengths are far below 2^53")]

use std::f64::consts::{PI, TAU};

/// A complex number: real part, imaginary part.
pub(super) type Complex = [f64; 2];

fn times(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

const fn conjugate(a: Complex) -> Complex {
    [a[0], -a[1]]
}

fn unit(angle: f64) -> Complex {
    [angle.cos(), angle.sin()]
}

/// Transforms rows of one length.
#[derive(Debug)]
pub(super) struct Fourier {
    length: usize,
    inverse: bool,
    halves: Halves,
    chirp: Option<Chirp>,
}

/// What Bluestein's way needs besides.
#[derive(Debug)]
struct Chirp {
    factors: Vec<Complex>,
    /// Transformed already.
    filter: Vec<Complex>,
    row: Vec<Complex>,
}

impl Fourier {
    /// Elements of working memory that a length needs; `None` when that is too many to count.
    pub(super) fn elements(length: usize) -> Option<usize> {
        let padded = length.checked_mul(2)?.checked_next_power_of_two()?;
        padded.checked_mul(4)
    }

    pub(super) fn new(length: usize, inverse: bool) -> Self {
        if length.is_power_of_two() || length == 0 {
            return Self { length, inverse, halves: Halves::new(length), chirp: None };
        }
        let padded = (2 * length).next_power_of_two();
        let halves = Halves::new(padded);
        // The square of a place, modulo one period, keeps the angle exact for long rows.
        let period = 2 * length as u128;
        let angle = |at: usize| PI * ((at as u128 * at as u128) % period) as f64 / length as f64;
        let factors: Vec<Complex> = (0..length).map(|at| unit(-angle(at))).collect();
        let mut filter = vec![[0.0; 2]; padded];
        for (at, factor) in factors.iter().enumerate() {
            filter[at] = conjugate(*factor);
            filter[(padded - at) % padded] = conjugate(*factor);
        }
        halves.transform(&mut filter);
        let row = vec![[0.0; 2]; padded];
        Self { length, inverse, halves, chirp: Some(Chirp { factors, filter, row }) }
    }

    /// Transforms a row of the length in place; the inverse is divided by the length.
    pub(super) fn transform(&mut self, row: &mut [Complex]) {
        // The inverse of a row is the conjugate of the transform of its conjugate.
        if self.inverse {
            row.iter_mut().for_each(|value| *value = conjugate(*value));
        }
        match &mut self.chirp {
            None => self.halves.transform(row),
            Some(chirp) => chirp.transform(&self.halves, row),
        }
        if self.inverse {
            let scale = 1.0 / self.length as f64;
            row.iter_mut().for_each(|value| *value = [value[0] * scale, -value[1] * scale]);
        }
    }
}

impl Chirp {
    fn transform(&mut self, halves: &Halves, row: &mut [Complex]) {
        self.row.fill([0.0; 2]);
        for ((to, from), factor) in self.row.iter_mut().zip(row.iter()).zip(&self.factors) {
            *to = times(*from, *factor);
        }
        halves.transform(&mut self.row);
        for (value, filter) in self.row.iter_mut().zip(&self.filter) {
            *value = conjugate(times(*value, *filter));
        }
        halves.transform(&mut self.row);
        let scale = 1.0 / self.row.len() as f64;
        for ((to, from), factor) in row.iter_mut().zip(&self.row).zip(&self.factors) {
            let value = times(conjugate(*from), *factor);
            *to = [value[0] * scale, value[1] * scale];
        }
    }
}

/// The transform of a length that is a power of two.
#[derive(Debug)]
struct Halves {
    /// The first half of the roots of unity.
    roots: Vec<Complex>,
}

impl Halves {
    fn new(length: usize) -> Self {
        let root = |at: usize| unit(-TAU * at as f64 / length as f64);
        Self { roots: (0..length / 2).map(root).collect() }
    }

    fn transform(&self, row: &mut [Complex]) {
        let length = row.len();
        if length < 2 {
            return;
        }
        let unused = usize::BITS - length.trailing_zeros();
        for at in 0..length {
            let mirrored = at.reverse_bits() >> unused;
            if at < mirrored {
                row.swap(at, mirrored);
            }
        }
        let mut half = 1;
        while half < length {
            let step = length / (2 * half);
            for block in row.chunks_exact_mut(2 * half) {
                let (left, right) = block.split_at_mut(half);
                for ((a, b), root) in
                    left.iter_mut().zip(right).zip(self.roots.iter().step_by(step))
                {
                    let turned = times(*b, *root);
                    *b = [a[0] - turned[0], a[1] - turned[1]];
                    *a = [a[0] + turned[0], a[1] + turned[1]];
                }
            }
            half *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_matches_the_definition_and_comes_back() {
        for length in [1, 2, 3, 4, 5, 7, 8, 12, 31, 64, 100] {
            let row: Vec<Complex> =
                (0..length).map(|at| [(at as f64).sin(), 0.3 * at as f64]).collect();
            let mut found = row.clone();
            Fourier::new(length, false).transform(&mut found);
            for (k, value) in found.iter().enumerate() {
                let mut sum = [0.0, 0.0];
                for (at, x) in row.iter().enumerate() {
                    let term = times(*x, unit(-TAU * (k * at) as f64 / length as f64));
                    sum = [sum[0] + term[0], sum[1] + term[1]];
                }
                assert!((value[0] - sum[0]).abs() < 1e-8 && (value[1] - sum[1]).abs() < 1e-8);
            }
            Fourier::new(length, true).transform(&mut found);
            for (a, b) in found.iter().zip(&row) {
                assert!((a[0] - b[0]).abs() < 1e-9 && (a[1] - b[1]).abs() < 1e-9);
            }
        }
    }
}
