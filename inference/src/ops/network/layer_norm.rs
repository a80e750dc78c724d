//! LayerNormalization and RMSNormalization: <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html>
//!
//! The moments are computed in f32 (`stash_type` 1, the default), or f64 for an f64 input; other types are refused.

use super::lanes::{moments, squares_about};
use super::layout::Layout;
use super::planes::for_chunks;
use super::precision::{Real, f64_of, for_real, narrowed, reals, widened};
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::broadcast::{for_rows, joint_shape, strides_in};
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct LayerNorm {
    axis: i64,
    epsilon: f64,
    /// The mean is left alone: RMSNormalization.
    root_mean_square: bool,
    /// The moments are asked for.
    moments: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    if spec.int("stash_type", 1)? != 1 {
        return Err(BuildError::unsupported("a stash_type other than f32"));
    }
    Ok(Box::new(LayerNorm {
        axis: spec.int("axis", -1)?,
        epsilon: f64::from(spec.float("epsilon", 1e-5)?),
        root_mean_square: spec.op() == "RMSNormalization",
        moments: spec.wants_output(1) || spec.wants_output(2),
    }))
}

impl Operator for LayerNorm {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let (scale, bias) = (inputs.tensor(1)?, inputs.optional(2)?);
        let axis = axis_of(self.axis, input.rank())?;
        for_real!(input, T, {
            let scale = Parameter::<T>::of(scale, input.shape(), axis)?;
            let bias = bias.map(|bias| Parameter::of(bias, input.shape(), axis)).transpose()?;
            let mut outputs = vec![];
            let means = if self.moments {
                let (means, inverses) = self.moments_of::<T>(&input, axis)?;
                [means, inverses].map(|tensor| narrowed(tensor, DType::F32)).into_iter().collect()
            } else {
                Ok(vec![])
            };
            let out = self.normalised::<T>(input, axis, &scale, bias.as_ref())?;
            outputs.push(narrowed(out, dtype)?.into());
            outputs.extend(means?.into_iter().map(Value::from));
            Ok(outputs)
        })
    }
}

/// Scale or bias: one row for all, or a row for each row of the input.
struct Parameter<T> {
    elements: Vec<T>,
    shared: bool,
}

impl<T: Real> Parameter<T> {
    fn of(tensor: &Tensor, shape: &[usize], axis: usize) -> Result<Self, OpError> {
        let elements = reals::<T>(tensor)?;
        let ones = tensor.rank().checked_sub(shape.len() - axis);
        let leading = ones.and_then(|ones| tensor.shape().split_at_checked(ones));
        if leading.is_some_and(|(ones, row)| *row == shape[axis..] && ones.iter().all(|n| *n == 1))
        {
            return Ok(Self { elements, shared: true });
        }
        if joint_shape(tensor.shape(), shape)? != shape {
            let of = tensor.shape();
            return Err(OpError::shape(format!("{of:?} does not broadcast to {shape:?}")));
        }
        let strides = strides_in(tensor.shape(), shape);
        let last = shape.last().copied().unwrap_or(1);
        let mut spread = Vec::new();
        for_rows(shape, &strides, &strides, |_, at, _| match strides.last() {
            Some(0) | None => spread.extend(std::iter::repeat_n(elements[at], last)),
            _ => spread.extend_from_slice(&elements[at..at + last]),
        });
        Ok(Self { elements: spread, shared: false })
    }

    #[inline(always)]
    fn row(&self, number: usize, len: usize) -> &[T] {
        if self.shared { &self.elements } else { &self.elements[number * len..][..len] }
    }
}

impl LayerNorm {
    /// What is subtracted, and what is multiplied by.
    #[inline(always)]
    fn row_moments<T: Real>(&self, row: &[T], count: T) -> (T, T) {
        let (mean, variance) = if self.root_mean_square {
            (T::ZERO, squares_about(row, T::ZERO) / count)
        } else {
            moments(row, count)
        };
        (mean, (variance + T::of(self.epsilon)).sqrt().recip())
    }

    fn moments_of<T: Real>(
        &self,
        input: &Tensor,
        axis: usize,
    ) -> Result<(Tensor, Tensor), OpError> {
        let row = Layout { batch: 1, channels: 1, spatial: &input.shape()[axis..] }.plane();
        let shape: Vec<usize> = input
            .shape()
            .iter()
            .enumerate()
            .map(|(at, size)| if at < axis { *size } else { 1 })
            .collect();
        let rows = input.as_slice::<T>()?.chunks_exact(row.max(1));
        let (means, inverses): (Vec<T>, Vec<T>) =
            rows.map(|elements| self.row_moments(elements, T::of(f64_of(row)))).unzip();
        if crate::tensor::elements_of(&shape) != Some(means.len()) {
            return Err(OpError::shape(format!(
                "{:?} has no elements to normalise",
                input.shape()
            )));
        }
        Ok((Tensor::new(shape.clone(), means), Tensor::new(shape, inverses)))
    }

    fn normalised<T: Real>(
        &self,
        mut input: Tensor,
        axis: usize,
        scale: &Parameter<T>,
        bias: Option<&Parameter<T>>,
    ) -> Result<Tensor, OpError> {
        let row = Layout { batch: 1, channels: 1, spatial: &input.shape()[axis..] }.plane();
        let count = T::of(f64_of(row));
        let normalise = |elements: &mut [T]| {
            for_chunks(elements, row, |number, elements| {
                let (mean, inverse) = self.row_moments(elements, count);
                let scale = scale.row(number, row);
                match bias {
                    None => {
                        for (element, scale) in elements.iter_mut().zip(scale) {
                            *element = (*element - mean) * inverse * *scale;
                        }
                    }
                    Some(bias) => {
                        let parameters = scale.iter().zip(bias.row(number, row));
                        for (element, (scale, bias)) in elements.iter_mut().zip(parameters) {
                            *element = (*element - mean) * inverse * *scale + *bias;
                        }
                    }
                }
            });
        };
        if let Some(elements) = input.make_mut::<T>() {
            normalise(elements);
            return Ok(input);
        }
        let mut elements = input.as_slice::<T>()?.to_vec();
        normalise(&mut elements);
        Ok(Tensor::new(input.shape(), elements))
    }
}
