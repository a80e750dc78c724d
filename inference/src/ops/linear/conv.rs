//! Conv: <https://onnx.ai/onnx/operators/onnx__Conv.html>
//!
//! f32 over one or two axes runs on the kernels: as a product of matrices, or window by window where each channel has its own.
//! f16 and bf16 are widened to f32. f64, and more axes, run on plain loops.

use super::conv_plain::{Plain, convolve};
use super::fused::{activation_of, add_spread};
use super::geometry::{Axis, Geometry};
use super::packed::{Bias, Constant, PackedFilters, Packs, Specialised, WithPacked};
use super::widening::run_widened;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::{Shape, Tensor};
use crate::value::Value;
use embermq_kernels::{
    Activation, Buffer, Depthwise, Epilogue, Left, PackedRows, Padded, Product, Right, RowMajor,
    Window, depthwise,
};

/// Behind weights and bias comes what is added to the output, if the planner put an Add into it.
#[derive(Clone, Debug)]
struct Conv {
    group: usize,
    geometry: Geometry,
    activation: Activation,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(read(spec, Activation::None)?))
}

pub(super) fn build_fused(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(read(spec, activation_of(spec)?)?))
}

fn read(spec: &NodeSpec<'_>, activation: Activation) -> Result<Conv, BuildError> {
    let group = spec.int("group", 1)?;
    let group = usize::try_from(group).ok().filter(|group| *group > 0);
    let group = group.ok_or_else(|| BuildError::invalid("group is less than 1"))?;
    Ok(Conv { group, geometry: Geometry::read(spec)?, activation })
}

/// What the shapes of the operands say.
struct Sizes {
    channels: usize,
    filters: usize,
    axes: Vec<Axis>,
    shape: Shape,
}

impl Conv {
    fn sizes(
        &self,
        x: &Tensor,
        weights: &[usize],
        bias: Option<&Tensor>,
    ) -> Result<Sizes, OpError> {
        let shape = x.shape();
        let ([batch, channels, sizes @ ..], [filters, per_group, kernel @ ..]) = (shape, weights)
        else {
            return Err(OpError::shape(format!("no convolution of {shape:?} with {weights:?}")));
        };
        let fits = sizes.len() == kernel.len()
            && !sizes.is_empty()
            && per_group.checked_mul(self.group) == Some(*channels)
            && filters % self.group == 0;
        if !fits {
            return Err(OpError::shape(format!(
                "no convolution of {shape:?} with {weights:?} in {} groups",
                self.group
            )));
        }
        if let Some(bias) = bias.filter(|bias| bias.shape() != [*filters]) {
            let found = bias.shape();
            return Err(OpError::shape(format!("the bias is {found:?}, it should be [{filters}]")));
        }
        let axes = self.geometry.axes(sizes, kernel)?;
        let mut shape = vec![*batch, *filters];
        shape.extend(axes.iter().map(|axis| axis.out));
        Ok(Sizes { channels: *channels, filters: *filters, axes, shape })
    }

    fn run_f32(
        &self,
        inputs: &Inputs,
        packed: Option<&PackedFilters>,
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let x = inputs.tensor(0)?;
        let bias = packed.map_or_else(|| inputs.optional(2), |p| p.bias.or_operand(inputs))?;
        let (shape, w) = match packed {
            Some(packed) => (&packed.shape[..], Weights::Packed(&packed.groups)),
            None => {
                let w = inputs.tensor(1)?;
                (w.shape(), Weights::Lying(w.as_slice()?))
            }
        };
        let sizes = self.sizes(x, shape, bias)?;
        match inputs.optional(3)? {
            Some(added) if added.shape() != sizes.shape => {
                let plain = Self { activation: Activation::None, ..self.clone() };
                let out = plain.convolved(&sizes, (x, w), bias, None, context)?;
                add_spread(&out, added, self.activation, context)
            }
            added => self.convolved(&sizes, (x, w), bias, added, context),
        }
    }

