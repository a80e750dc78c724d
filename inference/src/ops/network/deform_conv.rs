//! DeformConv: <https://onnx.ai/onnx/operators/onnx__DeformConv.html>
//!
//! Two spatial axes; others are refused. Elements outside of the image are zeros.

use super::lanes::add_weighted;
use super::layout::Layout;
use super::planes::for_chunks;
use super::precision::{Real, f64_of, for_real, narrowed, per_channel, reals, widened};
use super::window::sizes;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct DeformConv {
    kernel: Option<Vec<usize>>,
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
    group: usize,
    offset_group: usize,
}

fn exactly<const N: usize>(
    spec: &NodeSpec<'_>,
    name: &str,
    default: usize,
) -> Result<[usize; N], BuildError> {
    let Some(found) = sizes(spec, name, default)? else { return Ok([default; N]) };
    found.as_slice().try_into().map_err(|_| {
        BuildError::unsupported(format!("{name} {found:?}: other than two spatial axes"))
    })
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let groups = |name| {
        let groups = usize::try_from(spec.int(name, 1)?).ok().filter(|groups| *groups > 0);
        groups.ok_or_else(|| BuildError::invalid(format!("{name} should be at least 1")))
    };
    Ok(Box::new(DeformConv {
        kernel: sizes(spec, "kernel_shape", 1)?,
        strides: exactly(spec, "strides", 1)?,
        dilations: exactly(spec, "dilations", 1)?,
        pads: exactly(spec, "pads", 0)?,
        group: groups("group")?,
        offset_group: groups("offset_group")?,
    }))
}

/// Sizes of one convolution.
#[derive(Clone, Copy, Debug)]
struct Sizes<'a> {
    input: Layout<'a>,
    kernel: [usize; 2],
    out: [usize; 2],
}

impl Sizes<'_> {
    const fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    const fn places(&self) -> usize {
        self.out[0] * self.out[1]
    }
}

