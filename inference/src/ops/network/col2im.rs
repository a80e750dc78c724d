//! Col2Im: <https://onnx.ai/onnx/operators/onnx__Col2Im.html>

use super::layout::advance;
use super::planes::for_chunks;
use super::precision::{Real, for_real, narrowed, widened};
use super::scatter::{ScatterAxis, add_column};
use super::window::sizes;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

#[derive(Debug)]
struct Col2Im {
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Col2Im {
        dilations: sizes(spec, "dilations", 1)?,
        pads: sizes(spec, "pads", 0)?,
        strides: sizes(spec, "strides", 1)?,
    }))
}

fn positive(tensor: &Tensor, name: &str) -> Result<Vec<usize>, OpError> {
    let found = tensor.to_i64s()?;
    let size = |size: &i64| usize::try_from(*size).ok().filter(|size| *size > 0);
    let sizes: Option<Vec<usize>> = found.iter().map(size).collect();
    sizes.ok_or_else(|| OpError::shape(format!("{name} is {found:?}")))
}

impl Col2Im {
    fn axes(&self, image: &[usize], block: &[usize]) -> Result<Vec<ScatterAxis>, OpError> {
        let count = image.len();
        let of = |values: &Option<Vec<usize>>, wanted: usize, default: usize| match values {
            Some(values) if values.len() == wanted => Ok(values.clone()),
            None => Ok(vec![default; wanted]),
            Some(values) => Err(OpError::shape(format!(
                "an attribute has {} numbers for {count} axes",
                values.len()
            ))),
        };
        let (dilations, strides) = (of(&self.dilations, count, 1)?, of(&self.strides, count, 1)?);
        let pads = of(&self.pads, 2 * count, 0)?;
        let axis = |at: usize| {
            let span = (block[at] - 1).checked_mul(dilations[at])?;
            let padded = image[at].checked_add(pads[at])?.checked_add(pads[at + count])?;
            let places = padded.checked_sub(span)?.checked_sub(1)? / strides[at] + 1;
            Some(ScatterAxis {
                size: image[at],
                places,
                stride: strides[at],
                dilation: dilations[at],
                begin: i64::try_from(pads[at]).ok()?,
            })
        };
        let axes: Option<Vec<ScatterAxis>> = (0..count).map(axis).collect();
        let fits =
            || OpError::shape(format!("a block of {block:?} does not fit an image of {image:?}"));
        let axes = axes.ok_or_else(fits)?;
        for (axis, kernel) in axes.iter().zip(block) {
            axis.check(*kernel)?;
        }
        Ok(axes)
    }

    fn images<T: Real>(
        &self,
        input: &Tensor,
        image: &[usize],
        block: &[usize],
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let axes = self.axes(image, block)?;
        let [batch, rows, places] = *input.shape() else {
            return Err(OpError::shape(format!("{:?} should have three axes", input.shape())));
        };
        let wrong = || {
            OpError::shape(format!(
                "{:?} are no blocks of {block:?} of an image of {image:?}",
                input.shape()
            ))
        };
        let taps =
            elements_of(block).filter(|taps| rows.is_multiple_of(*taps)).ok_or_else(wrong)?;
        let windows: Vec<usize> = axes.iter().map(|axis| axis.places).collect();
        if elements_of(&windows) != Some(places) {
            return Err(wrong());
        }
        let channels = rows / taps;
        let mut shape = vec![batch, channels];
        shape.extend_from_slice(image);
        let mut out = vec![T::ZERO; context.claim(&shape, size_of::<T>())?];
        let columns = input.as_slice::<T>()?;
        let plane = elements_of(image).unwrap_or(0);
        for_chunks(&mut out, plane, |number, out| {
            let columns = &columns[number * taps * places..][..taps * places];
            let mut tap = vec![0; block.len()];
            for column in columns.chunks_exact(places) {
                add_column(out, column, &axes, &tap);
                advance(&mut tap, block);
            }
        });
        Ok(Tensor::new(shape, out))
    }
}

impl Operator for Col2Im {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let image = positive(inputs.tensor(1)?, "image_shape")?;
        let block = positive(inputs.tensor(2)?, "block_shape")?;
        if image.len() != block.len() || image.is_empty() {
            return Err(OpError::shape(format!("a block of {block:?} for an image of {image:?}")));
        }
        let out = for_real!(input, T, { self.images::<T>(&input, &image, &block, context)? });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}