    fn convolved(
        &self,
        sizes: &Sizes,
        (x, w): (&Tensor, Weights<'_>),
        bias: Option<&Tensor>,
        added: Option<&Tensor>,
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let elements = context.claim(&sizes.shape, size_of::<f32>())?;
        let operands = Operands {
            x: x.as_slice()?,
            w,
            bias: bias.map(Tensor::as_slice).transpose()?,
            added: added.map(Tensor::as_slice).transpose()?,
        };
        let mut out = Buffer::new(elements);
        // Only borders are seen where the image has no element.
        let is_seen = sizes.axes.iter().all(|axis| axis.size > 0);
        match sizes.axes[..] {
            _ if elements == 0 => {}
            _ if !is_seen => {
                let plane = elements / (sizes.shape[0] * sizes.filters);
                for (at, out) in out.chunks_exact_mut(plane).enumerate() {
                    out.fill(operands.bias.map_or(0.0, |bias| bias[at % sizes.filters]));
                }
                self.end(operands.added, &mut out);
            }
            [axis] => self.plane(sizes, [Axis::UNIT, axis], &operands, &mut out, context)?,
            [down, right] => self.plane(sizes, [down, right], &operands, &mut out, context)?,
            _ => {
                // Only filters of one or two axes are packed.
                let Weights::Lying(w) = operands.w else { return Err(OpError::Missing(1)) };
                out.fill(0.0);
                convolve(&self.plain(sizes), operands.x, w, operands.bias, &mut out);
                self.end(operands.added, &mut out);
            }
        }
        Ok(Tensor::reusing(sizes.shape.clone(), out))
    }

    /// What follows the sums, in a pass of its own.
    fn end(&self, added: Option<&[f32]>, out: &mut [f32]) {
        if let Some(added) = added {
            out.iter_mut().zip(added).for_each(|(out, added)| *out += added);
        }
        self.activation.apply_to(out);
    }

    fn plain<'a>(&self, sizes: &'a Sizes) -> Plain<'a> {
        let Sizes { channels, filters, ref axes, .. } = *sizes;
        Plain { channels, filters, group: self.group, axes }
    }

    fn plane(
        &self,
        sizes: &Sizes,
        axes: [Axis; 2],
        operands: &Operands<'_>,
        out: &mut [f32],
        context: &Context<'_>,
    ) -> Result<(), OpError> {
        let window = Window {
            size: axes.map(|axis| axis.size),
            kernel: axes.map(|axis| axis.kernel),
            stride: axes.map(|axis| axis.stride),
            dilation: axes.map(|axis| axis.dilation),
            pad: axes.map(|axis| axis.pad),
            out: axes.map(|axis| axis.out),
        };
        let (image, result) =
            (out_of(sizes.channels, window.size), out_of(sizes.filters, window.out));
        let plane = window.plane().unwrap_or(usize::MAX);
        let own = self.group == sizes.channels && sizes.filters == sizes.channels;
        let planes = if own { 1 } else { sizes.channels / self.group };
        if !window.is_point() {
            context.claim(&[planes, plane], size_of::<f32>())?;
        }
        for (at, out) in out.chunks_exact_mut(result.max(1)).enumerate() {
            let x = &operands.x[at * image..(at + 1) * image];
            let added = operands.added.map(|added| &added[at * result..(at + 1) * result]);
            if own && let Weights::Lying(weights) = operands.w {
                let (bias, activation, window) = (operands.bias, self.activation, &window);
                depthwise(&Depthwise { window, weights, bias, added, activation }, x, out);
                continue;
            }
            self.groups(sizes, &window, &Operands { x, added, ..*operands }, out);
        }
        Ok(())
    }

    /// One image, group by group.
    fn groups(&self, sizes: &Sizes, window: &Window, operands: &Operands<'_>, out: &mut [f32]) {
        let rows = sizes.filters / self.group;
        let depth = sizes.channels / self.group * window.kernel[0] * window.kernel[1];
        let columns = window.out[0] * window.out[1];
        let image = out_of(sizes.channels / self.group, window.size);
        for group in 0..self.group {
            let x = &operands.x[group * image..(group + 1) * image];
            let place = group * rows * columns..(group + 1) * rows * columns;
            let epilogue = Epilogue {
                row_bias: operands.bias.map(|bias| &bias[group * rows..(group + 1) * rows]),
                added: operands.added.map(|added| &added[place.clone()]),
                activation: self.activation,
                ..Epilogue::NONE
            };
            let left = match operands.w {
                Weights::Lying(w) => {
                    Left::dense(&w[group * rows * depth..(group + 1) * rows * depth], depth)
                }
                Weights::Packed(groups) => Left::Packed(&groups[group]),
            };
            let product = Product { rows, depth, columns, left, epilogue };
            let out = &mut out[place];
            if window.is_point() {
                let right = Right::Rows(RowMajor { data: x, step: columns, columns });
                product.with(right, out, columns);
            } else if let Some(padded) = Padded::new(window, x) {
                product.with(Right::Window(&padded), out, columns);
            }
        }
    }
}

/// Filter by filter, as they lie or in the order of the kernel.
#[derive(Clone, Copy)]
enum Weights<'a> {
    Lying(&'a [f32]),
    /// For each group of channels.
    Packed(&'a [PackedRows]),
}

#[derive(Clone, Copy)]
struct Operands<'a> {
    x: &'a [f32],
    w: Weights<'a>,
    bias: Option<&'a [f32]>,
    added: Option<&'a [f32]>,
}

