//! ConvTranspose: <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>
//!
//! Refused: an `output_shape` that is larger than strides and kernel reach by more than the text says how to place.

use super::lanes::add_weighted;
use super::layout::{Layout, advance};
use super::planes::for_chunks;
use super::precision::{Real, for_real, narrowed, per_channel, reals, widened};
use super::scatter::{ScatterAxis, add_column};
use super::window::{AutoPad, sizes};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

#[derive(Debug)]
struct ConvTranspose {
    kernel: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    output_padding: Option<Vec<usize>>,
    output_shape: Option<Vec<usize>>,
    pads: Option<Vec<i64>>,
    auto_pad: AutoPad,
    group: usize,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let given = |name, min| -> Result<Option<Vec<usize>>, BuildError> {
        Ok(sizes(spec, name, min)?.filter(|sizes| !sizes.is_empty()))
    };
    let group = spec.int("group", 1)?;
    let group = usize::try_from(group).ok().filter(|group| *group > 0);
    Ok(Box::new(ConvTranspose {
        kernel: given("kernel_shape", 1)?,
        strides: given("strides", 1)?,
        dilations: given("dilations", 1)?,
        output_padding: given("output_padding", 0)?,
        output_shape: given("output_shape", 0)?,
        pads: spec.ints_opt("pads")?.filter(|pads| !pads.is_empty()).map(<[i64]>::to_vec),
        auto_pad: AutoPad::of(spec)?,
        group: group.ok_or_else(|| BuildError::invalid("group should be at least 1"))?,
    }))
}

impl ConvTranspose {
    fn axes(&self, spatial: &[usize], kernel: &[usize]) -> Result<Vec<ScatterAxis>, OpError> {
        let count = spatial.len();
        if kernel.len() != count || self.kernel.as_ref().is_some_and(|named| named != kernel) {
            return Err(OpError::shape(format!(
                "a kernel of {kernel:?} for spatial axes {spatial:?}, kernel_shape is {:?}",
                self.kernel
            )));
        }
        let lengths = [&self.strides, &self.dilations, &self.output_padding]
            .map(|values| values.as_ref().map_or(count, Vec::len));
        let pads = self.pads.as_ref().map_or(2 * count, Vec::len);
        if lengths != [count; 3] || pads != 2 * count {
            return Err(OpError::shape(format!("attributes are not of {count} axes")));
        }
        // Some exporters write batch and channels too.
        let outputs = match &self.output_shape {
            Some(sizes) if sizes.len() == count => Some(sizes.as_slice()),
            Some(sizes) if sizes.len() == count + 2 => Some(&sizes[2..]),
            Some(sizes) => {
                return Err(OpError::shape(format!("output_shape {sizes:?} for {count} axes")));
            }
            None => None,
        };
        let axis = |at: usize| self.axis(at, spatial, kernel[at], outputs.map(|sizes| sizes[at]));
        (0..count).map(axis).collect()
    }

    fn axis(
        &self,
        at: usize,
        spatial: &[usize],
        kernel: usize,
        output: Option<usize>,
    ) -> Result<ScatterAxis, OpError> {
        let of = |values: &Option<Vec<usize>>, default| {
            values.as_ref().and_then(|values| values.get(at).copied()).unwrap_or(default)
        };
        let (size, stride, dilation) = (spatial[at], of(&self.strides, 1), of(&self.dilations, 1));
        let too_large = || OpError::shape("the kernel or its padding is too large");
        let reach = size.checked_sub(1).ok_or_else(|| OpError::shape("an axis has no elements"))?;
        let natural = reach
            .checked_mul(stride)
            .zip(kernel.checked_sub(1).and_then(|steps| steps.checked_mul(dilation)))
            .and_then(|(reach, span)| reach.checked_add(span)?.checked_add(1))
            .and_then(|full| full.checked_add(of(&self.output_padding, 0)))
            .and_then(|full| i64::try_from(full).ok())
            .filter(|full| *full < i64::MAX / 4)
            .ok_or_else(too_large)?;
        let same = matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
        let wanted = output.or_else(|| same.then_some(size.saturating_mul(stride)));
        let (begin, out) = if let Some(wanted) = wanted {
            let out = i64::try_from(wanted).ok().filter(|out| *out < i64::MAX / 4);
            let out = out.ok_or_else(too_large)?;
            let total = natural - out;
            let begin = match self.auto_pad {
                AutoPad::SameUpper => total.div_euclid(2),
                _ => total - total.div_euclid(2),
            };
            if total < 0 && begin != 0 {
                return Err(OpError::unsupported(format!(
                    "an output_shape of {out} where kernel and strides reach {natural}"
                )));
            }
            (begin, out)
        } else {
            let pad = |at: usize| match (self.auto_pad, &self.pads) {
                (AutoPad::Explicit, Some(pads)) => pads.get(at).copied().unwrap_or(0),
                _ => 0,
            };
            let (begin, end) = (pad(at), pad(at + spatial.len()));
            let out = natural.checked_sub(begin).and_then(|out| out.checked_sub(end));
            (begin, out.ok_or_else(too_large)?)
        };
        let size_out =
            usize::try_from(out).map_err(|_| OpError::shape(format!("an output of {out}")))?;
        let axis = ScatterAxis { size: size_out, places: size, stride, dilation, begin };
        axis.check(kernel)?;
        Ok(axis)
    }

    fn convolved<T: Real>(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let layout = Layout::of(input.shape(), 1)?;
        let filter = Layout::of(weight.shape(), 1)?;
        if filter.batch != layout.channels || !layout.channels.is_multiple_of(self.group) {
            return Err(OpError::shape(format!(
                "{:?} with a weight of {:?} in {} groups",
                input.shape(),
                weight.shape(),
                self.group
            )));
        }
        let axes = self.axes(layout.spatial, filter.spatial)?;
        let channels = filter.channels.checked_mul(self.group);
        let channels = channels.ok_or_else(|| OpError::shape("too many channels"))?;
        let mut shape = vec![layout.batch, channels];
        shape.extend(axes.iter().map(|axis| axis.size));
        let len = context.claim(&shape, size_of::<T>())?;
        let mut out = vec![T::ZERO; len];
        let bias = bias.map(|bias| per_channel::<T>(bias, "bias", channels)).transpose()?;
        let (elements, weights) = (input.as_slice::<T>()?, reals::<T>(weight)?);
        let (places, taps) = (layout.plane(), elements_of(filter.spatial).unwrap_or(0));
        let of_group = layout.channels / self.group;
        let plane = axes.iter().map(|axis| axis.size).product();
        for_chunks(&mut out, plane, |number, out| {
            let (item, channel) = (number / channels, number % channels);
            if let Some(bias) = &bias {
                out.fill(bias[channel]);
            }
            let (group, own) = (channel / filter.channels, channel % filter.channels);
            let first = group * of_group;
            let rows = &elements[(item * layout.channels + first) * places..][..of_group * places];
            let (mut tap, mut column) = (vec![0; axes.len()], vec![T::ZERO; places]);
            for number in 0..taps {
                column.fill(T::ZERO);
                let weight =
                    |row: usize| weights[((first + row) * filter.channels + own) * taps + number];
                add_weighted(&mut column, rows, of_group, weight);
                add_column(out, &column, &axes, &tap);
                advance(&mut tap, filter.spatial);
            }
        });
        Ok(Tensor::new(shape, out))
    }
}

impl Operator for ConvTranspose {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let (weight, bias) = (inputs.tensor(1)?, inputs.optional(2)?);
        let out = for_real!(input, T, { self.convolved::<T>(&input, weight, bias, context)? });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}
