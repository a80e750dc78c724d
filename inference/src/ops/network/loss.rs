//! NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: <https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html>
//!
//! A target outside of the classes is an error of the run, unless it is `ignore_index`.

use super::layout::Layout;
use super::precision::{Real, f64_of, for_real, narrowed, per_channel, widened};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Reduction {
    None,
    Sum,
    Mean,
}

#[derive(Debug)]
struct Loss {
    reduction: Reduction,
    ignored: Option<i64>,
    /// The input holds scores, not logarithms of probabilities.
    of_scores: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let reduction = match spec.text("reduction", "mean")? {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => return Err(BuildError::invalid(format!("reduction is {other:?}"))),
    };
    let of_scores = spec.op() == "SoftmaxCrossEntropyLoss";
    Ok(Box::new(Loss { reduction, ignored: spec.int_opt("ignore_index")?, of_scores }))
}

impl Operator for Loss {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let (target, weight) = (inputs.tensor(1)?, inputs.optional(2)?);
        for_real!(input, T, {
            let layout = Layout::of(input.shape(), 0)?;
            let mut logs = input.as_slice::<T>()?.to_vec();
            if self.of_scores {
                log_softmax(&mut logs, layout);
            }
            let weight = weight
                .map(|weight| per_channel::<T>(weight, "weight", layout.channels))
                .transpose()?;
            let loss = self.of_logs(&logs, layout, target, weight.as_deref())?;
            let mut outputs = vec![narrowed(loss, dtype)?.into()];
            if self.of_scores {
                outputs.push(narrowed(Tensor::new(input.shape(), logs), dtype)?.into());
            }
            Ok(outputs)
        })
    }
}

impl Loss {
    fn of_logs<T: Real>(
        &self,
        logs: &[T],
        layout: Layout<'_>,
        target: &Tensor,
        weight: Option<&[T]>,
    ) -> Result<Tensor, OpError> {
        let expected: Vec<usize> =
            std::iter::once(layout.batch).chain(layout.spatial.iter().copied()).collect();
        if target.shape() != expected {
            return Err(OpError::shape(format!(
                "the target has shape {:?}, {expected:?} is wanted",
                target.shape()
            )));
        }
        let plane = layout.plane();
        let (mut losses, mut sum, mut weights) = (Vec::with_capacity(target.len()), 0.0, 0.0);
        for (at, class) in target.to_i64s()?.into_iter().enumerate() {
            if self.ignored == Some(class) {
                losses.push(T::ZERO);
                continue;
            }
            let place = usize::try_from(class).ok().filter(|place| *place < layout.channels);
            let channel = place.ok_or_else(|| {
                OpError::shape(format!("target {class} is none of {} classes", layout.channels))
            })?;
            let log = logs[(at / plane * layout.channels + channel) * plane + at % plane];
            let weight = weight.map_or(T::ONE, |weight| weight[channel]);
            let loss = -log * weight;
            sum += num_traits::AsPrimitive::<f64>::as_(loss);
            weights += num_traits::AsPrimitive::<f64>::as_(weight);
            losses.push(loss);
        }
        Ok(match self.reduction {
            Reduction::None => Tensor::new(expected, losses),
            Reduction::Sum => Tensor::scalar(T::of(sum)),
            Reduction::Mean if weight.is_none() && self.ignored.is_none() => {
                Tensor::scalar(T::of(sum / f64_of(losses.len())))
            }
            Reduction::Mean => Tensor::scalar(T::of(sum / weights)),
        })
    }
}

fn log_softmax<T: Real>(elements: &mut [T], layout: Layout<'_>) {
    let (channels, plane) = (layout.channels, layout.plane());
    if elements.is_empty() {
        return;
    }
    let mut column = vec![T::ZERO; channels];
    for item in elements.chunks_exact_mut(channels * plane) {
        for at in 0..plane {
            for (channel, value) in column.iter_mut().enumerate() {
                *value = item[channel * plane + at];
            }
            let largest = column.iter().copied().fold(T::neg_infinity(), T::max);
            let sum = column.iter().fold(T::ZERO, |sum, value| sum + (*value - largest).exp());
            let log = sum.ln() + largest;
            for (channel, value) in column.iter().enumerate() {
                item[channel * plane + at] = *value - log;
            }
        }
    }
}
