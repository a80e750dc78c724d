//! ConvInteger and QLinearConv: <https://onnx.ai/onnx/operators/onnx__ConvInteger.html>,
//! <https://onnx.ai/onnx/operators/onnx__QLinearConv.html>

use super::requantize::{along, requantized, wide_scales, without_zeros};
use super::window::{Overlap, Slide, Window};
use crate::error::OpError;
use crate::ops::elementwise::maths::vectorised;
use crate::ops::elementwise::pairs::pairwise_over;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct ConvInteger(Window);

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(ConvInteger(Window::of(spec)?)))
}

impl Operator for ConvInteger {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (image, weights) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let image = without_zeros(image, one(inputs.optional(2)?)?, 1, context)?;
        // Zero points of the weights are those of the first axis.
        let weights = without_zeros(weights, inputs.optional(3)?, weights.rank(), context)?;
        Ok(vec![convolution(&image, &weights, &self.0, context)?.into()])
    }
}

/// A zero point of the whole tensor.
fn one(zero: Option<&Tensor>) -> Result<Option<&Tensor>, OpError> {
    match zero {
        Some(zero) if zero.len() != 1 => {
            Err(OpError::shape(format!("{} zero points for an image, it has one", zero.len())))
        }
        other => Ok(other),
    }
}

#[derive(Debug)]
struct QLinearConv(Window);

pub(super) fn build_requantized(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(QLinearConv(Window::of(spec)?)))
}

impl Operator for QLinearConv {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (image, weights) = (inputs.tensor(0)?, inputs.tensor(3)?);
        let image = without_zeros(image, one(Some(inputs.tensor(2)?))?, 1, context)?;
        let rank = weights.rank();
        let weights = without_zeros(weights, Some(inputs.tensor(5)?), rank, context)?;
        let mut sums = convolution(&image, &weights, &self.0, context)?;
        // Channels are the second axis of the result.
        let channel_axis = rank - 1;
        if let Some(bias) = inputs.optional(8)? {
            bias.as_slice::<i32>()?;
            let bias = along(bias.clone(), channel_axis)?;
            let shape = sums.shape().to_vec();
            sums = pairwise_over(sums, bias, context, i32::wrapping_add)?;
            if sums.shape() != shape {
                return Err(OpError::shape(format!("the bias does not broadcast to {shape:?}")));
            }
        }
        let image_scale = along(wide_scales(inputs.tensor(1)?)?, channel_axis)?;
        let weight_scale = along(wide_scales(inputs.tensor(4)?)?, channel_axis)?;
        let scale = along(wide_scales(inputs.tensor(6)?)?, channel_axis)?;
        let factor = pairwise_over(image_scale, weight_scale, context, |a: f64, b| a * b)?;
        let factor = pairwise_over(factor, scale, context, |a: f64, b| a / b)?;
        Ok(vec![requantized(sums, factor, inputs.tensor(7)?, context)?.into()])
    }
}

/// The convolution of 32-bit integers: [batch, channels, ...] with [features, channels of a group, ...].
fn convolution(
    image: &Tensor,
    weights: &Tensor,
    window: &Window,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    let ([batch, channels, area @ ..], [features, group_channels, kernel @ ..]) =
        (image.shape(), weights.shape())
    else {
        return Err(OpError::shape("an image and weights of three axes at least are wanted"));
    };
    let groups = window.groups;
    let divided = group_channels.checked_mul(groups) == Some(*channels) && features % groups == 0;
    if area.is_empty() || area.len() != kernel.len() || !divided {
        return Err(OpError::shape(format!(
            "weights of shape {:?} for an image of shape {:?} in {groups} groups",
            weights.shape(),
            image.shape()
        )));
    }
    let slides = window.slides(area, kernel)?;
    let mut shape = vec![*batch, *features];
    shape.extend(slides.iter().map(|slide| slide.output));
    let mut out = vec![0_i32; context.claim(&shape, size_of::<i32>())?];
    if out.is_empty() || image.is_empty() || weights.is_empty() {
        return Ok(Tensor::new(shape, out));
    }
    let places: usize = slides.iter().map(|slide| slide.output).product();
    let image_places: usize = area.iter().product();
    let kernel_places: usize = kernel.iter().product();
    let (pixels, weights) = (image.as_slice::<i32>()?, weights.as_slice::<i32>()?);
    let group_features = features / groups;
    for (at, map) in out.chunks_exact_mut(places).enumerate() {
        let (sample, feature) = (at / features, at % features);
        let first_channel = sample * channels + feature / group_features * group_channels;
        let of_feature = group_channels * kernel_places;
        let weights = &weights[feature * of_feature..(feature + 1) * of_feature];
        for (channel, weights) in weights.chunks_exact(kernel_places).enumerate() {
            let start = (first_channel + channel) * image_places;
            let pixels = &pixels[start..start + image_places];
            for (place, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0) {
                if let Some(overlaps) = overlaps_of(place, kernel, &slides) {
                    add_scaled(map, pixels, *weight, &slides, &overlaps);
                }
            }
        }
    }
    Ok(Tensor::new(shape, out))
}

/// What a place of the kernel meets along each axis. `None`: only padding.
fn overlaps_of(mut place: usize, kernel: &[usize], slides: &[Slide]) -> Option<Vec<Overlap>> {
    let mut overlaps = Vec::with_capacity(kernel.len());
    for (size, slide) in kernel.iter().zip(slides).rev() {
        overlaps.push(slide.overlap(place % size)?);
        place /= size;
    }
    overlaps.reverse();
    Some(overlaps)
}

/// Adds the pixels that one place of the kernel meets, times its weight, to the outputs.
fn add_scaled(
    map: &mut [i32],
    pixels: &[i32],
    weight: i32,
    slides: &[Slide],
    overlaps: &[Overlap],
) {
    let Some((last, outer)) = overlaps.split_last() else { return };
    let rows: usize = outer.iter().map(|overlap| overlap.count).product();
    vectorised(|| {
        for row in 0..rows {
            let (mut rest, mut out, mut image) = (row, 0, 0);
            let (mut out_step, mut image_step) = (1, 1);
            for (axis, overlap) in overlaps.iter().enumerate().rev() {
                // The last axis' index is 0: it is what the row runs along.
                let index = if axis == outer.len() { 0 } else { rest % overlap.count };
                if axis < outer.len() {
                    rest /= overlap.count;
                }
                out += (overlap.first + index) * out_step;
                image += (overlap.image + index * overlap.stride) * image_step;
                out_step *= slides[axis].output;
                image_step *= slides[axis].image;
            }
            let outs = map[out..out + last.count].iter_mut();
            if last.stride == 1 {
                for (out, pixel) in outs.zip(&pixels[image..image + last.count]) {
                    *out = out.wrapping_add(weight.wrapping_mul(*pixel));
                }
            } else {
                for (out, pixel) in outs.zip(pixels[image..].iter().step_by(last.stride)) {
                    *out = out.wrapping_add(weight.wrapping_mul(*pixel));
                }
            }
        }
    });
}
