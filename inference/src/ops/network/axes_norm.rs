//! MeanVarianceNormalization and LpNormalization: over any axes, without parameters.
//! <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>
//!
//! Where a norm is 0 the output is 0, as the specification has it.

use super::precision::{Real, f64_of, for_real, narrowed, widened};
use crate::error::OpError;
use crate::ops::broadcast::{for_rows, strides_in};
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axes_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Added to the standard deviation, as the specification's function body has it.
const EPSILON: f64 = 1e-9;

#[derive(Clone, Copy, Debug)]
enum By {
    Moments,
    Sum,
    Euclid,
}

#[derive(Debug)]
struct AxesNorm {
    by: By,
    axes: Vec<i64>,
}

pub(super) fn build_moments(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let axes = spec.ints_opt("axes")?.unwrap_or(&[0, 2, 3]).to_vec();
    Ok(Box::new(AxesNorm { by: By::Moments, axes }))
}

pub(super) fn build_norm(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let by = match spec.int("p", 2)? {
        1 => By::Sum,
        2 => By::Euclid,
        other => return Err(BuildError::invalid(format!("p is {other}, 1 or 2 are wanted"))),
    };
    Ok(Box::new(AxesNorm { by, axes: vec![spec.int("axis", -1)?] }))
}

impl Operator for AxesNorm {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let axes = axes_of(&self.axes, input.rank())?;
        let out = for_real!(input, T, { self.normalised::<T>(&input, &axes)? });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

impl AxesNorm {
    fn normalised<T: Real>(&self, input: &Tensor, axes: &[usize]) -> Result<Tensor, OpError> {
        let mut reduced = input.shape().to_vec();
        for axis in axes {
            reduced[*axis] = 1;
        }
        let kept = crate::tensor::elements_of(&reduced).unwrap_or(0);
        if input.is_empty() || kept == 0 {
            return Ok(input.clone());
        }
        let count = f64_of(input.len() / kept);
        let elements = input.as_slice::<T>()?;
        let folded = |f: &dyn Fn(f64, usize) -> f64| {
            let mut sums = vec![0.0_f64; kept];
            for_elements(input.shape(), &reduced, |at, group| {
                sums[group] += f(num_traits::AsPrimitive::<f64>::as_(elements[at]), group);
            });
            sums
        };
        let (means, divisors) = match self.by {
            By::Sum => (None, folded(&|element, _| element.abs())),
            By::Euclid => {
                let sums = folded(&|element, _| element * element);
                (None, sums.into_iter().map(f64::sqrt).collect())
            }
            By::Moments => {
                let means: Vec<f64> =
                    folded(&|element, _| element).into_iter().map(|sum| sum / count).collect();
                let squares = folded(&|element, group| (element - means[group]).powi(2));
                let deviation = |sum: f64| (sum / count).sqrt() + EPSILON;
                (Some(means), squares.into_iter().map(deviation).collect::<Vec<_>>())
            }
        };
        let mut out = elements.to_vec();
        for_elements(input.shape(), &reduced, |at, group| {
            let mean = means.as_ref().map_or(0.0, |means| means[group]);
            let element = num_traits::AsPrimitive::<f64>::as_(out[at]) - mean;
            // Of moments it is never 0.
            let divisor = divisors[group];
            out[at] = T::of(if divisor == 0.0 { 0.0 } else { element / divisor });
        });
        Ok(Tensor::new(input.shape(), out))
    }
}

/// Calls `f` with the place of each element and that of the group that it belongs to.
fn for_elements(shape: &[usize], reduced: &[usize], mut f: impl FnMut(usize, usize)) {
    let strides = strides_in(reduced, shape);
    let (last, step) = match (shape.last(), strides.last()) {
        (Some(last), Some(step)) => (*last, *step),
        _ => (1, 0),
    };
    for_rows(shape, &strides, &strides, |at, group, _| {
        for number in 0..last {
            f(at + number, group + number * step);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_of_zero_gives_zeros() {
        for by in [By::Sum, By::Euclid] {
            let norm = AxesNorm { by, axes: vec![1] };
            let input = Tensor::new([2, 2], vec![0.0_f32, 0.0, 3.0, 0.0]);
            let out = norm.normalised::<f32>(&input, &[1]).unwrap();
            assert_eq!(out.as_slice::<f32>().unwrap(), [0.0, 0.0, 1.0, 0.0]);
        }
    }
}
