//! MaxUnpool: <https://onnx.ai/onnx/operators/onnx__MaxUnpool.html>
//!
//! Indices count through the whole output, as MaxPool gives them; a larger `output_shape` adds zeros behind each axis.

use super::layout::{Layout, advance, strides_of};
use super::window::sizes;
use crate::dtype::{Element, for_repr};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct MaxUnpool {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<usize>,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let kernel = sizes(spec, "kernel_shape", 1)?
        .ok_or_else(|| BuildError::invalid("attribute \"kernel_shape\" is missing"))?;
    let strides = sizes(spec, "strides", 1)?.unwrap_or_else(|| vec![1; kernel.len()]);
    let pads = sizes(spec, "pads", 0)?.unwrap_or_else(|| vec![0; 2 * kernel.len()]);
    if strides.len() != kernel.len() || pads.len() != 2 * kernel.len() {
        return Err(BuildError::invalid("kernel_shape, strides and pads are of different axes"));
    }
    Ok(Box::new(MaxUnpool { kernel, strides, pads }))
}

impl MaxUnpool {
    /// The sizes that a pooling would have had to begin with, at least.
    fn inferred(&self, layout: Layout<'_>) -> Result<Vec<usize>, OpError> {
        if layout.spatial.len() != self.kernel.len() {
            return Err(OpError::shape(format!(
                "a kernel of shape {:?} does not fit spatial axes {:?}",
                self.kernel, layout.spatial
            )));
        }
        let size = |(axis, size): (usize, &usize)| {
            let pads = self.pads[axis].checked_add(self.pads[axis + self.kernel.len()])?;
            let reach = size.checked_sub(1)?.checked_mul(self.strides[axis])?;
            reach.checked_add(self.kernel[axis])?.checked_sub(pads)
        };
        let spatial: Option<Vec<usize>> = layout.spatial.iter().enumerate().map(size).collect();
        spatial
            .map(|spatial| layout.with(spatial))
            .ok_or_else(|| OpError::shape("kernel, strides and pads leave no output"))
    }
}

impl Operator for MaxUnpool {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, indices) = (inputs.tensor(0)?, inputs.tensor(1)?.as_slice::<i64>()?);
        let inferred = self.inferred(Layout::of(input.shape(), 1)?)?;
        let shape = match inputs.optional(2)? {
            None => inferred.clone(),
            Some(wanted) => {
                let wanted = wanted.to_i64s()?;
                let size = |size: &i64| usize::try_from(*size).ok();
                let shape: Option<Vec<usize>> = wanted.iter().map(size).collect();
                let fits = |shape: &Vec<usize>| {
                    shape.len() == inferred.len()
                        && shape.iter().zip(&inferred).all(|(a, b)| a >= b)
                };
                shape.filter(fits).ok_or_else(|| {
                    OpError::shape(format!("output_shape {wanted:?} is not at least {inferred:?}"))
                })?
            }
        };
        if indices.len() != input.len() {
            return Err(OpError::shape(format!(
                "{} indices for {} elements",
                indices.len(),
                input.len()
            )));
        }
        let bytes = input.dtype().bytes();
        context.claim(&shape, bytes)?;
        for_repr!(input.dtype(), T, {
            let mut small = vec![T::ZERO; context.claim(&inferred, bytes)?];
            for (value, at) in input.as_units::<T>()?.iter().zip(indices) {
                let place = usize::try_from(*at).ok().and_then(|at| small.get_mut(at));
                let outside = || OpError::shape(format!("index {at} is outside of {inferred:?}"));
                *place.ok_or_else(outside)? = *value;
            }
            let out = if shape == inferred { small } else { enlarged(&small, &inferred, &shape) };
            Ok(vec![Tensor::from_units(input.dtype(), shape, out).into()])
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: input.dtype() })
        })
    }
}

/// The elements in the corner of a larger tensor of zeros.
fn enlarged<T: Element>(elements: &[T], from: &[usize], to: &[usize]) -> Vec<T> {
    let mut out = vec![T::ZERO; crate::tensor::elements_of(to).unwrap_or(0)];
    let (Some((last, outer)), strides) = (from.split_last(), strides_of(to)) else { return out };
    if elements.is_empty() {
        return out;
    }
    let mut place = vec![0; outer.len()];
    for row in elements.chunks_exact(*last) {
        let at: usize = place.iter().zip(&strides).map(|(at, stride)| at * stride).sum();
        out[at..at + last].copy_from_slice(row);
        advance(&mut place, outer);
    }
    out
}