const fn out_of(channels: usize, size: [usize; 2]) -> usize {
    channels * size[0] * size[1]
}

impl Operator for Conv {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        self.run_with(inputs, None, context)
    }

    /// Windows over one or two axes that are not [`depthwise`].
    fn specialised(
        &self,
        constants: &[Option<Constant>],
        packs: &mut Packs,
    ) -> Option<Box<dyn Operator>> {
        let w = &constants.get(1)?.as_ref()?.tensor;
        w.get::<f32>()?;
        let [filters, per_group, kernel @ ..] = w.shape() else { return None };
        let is_own = *per_group == 1 && *filters == self.group;
        let has_axes = matches!(kernel, [_] | [_, _]);
        if !has_axes || is_own || w.is_empty() || filters % self.group != 0 {
            return None;
        }
        let packed = packs.filters(constants, self.group)?;
        Some(Box::new(Specialised { plain: self.clone(), packed }))
    }
}

impl WithPacked for Conv {
    type Packed = PackedFilters;

    fn bias(packed: &PackedFilters) -> &Bias {
        &packed.bias
    }

    fn run_with(
        &self,
        mut inputs: Inputs,
        packed: Option<&PackedFilters>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, OpError> {
        if packed.is_none()
            && let Some(outputs) = run_widened(self, &inputs, context)
        {
            return outputs;
        }
        let dtype = inputs.tensor(0)?.dtype();
        if packed.is_some() || dtype == DType::F32 {
            let out = self.run_f32(&inputs, packed, context)?;
            for at in [0, 3] {
                inputs.take_tensor(at).into_iter().for_each(Tensor::recycle);
            }
            return Ok(vec![out.into()]);
        }
        if dtype != DType::F64 {
            return Err(OpError::Type { expected: "a float type", found: dtype });
        }
        let (x, w, bias) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.optional(2)?);
        let sizes = self.sizes(x, w.shape(), bias)?;
        let mut out = vec![0.0_f64; context.claim(&sizes.shape, size_of::<f64>())?];
        let bias = bias.map(Tensor::as_slice).transpose()?;
        convolve(&self.plain(&sizes), x.as_slice()?, w.as_slice()?, bias, &mut out);
        Ok(vec![Tensor::new(sizes.shape, out).into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ValueId;
    use crate::limits::Limits;

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7919 + 13) % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn conv(group: usize, strides: &[usize], dilations: &[usize], pads: &[usize]) -> Conv {
        let geometry = Geometry::of(strides.to_vec(), dilations.to_vec(), pads.to_vec());
        Conv { group, geometry, activation: Activation::Relu }
    }

    fn check(conv: &Conv, x: &[usize], w: &[usize]) {
        let tensor = |shape: &[usize]| Tensor::new(shape, numbers(elements(shape)));
        let (x, w, bias) = (tensor(x), tensor(w), tensor(&w[..1]));
        let sizes = conv.sizes(&x, w.shape(), Some(&bias)).unwrap();
        let added = tensor(&sizes.shape);
        let mut plain = vec![0.0_f32; elements(&sizes.shape)];
        let slice = |tensor: &Tensor| tensor.as_slice::<f32>().unwrap().to_vec();
        convolve(&conv.plain(&sizes), &slice(&x), &slice(&w), Some(&slice(&bias)), &mut plain);
        let limits = Limits::default();
        let check = |conv: &dyn Operator, w: Option<&Tensor>, bias: Option<&Tensor>| {
            let inputs = [Some(&x), w, bias, Some(&added)];
            let inputs = inputs.map(|tensor| tensor.cloned().map(Value::from));
            let out = conv.run(Inputs(inputs.into()), &mut Context::new(&limits, 0)).unwrap();
            let (out, added) = (slice(out[0].as_tensor().unwrap()), slice(&added));
            for (at, (out, plain)) in out.iter().zip(&plain).enumerate() {
                let plain = (plain + added[at]).max(0.0);
                assert!((out - plain).abs() < 1e-3, "{at}: {out} {plain} {conv:?} {:?}", x.shape());
            }
        };
        check(conv, Some(&w), Some(&bias));
        match packed(conv, &[&w]).zip(packed(conv, &[&w, &bias])) {
            Some((packed, with_bias)) => {
                check(&*packed, None, Some(&bias));
                check(&*with_bias, None, None);
            }
            None => assert!(w.shape()[..2] == [conv.group, 1] || w.shape().len() > 4),
        }
    }

    fn packed(conv: &Conv, constants: &[&Tensor]) -> Option<Box<dyn Operator>> {
        let constant = |(id, tensor): (u32, &&Tensor)| {
            Some(Constant { id: ValueId(id), tensor: (*tensor).clone() })
        };
        let constants: Vec<_> =
            std::iter::once(None).chain((1..).zip(constants).map(constant)).collect();
        conv.specialised(&constants, &mut Packs::new(u64::MAX))
    }

    fn elements(shape: &[usize]) -> usize {
        shape.iter().product()
    }

    #[test]
    fn kernels_compute_what_the_plain_loops_do() {
        for (stride, dilation, pads) in [
            ([1, 1], [1, 1], [0, 0, 0, 0]),
            ([1, 1], [1, 1], [1, 2, 2, 1]),
            ([2, 2], [1, 1], [0, 0, 1, 1]),
            ([2, 2], [1, 1], [1, 1, 1, 1]),
            ([3, 2], [2, 1], [2, 0, 1, 3]),
            ([1, 3], [1, 2], [0, 4, 0, 2]),
        ] {
            for size in [[5, 5], [9, 23], [17, 40]] {
                for kernel in [[1, 1], [3, 3], [5, 5], [3, 2]] {
                    let [height, width] = size;
                    let [down, right] = kernel;
                    check(
                        &conv(1, &stride, &dilation, &pads),
                        &[2, 3, height, width],
                        &[7, 3, down, right],
                    );
                    check(
                        &conv(2, &stride, &dilation, &pads),
                        &[1, 4, height, width],
                        &[6, 2, down, right],
                    );
                    check(
                        &conv(3, &stride, &dilation, &pads),
                        &[2, 3, height, width],
                        &[3, 1, down, right],
                    );
                }
            }
        }
        check(&conv(1, &[2], &[1], &[1, 1]), &[2, 3, 50], &[4, 3, 3]);
        check(&conv(2, &[1, 1], &[1, 1], &[1; 4]), &[1, 2, 9, 23], &[6, 1, 3, 3]);
        check(&conv(1, &[1, 1], &[1, 1], &[1; 4]), &[1, 64, 7, 7], &[8, 64, 3, 3]);
        check(&conv(1, &[1, 2, 1], &[1, 1, 1], &[1; 6]), &[1, 2, 4, 5, 6], &[3, 2, 3, 3, 3]);
    }

    #[test]
    fn windows_that_do_not_fit_give_nothing_or_are_refused() {
        let run = |conv: &Conv, x: &[usize], w: &[usize]| {
            let inputs = [x, w].map(|shape| Some(Tensor::full(shape, 1.0_f32).into()));
            let limits = Limits { run_bytes_max: 1 << 20, ..Limits::default() };
            let out = conv.run(Inputs(inputs.into()), &mut Context::new(&limits, 0))?;
            out.into_iter().next().ok_or(OpError::Missing(0))?.into_tensor()
        };
        let plain = conv(1, &[1, 1], &[1, 1], &[0; 4]);
        assert_eq!(run(&plain, &[1, 1, 2, 2], &[1, 1, 3, 3]).unwrap().shape(), [1, 1, 0, 0]);
        assert_eq!(run(&plain, &[0, 1, 4, 4], &[1, 1, 3, 3]).unwrap().shape(), [0, 1, 2, 2]);
        assert_eq!(
            run(&plain, &[1, 0, 4, 4], &[2, 0, 3, 3]).unwrap().as_slice::<f32>().unwrap(),
            [0.0; 8]
        );
        for group in [1, 2] {
            // What lies in memory that was used before must not be taken for an answer.
            embermq_kernels::recycle(vec![9.0; 8192]);
            let borders = conv(group, &[1, 1], &[1, 1], &[20; 4]);
            let out = run(&borders, &[1, 2, 0, 0], &[2, 2 / group, 1, 2]).unwrap();
            assert_eq!(out.shape(), [1, 2, 40, 39]);
            assert!(out.as_slice::<f32>().unwrap().iter().all(|number| *number == 0.0));
            check(&borders, &[2, 2, 0, 3], &[4, 2 / group, 1, 2]);
        }
        assert!(run(&plain, &[1, 1, 4, 4], &[1, 1, 0, 3]).is_err());
        assert!(run(&plain, &[1, 2, 4, 4], &[1, 1, 3, 3]).is_err());
        assert!(run(&plain, &[4, 4], &[1, 1]).is_err());
        let wide = conv(1, &[1, 1], &[1, 1], &[1 << 40, 0, 0, 0]);
        assert!(matches!(run(&wide, &[1, 1, 4, 4], &[1, 1, 1, 1]), Err(OpError::Memory { .. })));
        let far = conv(1, &[1, 1], &[1 << 61, 1], &[0; 4]);
        assert!(run(&far, &[1, 1, 4, 4], &[1, 1, 9, 1]).is_err());
    }
}
