//! Softmax, LogSoftmax, Hardmax: <https://onnx.ai/onnx/operators/onnx__Softmax.html>
//!
//! Before version 13 the operand is taken as a matrix, cut in two at the axis. Halves are computed in f32.

use half::{bf16, f16};
use num_traits::Float;

use super::lines::{Extent, for_each_mut};
use crate::dtype::{Element, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Soft,
    LogSoft,
    Hard,
}

#[derive(Debug)]
struct Normalised {
    kind: Kind,
    axis: i64,
    /// Whether all axes from `axis` on are one.
    matrix: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let matrix = spec.version() < 13;
    let kind = match spec.op() {
        "Softmax" => Kind::Soft,
        "LogSoftmax" => Kind::LogSoft,
        _ => Kind::Hard,
    };
    Ok(Box::new(Normalised { kind, axis: spec.int("axis", if matrix { 1 } else { -1 })?, matrix }))
}

impl Operator for Normalised {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let (shape, rank) = (tensor.shape().to_vec(), tensor.rank());
        let extent = if self.matrix && usize::try_from(self.axis) == Ok(rank) {
            Extent { outer: tensor.len(), size: 1, inner: 1 }
        } else if self.matrix {
            Extent::joining(&shape, axis_of(self.axis, rank)?..rank)
        } else {
            Extent::of(&shape, axis_of(self.axis, rank)?)
        };
        let dtype = tensor.dtype();
        let kind = self.kind;
        if dtype == f32::DTYPE {
            let mut data = tensor.into_vec::<f32>()?;
            for_each_mut(&mut data, extent, |line| normalise_f32(kind, line));
            return Ok(vec![Tensor::new(shape, data).into()]);
        }
        for_dtype!(dtype, T in [f16, bf16], {
            let mut data: Vec<f32> = tensor.as_slice::<T>()?.iter().map(|x| x.to_f32()).collect();
            for_each_mut(&mut data, extent, |line| normalise_f32(kind, line));
            let halves: Vec<T> = data.into_iter().map(T::from_f32).collect();
            return Ok(vec![Tensor::new(shape, halves).into()]);
        }, else {});
        for_dtype!(dtype, T in [f64], {
            let mut data = tensor.into_vec::<T>()?;
            for_each_mut(&mut data, extent, |line| normalise(kind, line, |x: T| x.exp()));
            Ok(vec![Tensor::new(shape, data).into()])
        }, else {
            Err(OpError::Type { expected: "a float type", found: dtype })
        })
    }
}

/// Places of a line that are worked on at once.
const LANES: usize = 8;

/// The largest element; NaN if there is one.
fn largest<T: Float>(line: &[T]) -> T {
    let larger = |a: T, b: T| if b > a || b.is_nan() { b } else { a };
    let mut lanes = [T::neg_infinity(); LANES];
    let chunks = line.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(T::neg_infinity(), |a, b| larger(a, *b));
    for chunk in chunks {
        for (lane, element) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *element);
        }
    }
    lanes.into_iter().fold(rest, larger)
}

fn sum<T: Float>(line: &[T]) -> T {
    let mut lanes = [T::zero(); LANES];
    let chunks = line.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(T::zero(), |a, b| a + *b);
    for chunk in chunks {
        for (lane, element) in lanes.iter_mut().zip(chunk) {
            *lane = *lane + *element;
        }
    }
    lanes.into_iter().fold(rest, |a, b| a + b)
}

fn normalise_f32(kind: Kind, line: &mut [f32]) {
    normalise(kind, line, exp_of_negative);
}

/// Makes a line its softmax and so on. `exp` is asked for differences to the largest element: none is positive.
fn normalise<T: Float>(kind: Kind, line: &mut [T], exp: impl Fn(T) -> T) {
    let top = largest(line);
    if kind == Kind::Hard {
        // The first of several largest ones; a NaN counts as larger than all.
        let first = line.iter().position(|x| *x == top || (x.is_nan() && top.is_nan()));
        line.fill(T::zero());
        if let Some(place) = first {
            line[place] = T::one();
        }
        return;
    }
    // Infinity minus itself is what makes such a line NaN by the formula.
    if !top.is_finite() && !line.is_empty() {
        line.fill(T::nan());
        return;
    }
    if kind == Kind::LogSoft {
        line.iter_mut().for_each(|x| *x = *x - top);
        let total = line.iter().fold(T::zero(), |total, x| total + exp(*x)).ln();
        line.iter_mut().for_each(|x| *x = *x - total);
        return;
    }
    line.iter_mut().for_each(|x| *x = exp(*x - top));
    let scale = T::one() / sum(line);
    line.iter_mut().for_each(|x| *x = *x * scale);
}

/// `exp` for what is not positive, to about 2 units in the last place, without branches, so that a loop over it is one
/// over lanes. Below the least normal number it is 0.
fn exp_of_negative(x: f32) -> f32 {
    const LEAST: f32 = -87.336_54;
    /// 1.5 * 2^23: added to a small number, it leaves that number's whole part in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let clamped = if x < LEAST { LEAST } else { x };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUNDER;
    let whole = rounded - ROUNDER;
    // The logarithm of 2 in two parts, the first with so few bits that its multiples are exact.
    let rest = clamped - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut power = 1.987_569_1e-4_f32;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5_f32] {
        power = power * rest + coefficient;
    }
    let power = power * rest * rest + rest + 1.0;
    let scaled = f32::from_bits(power.to_bits().wrapping_add(rounded.to_bits() << 23));
    if x < LEAST { 0.0 } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close() {
        let mut x = 0.0_f32;
        while x > -90.0 {
            let (found, exact) = (exp_of_negative(x), x.exp());
            let wanted = if x < -87.336_54 { 0.0 } else { exact };
            assert!((found - wanted).abs() <= 4e-7 * wanted, "exp({x}) is {exact}, found {found}");
            x -= 0.013;
        }
        assert_eq!(exp_of_negative(0.0), 1.0);
        assert_eq!(exp_of_negative(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn masked_places_are_zero_and_lines_without_a_number_are_nan() {
        let mut line = [0.0_f32, f32::NEG_INFINITY, 0.0];
        normalise_f32(Kind::Soft, &mut line);
        assert_eq!(line, [0.5, 0.0, 0.5]);
        for wrong in [f32::NEG_INFINITY, f32::INFINITY, f32::NAN] {
            let mut line = [wrong; 11];
            normalise_f32(Kind::Soft, &mut line);
            assert!(line.iter().all(|x| x.is_nan()));
        }
    }
}
