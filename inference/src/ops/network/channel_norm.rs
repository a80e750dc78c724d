//! InstanceNormalization and GroupNormalization: <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>
//!
//! Both normalise, within each item, the channels of a group by their joint moments; an instance is a group of one channel.

use super::lanes::moments;
use super::layout::Layout;
use super::planes::for_chunks;
use super::precision::{Real, f64_of, for_real, narrowed, per_channel, widened};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct ChannelNorm {
    epsilon: f64,
    /// `None`: every channel by itself.
    groups: Option<usize>,
    /// Scale and bias have one element per group, not per channel: as before opset 21.
    parameters_of_groups: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let instance = spec.op() == "InstanceNormalization";
    if !instance && !matches!(spec.int("stash_type", 1)?, 1 | 11) {
        return Err(BuildError::unsupported("a stash_type that is neither f32 nor f64"));
    }
    let groups = match (instance, spec.int_opt("num_groups")?) {
        (true, _) => None,
        (false, Some(groups)) => match usize::try_from(groups) {
            Ok(groups) if groups > 0 => Some(groups),
            _ => return Err(BuildError::invalid(format!("num_groups is {groups}"))),
        },
        (false, None) => return Err(BuildError::invalid("attribute \"num_groups\" is missing")),
    };
    Ok(Box::new(ChannelNorm {
        epsilon: f64::from(spec.float("epsilon", 1e-5)?),
        groups,
        parameters_of_groups: !instance && spec.version() < 21,
    }))
}

impl Operator for ChannelNorm {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let (scale, bias) = (inputs.tensor(1)?, inputs.tensor(2)?);
        let out = for_real!(input, T, { self.normalised::<T>(&input, scale, bias)? });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

impl ChannelNorm {
    fn normalised<T: Real>(
        &self,
        input: &Tensor,
        scale: &Tensor,
        bias: &Tensor,
    ) -> Result<Tensor, OpError> {
        let layout = Layout::of(input.shape(), 0)?;
        let (channels, plane) = (layout.channels, layout.plane());
        let groups = self.groups.unwrap_or(channels);
        if channels == 0 || input.is_empty() {
            return Ok(input.clone());
        }
        if !channels.is_multiple_of(groups) {
            return Err(OpError::shape(format!("{channels} channels in {groups} groups")));
        }
        let of_group = channels / groups;
        let (parameters, repeated) =
            if self.parameters_of_groups { (groups, of_group) } else { (channels, 1) };
        let scale = per_channel::<T>(scale, "scale", parameters)?;
        let bias = per_channel::<T>(bias, "bias", parameters)?;
        let (count, epsilon) = (T::of(f64_of(of_group * plane)), T::of(self.epsilon));
        let mut out = input.as_slice::<T>()?.to_vec();
        for_chunks(&mut out, of_group * plane, |number, group| {
            let (mean, variance) = moments(group, count);
            let inverse = (variance + epsilon).sqrt().recip();
            let first = number % groups * of_group;
            for (channel, plane) in group.chunks_exact_mut(plane).enumerate() {
                let at = (first + channel) / repeated;
                let factor = scale[at] * inverse;
                for element in plane {
                    *element = (*element - mean) * factor + bias[at];
                }
            }
        });
        Ok(Tensor::new(input.shape(), out))
    }
}
