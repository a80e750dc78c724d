//! BatchNormalization: <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>
//!
//! Inference is one multiplication and one addition per element. Training (`training_mode`, from opset 14 on) normalises by the batch's
//! own moments; older models said by the number of outputs that they train, which is refused.

use super::layout::Layout;
use super::planes::for_chunks;
use super::precision::{Real, f64_of, for_real, narrowed, per_channel, widened};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct BatchNorm {
    epsilon: f64,
    momentum: f64,
    training: bool,
    /// Statistics per channel, not per element of an item.
    spatial: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let version = spec.version();
    if version < 14 && (1..spec.output_count()).any(|at| spec.wants_output(at)) {
        return Err(BuildError::unsupported("training before opset 14"));
    }
    if version < 7 && spec.int("is_test", 0)? == 0 {
        return Err(BuildError::unsupported("training, as is_test is not set"));
    }
    Ok(Box::new(BatchNorm {
        epsilon: f64::from(spec.float("epsilon", 1e-5)?),
        momentum: f64::from(spec.float("momentum", 0.9)?),
        training: version >= 14 && spec.flag("training_mode", false)?,
        spatial: version >= 9 || spec.flag("spatial", true)?,
    }))
}

impl Operator for BatchNorm {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let moments_dtype = inputs.tensor(3)?.dtype();
        let (channels, inner) = self.channels(input.shape())?;
        for_real!(input, T, {
            let parameter = |at, name| per_channel::<f64>(inputs.tensor(at)?, name, channels);
            let (scale, bias) = (parameter(1, "scale")?, parameter(2, "B")?);
            let (mean, variance) = (parameter(3, "mean")?, parameter(4, "var")?);
            if !self.training {
                let out = self.scaled::<T>(input, inner, [&scale, &bias, &mean, &variance])?;
                return Ok(vec![narrowed(out, dtype)?.into()]);
            }
            let (own_mean, own_variance) = moments(input.as_slice::<T>()?, channels, inner);
            let running = |old: &[f64], new: &[f64]| {
                let mixed =
                    |(old, new): (&f64, &f64)| old * self.momentum + new * (1.0 - self.momentum);
                let mixed: Vec<f64> = old.iter().zip(new).map(mixed).collect();
                narrowed(Tensor::new([channels], mixed), moments_dtype)
            };
            let (means, variances) =
                (running(&mean, &own_mean)?, running(&variance, &own_variance)?);
            let out = self.scaled::<T>(input, inner, [&scale, &bias, &own_mean, &own_variance])?;
            Ok(vec![narrowed(out, dtype)?.into(), means.into(), variances.into()])
        })
    }
}

impl BatchNorm {
    /// Channels, and elements of each channel that lie together.
    fn channels(&self, shape: &[usize]) -> Result<(usize, usize), OpError> {
        if shape.len() == 1 {
            return Ok((1, 1));
        }
        let layout = Layout::of(shape, 0)?;
        if self.spatial {
            Ok((layout.channels, layout.plane()))
        } else {
            Ok((crate::tensor::elements_of(&shape[1..]).unwrap_or(0), 1))
        }
    }

    fn scaled<T: Real>(
        &self,
        mut input: Tensor,
        inner: usize,
        [scale, bias, mean, variance]: [&[f64]; 4],
    ) -> Result<Tensor, OpError> {
        let factors: Vec<f64> = scale
            .iter()
            .zip(variance)
            .map(|(scale, v)| scale / (v + self.epsilon).sqrt())
            .collect();
        let moved = bias.iter().zip(mean).zip(&factors);
        let offsets: Vec<T> = moved.map(|((bias, mean), f)| T::of(bias - mean * f)).collect();
        let factors: Vec<T> = factors.into_iter().map(T::of).collect();
        if let Some(elements) = input.make_mut::<T>() {
            scale_planes(elements, inner, &factors, &offsets);
            return Ok(input);
        }
        let mut elements = input.as_slice::<T>()?.to_vec();
        scale_planes(&mut elements, inner, &factors, &offsets);
        Ok(Tensor::new(input.shape(), elements))
    }
}

fn scale_planes<T: Real>(elements: &mut [T], inner: usize, factors: &[T], offsets: &[T]) {
    if inner > 1 {
        return for_chunks(elements, inner, |number, plane| {
            let channel = number % factors.len();
            let (factor, offset) = (factors[channel], offsets[channel]);
            for element in plane {
                *element = *element * factor + offset;
            }
        });
    }
    for_chunks(elements, factors.len(), |_, item| {
        for ((element, factor), offset) in item.iter_mut().zip(factors).zip(offsets) {
            *element = *element * *factor + *offset;
        }
    });
}

/// Mean and variance of each channel over all items.
fn moments<T: Real>(elements: &[T], channels: usize, inner: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut means, mut variances) = (vec![0.0_f64; channels], vec![0.0_f64; channels]);
    if elements.is_empty() {
        return (means, variances);
    }
    let count = f64_of(elements.len() / channels);
    let wide = |element: &T| -> f64 { num_traits::AsPrimitive::<f64>::as_(*element) };
    for (number, plane) in elements.chunks_exact(inner).enumerate() {
        means[number % channels] += plane.iter().map(wide).sum::<f64>() / count;
    }
    for (number, plane) in elements.chunks_exact(inner).enumerate() {
        let mean = means[number % channels];
        let squares = plane.iter().map(|element| (wide(element) - mean).powi(2));
        variances[number % channels] += squares.sum::<f64>() / count;
    }
    (means, variances)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::ops::network::precision::reals;

    fn inputs(shape: &[usize], channels: usize) -> Inputs {
        let count = shape.iter().product::<usize>();
        let ramp = (0..count).map(ramp_at).collect::<Vec<f32>>();
        let one = |value: f32| Some(Value::Tensor(Tensor::full([channels], value)));
        let x = Some(Value::Tensor(Tensor::new(shape, ramp)));
        Inputs(vec![x, one(2.0), one(1.0), one(0.5), one(4.0)])
    }

    fn ramp_at(at: usize) -> f32 {
        f32::of(f64_of(at))
    }

    fn run(spatial: bool, inputs: Inputs) -> Result<Vec<f32>, OpError> {
        let layer = BatchNorm { epsilon: 0.0, momentum: 0.9, training: false, spatial };
        let limits = Limits::default();
        let out = layer.run(inputs, &mut Context::new(&limits, 0))?;
        reals(out[0].as_tensor()?)
    }

    #[test]
    fn statistics_are_per_channel_or_per_element() {
        let expected: Vec<f32> = (0..12).map(|at| ramp_at(at) + 0.5).collect();
        assert_eq!(run(true, inputs(&[2, 3, 2], 3)).unwrap(), expected);
        assert_eq!(run(false, inputs(&[2, 3, 2], 6)).unwrap(), expected);
        assert_eq!(run(true, inputs(&[12], 1)).unwrap(), expected);
        assert!(run(true, inputs(&[2, 3, 2], 4)).is_err());
        assert!(run(true, inputs(&[0, 3, 2], 3)).unwrap().is_empty());
    }
}
