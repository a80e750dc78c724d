//! Conv and `ConvTranspose` over one to three axes.

use burn::backend::ops::{ConvOptions, ConvTransposeOptions, ModuleOps};
use burn::backend::{Dispatch, DispatchTensor};

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::tensor::DeviceTensor;
use super::window::{Pads, Placed, Window, padded, symmetric};
use crate::error::OpError;
use crate::ops::NodeSpec;

pub(super) const FAMILY: &[(&str, BuildForm)] =
    &[("Conv", convolution), ("ConvTranspose", transposed)];

type Bias = Option<DispatchTensor>;

fn groups_of(spec: &NodeSpec<'_>) -> Option<usize> {
    usize::try_from(spec.int("group", 1).ok()?).ok().filter(|groups| *groups > 0)
}

fn convolution(spec: &NodeSpec<'_>) -> Option<Form> {
    let (window, groups) = (Window::read(spec)?, groups_of(spec)?);
    Some(Form::new(move |operands, context| {
        let (Some(dtype), Some(x), Some(weight)) =
            (operands.floats(0..3), operands.shape(0), operands.shape(1))
        else {
            return NOT_COVERED;
        };
        let ([batch, channels, input @ ..], [features, depth, kernel @ ..]) = (x, weight) else {
            return NOT_COVERED;
        };
        let bias_fits = operands.shape(2).is_none_or(|bias| bias == [*features]);
        let declared = window.kernel.as_deref().is_none_or(|declared| declared == kernel);
        let grouped = depth.checked_mul(groups) == Some(*channels) && features % groups == 0;
        if !bias_fits || !declared || !grouped || !(1..=3).contains(&input.len()) {
            return NOT_COVERED;
        }
        let Some(placed) = window.place(input, kernel) else { return NOT_COVERED };
        let mut shape = vec![*batch, *features];
        shape.extend(&placed.out);
        context.claim(&shape, dtype.bytes())?;
        placed.claim([*batch, *channels], input, context)?;
        let x = operands.take(0)?.into_primitive();
        let weight = operands.take(1)?.into_primitive();
        let bias = operands.take_optional(2)?.map(DeviceTensor::into_primitive);
        let result = match placed.out.len() {
            1 => convolve::<1>(x, weight, bias, &placed, groups, Dispatch::conv1d),
            2 => convolve::<2>(x, weight, bias, &placed, groups, Dispatch::conv2d),
            _ => convolve::<3>(x, weight, bias, &placed, groups, Dispatch::conv3d),
        };
        one(DeviceTensor::shaped(result, &shape, dtype))
    }))
}

fn array<const N: usize>(values: &[usize]) -> [usize; N] {
    std::array::from_fn(|axis| values.get(axis).copied().unwrap_or(1))
}

fn convolve<const N: usize>(
    x: DispatchTensor,
    weight: DispatchTensor,
    bias: Bias,
    placed: &Placed,
    groups: usize,
    function: fn(DispatchTensor, DispatchTensor, Bias, ConvOptions<N>) -> DispatchTensor,
) -> DispatchTensor {
    let (strides, dilations) = (array(&placed.strides), array(&placed.dilations));
    if let Some(pads) = symmetric::<N>(&placed.pads) {
        return function(x, weight, bias, ConvOptions::new(strides, pads, dilations, groups));
    }
    // Not every kernel of burn's pads one side only.
    let x = padded(x, &placed.pads, 0.0);
    function(x, weight, bias, ConvOptions::new(strides, [0; N], dilations, groups))
}