impl DeformConv {
    /// Checks operands against each other.
    fn sizes<'a>(
        &self,
        (input, weight, offset): (&'a Tensor, &Tensor, &Tensor),
        mask: Option<&Tensor>,
    ) -> Result<Sizes<'a>, OpError> {
        let layout = Layout::of(input.shape(), 1)?;
        let (&[height, width], &[outs, of_group, rows, columns]) = (layout.spatial, weight.shape())
        else {
            return Err(OpError::unsupported("other than two spatial axes"));
        };
        let kernel = [rows, columns];
        let taps = rows.saturating_mul(columns);
        if self.kernel.as_ref().is_some_and(|named| *named != kernel) || taps == 0 {
            return Err(OpError::shape(format!("a weight of {:?}", weight.shape())));
        }
        let fits = of_group.checked_mul(self.group) == Some(layout.channels)
            && outs.is_multiple_of(self.group)
            && layout.channels.is_multiple_of(self.offset_group);
        if !fits {
            return Err(OpError::shape(format!(
                "{:?} with a weight of {:?} in {} groups, offsets in {}",
                input.shape(),
                weight.shape(),
                self.group,
                self.offset_group
            )));
        }
        let out = |size: usize, axis: usize| {
            let padded = size.checked_add(self.pads[axis])?.checked_add(self.pads[axis + 2])?;
            let span = (kernel[axis] - 1).checked_mul(self.dilations[axis])?.checked_add(1)?;
            Some(padded.checked_sub(span)? / self.strides[axis] + 1)
        };
        let (Some(high), Some(wide)) = (out(height, 0), out(width, 1)) else {
            return Err(OpError::shape("the kernel does not fit the padded input"));
        };
        let maps = self.offset_group.saturating_mul(taps);
        let wanted = [layout.batch, maps.saturating_mul(2), high, wide];
        let mask_wanted = [layout.batch, maps, high, wide];
        if *offset.shape() != wanted || mask.is_some_and(|mask| *mask.shape() != mask_wanted) {
            return Err(OpError::shape(format!(
                "offsets of {:?}, {wanted:?} are wanted, or a mask of another size",
                offset.shape()
            )));
        }
        Ok(Sizes { input: layout, kernel, out: [high, wide] })
    }

    /// What the deformed window sees of one channel: a row per tap, an element per place.
    fn columns<T: Real>(
        &self,
        rows: &mut [T],
        plane: &[T],
        sizes: Sizes<'_>,
        (offset, mask): (&[f64], Option<&[T]>),
    ) {
        let places = sizes.places();
        let bounds = [sizes.input.spatial[0], sizes.input.spatial[1]];
        for (tap, row) in rows.chunks_exact_mut(places).enumerate() {
            let taps = [tap / sizes.kernel[1], tap % sizes.kernel[1]];
            for (place, out) in row.iter_mut().enumerate() {
                let at = [place / sizes.out[1], place % sizes.out[1]];
                let coordinate = |axis: usize| {
                    let inner =
                        f64_of(at[axis] * self.strides[axis] + taps[axis] * self.dilations[axis]);
                    inner - f64_of(self.pads[axis]) + offset[(2 * tap + axis) * places + place]
                };
                let sampled = bilinear(plane, bounds, [coordinate(0), coordinate(1)]);
                *out = mask.map_or(sampled, |mask| sampled * mask[tap * places + place]);
            }
        }
    }

    fn convolved<T: Real>(
        &self,
        (input, weight, offset): (&Tensor, &Tensor, &Tensor),
        (bias, mask): (Option<&Tensor>, Option<&Tensor>),
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let sizes = self.sizes((input, weight, offset), mask)?;
        let (layout, taps, places) = (sizes.input, sizes.taps(), sizes.places());
        let outs = weight.shape()[0];
        let shape = vec![layout.batch, outs, sizes.out[0], sizes.out[1]];
        let mut out = vec![T::ZERO; context.claim(&shape, size_of::<T>())?];
        let mut columns =
            vec![T::ZERO; context.claim(&[layout.channels, taps, places], size_of::<T>())?];
        if out.is_empty() || columns.is_empty() {
            return Err(OpError::shape("there is nothing to convolve"));
        }
        let bias = bias.map(|bias| per_channel::<T>(bias, "bias", outs)).transpose()?;
        let (elements, weights) = (input.as_slice::<T>()?, reals::<T>(weight)?);
        let offsets: Vec<f64> = reals(offset)?;
        let mask = mask.map(reals::<T>).transpose()?;
        let (plane, maps) = (layout.plane(), self.offset_group * taps);
        let of_offset = layout.channels / self.offset_group;
        let (rows, outs_of_group) = (layout.channels / self.group * taps, outs / self.group);
        for (item, out) in out.chunks_exact_mut(outs * places).enumerate() {
            for_chunks(&mut columns, taps * places, |channel, rows| {
                let map = item * maps + channel / of_offset * taps;
                let offset = &offsets[2 * map * places..][..2 * taps * places];
                let mask = mask.as_ref().map(|mask| &mask[map * places..][..taps * places]);
                let plane = &elements[(item * layout.channels + channel) * plane..][..plane];
                self.columns(rows, plane, sizes, (offset, mask));
            });
            for_chunks(out, places, |channel, out| {
                if let Some(bias) = &bias {
                    out.fill(bias[channel]);
                }
                let group = &columns[channel / outs_of_group * rows * places..][..rows * places];
                add_weighted(out, group, rows, |row| weights[channel * rows + row]);
            });
        }
        Ok(Tensor::new(shape, out))
    }
}

impl Operator for DeformConv {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let (weight, offset) = (inputs.tensor(1)?, inputs.tensor(2)?);
        let others = (inputs.optional(3)?, inputs.optional(4)?);
        let out = for_real!(input, T, {
            self.convolved::<T>((&input, weight, offset), others, context)?
        });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

/// The weighted sum of the four elements around a point.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies within the image"
)]
fn bilinear<T: Real>(plane: &[T], [height, width]: [usize; 2], [y, x]: [f64; 2]) -> T {
    let (top, left) = (y.floor(), x.floor());
    let (down, right) = (y - top, x - left);
    let mut sum = T::ZERO;
    for (row, row_weight) in [(top, 1.0 - down), (top + 1.0, down)] {
        for (column, weight) in [(left, 1.0 - right), (left + 1.0, right)] {
            if row >= 0.0 && row < f64_of(height) && column >= 0.0 && column < f64_of(width) {
                let element = plane[row as usize * width + column as usize];
                sum = sum + element * T::of(row_weight * weight);
            }
        }
    }
    sum
}
