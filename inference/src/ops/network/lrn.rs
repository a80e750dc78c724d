//! LRN, local response normalisation across channels: <https://onnx.ai/onnx/operators/onnx__LRN.html>

use super::layout::Layout;
use super::planes::for_chunks;
use super::precision::{Real, f64_of, for_real, narrowed, widened};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Lrn {
    alpha: f64,
    beta: f64,
    bias: f64,
    size: usize,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let Some(size) = spec.int_opt("size")? else {
        return Err(BuildError::invalid("attribute \"size\" is missing"));
    };
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    Ok(Box::new(Lrn {
        alpha: f64::from(spec.float("alpha", 0.0001)?),
        beta: f64::from(spec.float("beta", 0.75)?),
        bias: f64::from(spec.float("bias", 1.0)?),
        size: size.ok_or_else(|| BuildError::invalid("size should be at least 1"))?,
    }))
}

impl Operator for Lrn {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let out = for_real!(input, T, { self.normalised::<T>(&input)? });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

impl Lrn {
    fn normalised<T: Real>(&self, input: &Tensor) -> Result<Tensor, OpError> {
        let layout = Layout::of(input.shape(), 0)?;
        let (channels, plane) = (layout.channels, layout.plane());
        let elements = input.as_slice::<T>()?;
        let mut out = vec![T::ZERO; elements.len()];
        // One channel more lies behind than before, if the size is even.
        let (before, behind) = ((self.size - 1) / 2, self.size / 2);
        let alpha = T::of(self.alpha / f64_of(self.size));
        let (bias, power) = (T::of(self.bias), T::of(-self.beta));
        for_chunks(&mut out, plane, |number, out| {
            let (item, channel) = (number / channels, number % channels);
            let first = channel.saturating_sub(before);
            let end = channel.saturating_add(behind).saturating_add(1).min(channels);
            for near in first..end {
                let near = &elements[(item * channels + near) * plane..][..plane];
                for (sum, element) in out.iter_mut().zip(near) {
                    *sum = *sum + *element * *element;
                }
            }
            for (sum, element) in out.iter_mut().zip(&elements[number * plane..][..plane]) {
                *sum = *element * (bias + alpha * *sum).powf(power);
            }
        });
        Ok(Tensor::new(input.shape(), out))
    }
}