fn transposed(spec: &NodeSpec<'_>) -> Option<Form> {
    let (window, groups) = (Window::read(spec)?, groups_of(spec)?);
    let extra = spec.ints_opt("output_padding").ok()?.unwrap_or_default();
    let extra: Option<Vec<usize>> =
        extra.iter().map(|value| usize::try_from(*value).ok()).collect();
    let (Pads::Given(pads), Some(extra)) = (window.pads.clone(), extra) else { return None };
    // The output's shape as an attribute decides the pads: left to the host.
    if spec.has("output_shape") {
        return None;
    }
    Some(Form::new(move |operands, context| {
        let (Some(dtype), Some(x), Some(weight)) =
            (operands.floats(0..3), operands.shape(0), operands.shape(1))
        else {
            return NOT_COVERED;
        };
        let ([batch, channels, input @ ..], [depth, features, kernel @ ..]) = (x, weight) else {
            return NOT_COVERED;
        };
        let axes = input.len();
        let Some(features) = features.checked_mul(groups) else { return NOT_COVERED };
        let bias_fits = operands.shape(2).is_none_or(|bias| bias == [features]);
        let grouped = depth == channels && channels % groups == 0;
        if !bias_fits || !grouped || !(1..=3).contains(&axes) || kernel.len() != axes {
            return NOT_COVERED;
        }
        let Some(spread) = Spread::of(&window, &pads, &extra, input, kernel) else {
            return NOT_COVERED;
        };
        let mut full = vec![*batch, features];
        full.extend(spread.kept.iter().zip(&spread.cut).map(|(kept, cut)| kept + cut.0 + cut.1));
        context.claim(&full, dtype.bytes())?;
        let mut shape = vec![*batch, features];
        shape.extend(&spread.kept);
        let x = operands.take(0)?.into_primitive();
        let weight = operands.take(1)?.into_primitive();
        let bias = operands.take_optional(2)?.map(DeviceTensor::into_primitive);
        let result = match axes {
            1 => spread.convolve::<1>(x, weight, bias, groups, Dispatch::conv_transpose1d),
            2 => spread.convolve::<2>(x, weight, bias, groups, Dispatch::conv_transpose2d),
            _ => spread.convolve::<3>(x, weight, bias, groups, Dispatch::conv_transpose3d),
        };
        let mut ranges = vec![(0, shape[0], 1), (0, shape[1], 1)];
        let kept = spread.kept.iter().zip(&spread.cut);
        ranges.extend(kept.map(|(kept, cut)| (cut.0, cut.0 + kept, 1)));
        let result = DeviceTensor::of(result, dtype);
        let result = if result.shape() == shape { Some(result) } else { result.slice(&ranges) };
        match result {
            Some(result) => one(result),
            None => Err(OpError::shape(format!("the output {shape:?} is too large"))),
        }
    }))
}

/// A transposed window over axes of known sizes: computed without pads, which then are cut off.
struct Spread {
    strides: Vec<usize>,
    dilations: Vec<usize>,
    extra: Vec<usize>,
    cut: Vec<(usize, usize)>,
    kept: Vec<usize>,
}

impl Spread {
    fn of(
        window: &Window,
        pads: &[(usize, usize)],
        extra: &[usize],
        input: &[usize],
        kernel: &[usize],
    ) -> Option<Self> {
        let axes = input.len();
        let (strides, dilations) = window.steps(axes)?;
        let fits = |count: usize| count == 0 || count == axes;
        if !fits(pads.len()) || !fits(extra.len()) {
            return None;
        }
        let mut spread = Self {
            strides,
            dilations,
            extra: extra.to_vec(),
            cut: pads.to_vec(),
            kept: Vec::new(),
        };
        spread.extra.resize(axes, 0);
        spread.cut.resize(axes, (0, 0));
        for axis in 0..axes {
            let extent = kernel[axis].checked_sub(1)?.checked_mul(spread.dilations[axis])?;
            let full = input[axis].checked_sub(1)?.checked_mul(spread.strides[axis])?;
            let full = full.checked_add(extent)?.checked_add(1)?.checked_add(spread.extra[axis])?;
            let kept = full.checked_sub(spread.cut[axis].0)?.checked_sub(spread.cut[axis].1)?;
            spread.kept.push(Some(kept).filter(|kept| *kept > 0)?);
        }
        Some(spread)
    }

    fn convolve<const N: usize>(
        &self,
        x: DispatchTensor,
        weight: DispatchTensor,
        bias: Bias,
        groups: usize,
        function: fn(
            DispatchTensor,
            DispatchTensor,
            Bias,
            ConvTransposeOptions<N>,
        ) -> DispatchTensor,
    ) -> DispatchTensor {
        let (strides, dilations) = (array(&self.strides), array(&self.dilations));
        let extra = std::array::from_fn(|axis| self.extra.get(axis).copied().unwrap_or(0));
        let options = ConvTransposeOptions::new(strides, [0; N], extra, dilations, groups);
        function(x, weight, bias, options)
    }
}
