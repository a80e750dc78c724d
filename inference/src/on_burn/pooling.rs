//! Pools over one and two axes, and those over everything.

use burn::backend::ops::{FloatTensorOps, ModuleOps};
use burn::backend::{Dispatch, DispatchTensor};
use burn::tensor::Shape as BurnShape;

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::tensor::DeviceTensor;
use super::window::{Placed, Window, padded, symmetric};
use crate::dtype::DType;
use crate::ops::NodeSpec;
use crate::tensor::elements_of;

pub(super) const FAMILY: &[(&str, BuildForm)] = &[
    ("MaxPool", |spec| pool(spec, Kind::Max)),
    ("AveragePool", |spec| {
        let pads_count = spec.flag("count_include_pad", false).ok()?;
        pool(spec, Kind::Average { pads_count })
    }),
    ("GlobalAveragePool", |_| global(Dispatch::float_mean_dim)),
    ("GlobalMaxPool", |_| global(Dispatch::float_max_dim)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Max,
    Average { pads_count: bool },
}

fn pool(spec: &NodeSpec<'_>, kind: Kind) -> Option<Form> {
    let window = Window::read(spec)?;
    let kernel = window.kernel.clone()?;
    // Where the largest element was is another output, which the host computes.
    if spec.wants_output(1) || !(1..=2).contains(&kernel.len()) {
        return None;
    }
    Some(Form::new(move |operands, context| {
        let (Some(dtype), Some([batch, channels, input @ ..])) =
            (operands.floats(0..1), operands.shape(0))
        else {
            return NOT_COVERED;
        };
        let Some(mut placed) = window.place(input, &kernel) else { return NOT_COVERED };
        let dilated = placed.dilations.iter().any(|dilation| *dilation != 1);
        if dilated && kind != Kind::Max {
            return NOT_COVERED;
        }
        let mut shape = vec![*batch, *channels];
        shape.extend(&placed.out);
        context.claim(&shape, dtype.bytes())?;
        placed.claim([*batch, *channels], input, context)?;
        let mut over = vec![*batch, *channels];
        over.extend(input);
        if input.len() == 1 {
            // One axis is two, the second of which is flat.
            over.push(1);
            placed.flatten();
        }
        let x = operands.take(0)?.reshape(&over);
        let result = match kind {
            Kind::Max => largest(x.into_primitive(), &placed),
            Kind::Average { pads_count } => average(x, &placed, pads_count),
        };
        one(DeviceTensor::shaped(result, &shape, dtype))
    }))
}

impl Placed {
    fn flatten(&mut self) {
        for list in [&mut self.kernel, &mut self.strides, &mut self.dilations, &mut self.out] {
            list.push(1);
        }
        self.pads.push((0, 0));
        self.needed.push((0, 0));
    }

    /// The pads if burn's pools can do them themselves.
    fn even_pads(&self) -> Option<[usize; 2]> {
        let pads = symmetric::<2>(&self.pads).filter(|_| self.exact)?;
        let halves = pads.iter().zip(&self.kernel).all(|(pad, kernel)| *pad <= kernel / 2);
        halves.then_some(pads)
    }

    fn pair(list: &[usize]) -> [usize; 2] {
        std::array::from_fn(|axis| list.get(axis).copied().unwrap_or(1))
    }
}

fn largest(x: DispatchTensor, placed: &Placed) -> DispatchTensor {
    let (kernel, strides) = (Placed::pair(&placed.kernel), Placed::pair(&placed.strides));
    let dilations = Placed::pair(&placed.dilations);
    if let Some(pads) = placed.even_pads() {
        return Dispatch::max_pool2d(x, kernel, strides, pads, dilations, false);
    }
    let x = padded(x, &placed.needed, f32::NEG_INFINITY);
    Dispatch::max_pool2d(x, kernel, strides, [0; 2], dilations, false)
}

fn average(x: DeviceTensor, placed: &Placed, pads_count: bool) -> DispatchTensor {
    let (kernel, strides) = (Placed::pair(&placed.kernel), Placed::pair(&placed.strides));
    let mean = |x| Dispatch::avg_pool2d(x, kernel, strides, [0; 2], true, false);
    let (dtype, shape) = (x.dtype(), x.shape().to_vec());
    let x = x.into_primitive();
    if let Some(pads) = placed.even_pads() {
        return Dispatch::avg_pool2d(x, kernel, strides, pads, pads_count, false);
    }
    // What counts is averaged in the same way, which gives the share of each window that does.
    let counting = share(&x, dtype, &shape, placed, pads_count);
    let all = mean(padded(x, &placed.needed, 0.0));
    Dispatch::float_div(all, mean(counting))
}

/// 1 where an element counts and 0 elsewhere, as far as windows reach.
fn share(
    x: &DispatchTensor,
    dtype: DType,
    shape: &[usize],
    placed: &Placed,
    pads_count: bool,
) -> DispatchTensor {
    use burn::backend::TensorMetadata;
    let mut ones = vec![1, 1];
    let mut beyond = Vec::new();
    for (axis, (pads, needed)) in placed.pads.iter().zip(&placed.needed).enumerate() {
        let size = shape.get(axis + 2).copied().unwrap_or(1);
        if pads_count {
            let counted = pads.1.min(needed.1);
            ones.push(size + pads.0 + counted);
            beyond.push((0, needed.1 - counted));
        } else {
            ones.push(size);
            beyond.push(*needed);
        }
    }
    let burn = dtype.to_burn().unwrap_or(burn::tensor::DType::F32);
    let ones = Dispatch::float_ones(BurnShape::from(ones), &x.device(), burn.into());
    padded(ones, &beyond, 0.0)
}

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn global(reduce: fn(DispatchTensor, usize) -> DispatchTensor) -> Option<Form> {
    Some(Form::new(move |operands, _| {
        let (Some(dtype), Some([batch, channels, input @ ..])) =
            (operands.floats(0..1), operands.shape(0))
        else {
            return NOT_COVERED;
        };
        let mut shape = vec![*batch, *channels];
        let Some(places) = elements_of(input).filter(|_| !input.is_empty()) else {
            return NOT_COVERED;
        };
        let flat = [*batch, *channels, places];
        shape.extend(input.iter().map(|_| 1));
        let x = operands.take(0)?.reshape(&flat);
        one(DeviceTensor::shaped(reduce(x.into_primitive(), 2), &shape, dtype))
    }))
}
