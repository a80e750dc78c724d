//! RoiAlign: <https://onnx.ai/onnx/operators/onnx__RoiAlign.html>
//!
//! With mode `max` the largest weighted corner of all samples is taken, as the reference implementation does.

use super::layout::Layout;
use super::pooling::Ordered;
use super::precision::{Real, f64_of, for_real, narrowed, reals, widened};
use super::window::sizes as sizes_of;
use crate::dtype::Element;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct RoiAlign {
    half_pixel: bool,
    max: bool,
    height: usize,
    width: usize,
    sampling_ratio: usize,
    spatial_scale: f64,
}

fn size(spec: &NodeSpec<'_>, name: &str, default: i64) -> Result<usize, BuildError> {
    let size = spec.int(name, default)?;
    usize::try_from(size).map_err(|_| BuildError::invalid(format!("{name} is {size}")))
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let default = if spec.version() < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match spec.text("coordinate_transformation_mode", default)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            return Err(BuildError::invalid(format!(
                "coordinate_transformation_mode is {other:?}"
            )));
        }
    };
    let max = match spec.text("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => return Err(BuildError::invalid(format!("mode is {other:?}"))),
    };
    Ok(Box::new(RoiAlign {
        half_pixel,
        max,
        height: size(spec, "output_height", 1)?,
        width: size(spec, "output_width", 1)?,
        sampling_ratio: size(spec, "sampling_ratio", 0)?,
        spatial_scale: f64::from(spec.float("spatial_scale", 1.0)?),
    }))
}

/// Samples along one axis of a region: per bin the two neighbours with their weights; nothing where a sample lies outside.
struct Axis {
    per_bin: usize,
    samples: Vec<Option<[(usize, f64); 2]>>,
}

impl RoiAlign {
    fn axis(
        &self,
        (start, end): (f64, f64),
        (size, bins): (usize, usize),
        context: &Context<'_>,
    ) -> Result<Axis, OpError> {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let start = start * self.spatial_scale - offset;
        let mut length = end * self.spatial_scale - offset - start;
        if !self.half_pixel {
            // Regions that are turned inside out count as one pixel.
            length = length.max(1.0);
        }
        if !(start.is_finite() && length.is_finite()) {
            return Err(OpError::shape("a region is no number"));
        }
        let bin = length / f64_of(bins);
        let per_bin = if self.sampling_ratio > 0 { self.sampling_ratio } else { whole(bin.ceil()) };
        context.claim(&[bins, per_bin], size_of::<Option<[(usize, f64); 2]>>())?;
        let mut samples = Vec::new();
        for at in 0..bins {
            for step in 0..per_bin {
                let inner = (f64_of(step) + 0.5) * bin / f64_of(per_bin);
                samples.push(neighbours(start + f64_of(at) * bin + inner, size));
            }
        }
        Ok(Axis { per_bin, samples })
    }

    fn pooled<T: Real>(
        &self,
        plane: &[T],
        width: usize,
        (rows, columns): (&Axis, &Axis),
    ) -> Vec<T> {
        let mut out = Vec::with_capacity(self.height * self.width);
        let count = f64_of((rows.per_bin * columns.per_bin).max(1));
        for bin_row in 0..self.height {
            for bin_column in 0..self.width {
                let (mut sum, mut largest) = (0.0_f64, f64::NEG_INFINITY);
                for row in &rows.samples[bin_row * rows.per_bin..][..rows.per_bin] {
                    for column in
                        &columns.samples[bin_column * columns.per_bin..][..columns.per_bin]
                    {
                        let (Some(row), Some(column)) = (row, column) else {
                            largest = largest.max(0.0);
                            continue;
                        };
                        for (y, row_weight) in row {
                            for (x, column_weight) in column {
                                let element: f64 =
                                    num_traits::AsPrimitive::as_(plane[y * width + x]);
                                let weighted = element * row_weight * column_weight;
                                sum += weighted;
                                largest = largest.max(weighted);
                            }
                        }
                    }
                }
                let empty = rows.per_bin * columns.per_bin == 0;
                out.push(T::of(match self.max {
                    true if empty => 0.0,
                    true => largest,
                    false => sum / count,
                }));
            }
        }
        out
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates; what is too large is refused where memory is claimed"
)]
const fn whole(value: f64) -> usize {
    value as usize
}

fn neighbours(at: f64, size: usize) -> Option<[(usize, f64); 2]> {
    if at < -1.0 || at > f64_of(size) || size == 0 {
        return None;
    }
    let at = at.max(0.0);
    let low = whole(at);
    if low + 1 >= size {
        return Some([(size - 1, 1.0), (size - 1, 0.0)]);
    }
    let part = at - f64_of(low);
    Some([(low, 1.0 - part), (low + 1, part)])
}

impl Operator for RoiAlign {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let (regions, items) = (inputs.tensor(1)?, inputs.tensor(2)?.to_i64s()?);
        let layout = Layout::of(input.shape(), 2)?;
        let [height, width] = *layout.spatial else {
            return Err(OpError::shape("RoiAlign wants two spatial axes"));
        };
        if *regions.shape() != [items.len(), 4] {
            return Err(OpError::shape(format!(
                "regions of shape {:?} for {} items",
                regions.shape(),
                items.len()
            )));
        }
        let regions: Vec<f64> = reals(regions)?;
        let shape = vec![items.len(), layout.channels, self.height, self.width];
        let len = context.claim(&shape, input.dtype().bytes())?;
        let out = for_real!(input, T, {
            let (mut out, plane) = (Vec::with_capacity(len), layout.plane());
            let elements = input.as_slice::<T>()?;
            for (region, item) in regions.chunks_exact(4).zip(&items) {
                let place = usize::try_from(*item).ok().filter(|item| *item < layout.batch);
                let item = place
                    .ok_or_else(|| OpError::shape(format!("item {item} of {}", layout.batch)))?;
                let rows = self.axis((region[1], region[3]), (height, self.height), context)?;
                let columns = self.axis((region[0], region[2]), (width, self.width), context)?;
                // Each sample is visited once, which takes time even where it takes no memory.
                context.claim(&[rows.samples.len(), columns.samples.len()], 1)?;
                for channel in 0..layout.channels {
                    let plane = &elements[(item * layout.channels + channel) * plane..][..plane];
                    out.extend(self.pooled(plane, width, (&rows, &columns)));
                }
            }
            Tensor::new(shape, out)
        });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

/// MaxRoiPool: the largest element of each bin of a region, in whole pixels.
#[derive(Debug)]
struct MaxRoiPool {
    height: usize,
    width: usize,
    spatial_scale: f64,
}

pub(super) fn build_max(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let pooled = sizes_of(spec, "pooled_shape", 1)?;
    let Some([height, width]) = pooled.as_deref() else {
        return Err(BuildError::invalid("pooled_shape should be two sizes"));
    };
    let spatial_scale = f64::from(spec.float("spatial_scale", 1.0)?);
    Ok(Box::new(MaxRoiPool { height: *height, width: *width, spatial_scale }))
}

impl MaxRoiPool {
    /// For each bin the elements along one axis.
    fn bins(&self, start: f64, end: f64, (size, bins): (usize, usize)) -> Vec<(usize, usize)> {
        let start = (start * self.spatial_scale).round();
        let length = ((end * self.spatial_scale).round() - start + 1.0).max(1.0);
        let bin = length / f64_of(bins);
        let within = |at: f64| whole((at + start).max(0.0)).min(size);
        (0..bins)
            .map(|at| (within((f64_of(at) * bin).floor()), within((f64_of(at + 1) * bin).ceil())))
            .collect()
    }
}

impl Operator for MaxRoiPool {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let regions = inputs.tensor(1)?;
        let layout = Layout::of(input.shape(), 2)?;
        let ([height, width], [count, 5]) = (layout.spatial, regions.shape()) else {
            return Err(OpError::shape(
                "MaxRoiPool wants two spatial axes and regions of 5 numbers",
            ));
        };
        let shape = vec![*count, layout.channels, self.height, self.width];
        let len = context.claim(&shape, input.dtype().bytes())?;
        let regions: Vec<f64> = reals(regions)?;
        let out = for_real!(input, T, {
            let (mut out, plane) = (Vec::with_capacity(len), layout.plane());
            let elements = input.as_slice::<T>()?;
            for region in regions.chunks_exact(5) {
                if region[0] < 0.0 || region[0] >= f64_of(layout.batch) || region[0].is_nan() {
                    return Err(OpError::shape(format!("item {} of {}", region[0], layout.batch)));
                }
                let item = whole(region[0]);
                let columns = self.bins(region[1], region[3], (*width, self.width));
                let rows = self.bins(region[2], region[4], (*height, self.height));
                for channel in 0..layout.channels {
                    let plane = &elements[(item * layout.channels + channel) * plane..][..plane];
                    for (top, bottom) in &rows {
                        for (left, right) in &columns {
                            let row = |y: usize| plane[y * width..][..*width].get(*left..*right);
                            let elements = (*top..*bottom).filter_map(row).flatten();
                            let largest = elements.copied().reduce(Ordered::larger);
                            out.push(largest.unwrap_or(T::ZERO));
                        }
                    }
                }
            }
            Tensor::new(shape, out)
        });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}
