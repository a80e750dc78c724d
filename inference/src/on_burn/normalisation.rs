//! Normalisations, Softmax among them, for inference.

use burn::backend::ops::{ActivationOps, FloatTensorOps, ModuleOps};
use burn::backend::{Dispatch, DispatchTensor};

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::tensor::DeviceTensor;
use crate::ops::{NodeSpec, axis_of};
use crate::tensor::elements_of;

pub(super) const FAMILY: &[(&str, BuildForm)] = &[
    ("BatchNormalization", batch),
    ("InstanceNormalization", instance),
    ("GroupNormalization", group),
    ("LayerNormalization", layer),
    ("RMSNormalization", root_mean_square),
    ("Softmax", |spec| softmax(spec, Dispatch::softmax)),
    ("LogSoftmax", |spec| softmax(spec, Dispatch::log_softmax)),
];

fn batch(spec: &NodeSpec<'_>) -> Option<Form> {
    let epsilon = f64::from(spec.float("epsilon", 1e-5).ok()?);
    let training = spec.flag("training_mode", false).ok()?;
    let old = spec.version() < 7 || !spec.flag("spatial", true).ok()?;
    if training || old || (1..5).any(|at| spec.wants_output(at)) {
        return None;
    }
    Some(Form::new(move |operands, _| {
        let (Some(dtype), Some([_, channels, ..])) = (operands.floats(0..5), operands.shape(0))
        else {
            return NOT_COVERED;
        };
        if (1..5).any(|at| operands.shape(at) != Some(&[*channels])) {
            return NOT_COVERED;
        }
        let shape = operands.shape(0).unwrap_or_default().to_vec();
        let x = operands.take(0)?.into_primitive();
        let scale = operands.take(1)?.into_primitive();
        let shift = operands.take(2)?.into_primitive();
        let mean = operands.take(3)?.into_primitive();
        let variance = operands.take(4)?.into_primitive();
        let result = Dispatch::batch_norm(x, scale, shift, mean, variance, epsilon);
        one(DeviceTensor::shaped(result, &shape, dtype))
    }))
}

/// Each row of a matrix brought to mean 0 and variance 1.
fn normalised(x: DispatchTensor, epsilon: f64) -> DispatchTensor {
    let mean = Dispatch::float_mean_dim(x.clone(), 1);
    let centred = Dispatch::float_sub(x, mean);
    scaled(centred, epsilon)
}

/// Each row of a matrix divided by the root of the mean of its squares.
fn scaled(x: DispatchTensor, epsilon: f64) -> DispatchTensor {
    let squares = Dispatch::float_mul(x.clone(), x.clone());
    let mean = Dispatch::float_mean_dim(squares, 1);
    let root = Dispatch::float_sqrt(Dispatch::float_add_scalar(mean, epsilon.into()));
    Dispatch::float_div(x, root)
}

fn instance(spec: &NodeSpec<'_>) -> Option<Form> {
    let epsilon = f64::from(spec.float("epsilon", 1e-5).ok()?);
    by_group(epsilon, None)
}

fn group(spec: &NodeSpec<'_>) -> Option<Form> {
    let epsilon = f64::from(spec.float("epsilon", 1e-5).ok()?);
    let groups = usize::try_from(spec.int("num_groups", 0).ok()?).ok()?;
    // Before version 21 there was a scale for each group.
    if spec.version() < 21 || groups == 0 {
        return None;
    }
    by_group(epsilon, Some(groups))
}

/// Normalises the channels of each group together, then scales and shifts each channel.
#[expect(clippy::unnecessary_wraps, reason = "what the builders want")]
fn by_group(epsilon: f64, groups: Option<usize>) -> Option<Form> {
    Some(Form::new(move |operands, _| {
        let (Some(dtype), Some(shape)) = (operands.floats(0..3), operands.shape(0)) else {
            return NOT_COVERED;
        };
        let (shape, elements) = (shape.to_vec(), elements_of(shape));
        let ([batch, channels, _, ..], Some(elements)) = (&shape[..], elements) else {
            return NOT_COVERED;
        };
        let groups = groups.unwrap_or(*channels);
        let per_channel = [*channels];
        let scales =
            operands.shape(1) == Some(&per_channel) && operands.shape(2) == Some(&per_channel);
        let Some(rows) = batch.checked_mul(groups).filter(|_| scales && channels % groups == 0)
        else {
            return NOT_COVERED;
        };
        let mut along_channels = vec![1; shape.len()];
        along_channels[1] = *channels;
        let x = operands.take(0)?.reshape(&[rows, elements / rows]).into_primitive();
        let x = DeviceTensor::of(normalised(x, epsilon), dtype).reshape(&shape).into_primitive();
        let scale = operands.take(1)?.reshape(&along_channels).into_primitive();
        let shift = operands.take(2)?.reshape(&along_channels).into_primitive();
        let result = Dispatch::float_add(Dispatch::float_mul(x, scale), shift);
        one(DeviceTensor::shaped(result, &shape, dtype))
    }))
}

fn layer(spec: &NodeSpec<'_>) -> Option<Form> {
    if (1..3).any(|at| spec.wants_output(at)) {
        return None;
    }
    let epsilon = f64::from(spec.float("epsilon", 1e-5).ok()?);
    over_last_axes(spec, 1, move |x, scale, shift| Dispatch::layer_norm(x, scale, shift, epsilon))
}

fn root_mean_square(spec: &NodeSpec<'_>) -> Option<Form> {
    let epsilon = f64::from(spec.float("epsilon", 1e-5).ok()?);
    // Not every device of burn multiplies tensors of different ranks.
    over_last_axes(spec, 2, move |x, scale, _| Dispatch::float_mul(scaled(x, epsilon), scale))
}

/// A normalisation of the axes from `axis` on, as of the rows of a matrix. `scale_rank`: the axes of the scale, the last of which is that
/// of the columns.
fn over_last_axes(
    spec: &NodeSpec<'_>,
    scale_rank: usize,
    function: impl Fn(DispatchTensor, DispatchTensor, Option<DispatchTensor>) -> DispatchTensor
    + Send
    + Sync
    + 'static,
) -> Option<Form> {
    let axis = spec.int("axis", -1).ok()?;
    // The mean in another type than f32 is the host's.
    if spec.int("stash_type", 1).ok()? != 1 {
        return None;
    }
    Some(Form::new(move |operands, _| {
        let (Some(dtype), Some(shape)) = (operands.floats(0..3), operands.shape(0)) else {
            return NOT_COVERED;
        };
        let (shape, from) = (shape.to_vec(), axis_of(axis, shape.len())?);
        let last = &shape[from..];
        let whole = |at| operands.shape(at).is_none_or(|shape| shape == last);
        let narrow = !matches!(dtype, crate::dtype::DType::F32 | crate::dtype::DType::F64);
        let (Some(rows), Some(columns)) = (elements_of(&shape[..from]), elements_of(last)) else {
            return NOT_COVERED;
        };
        if narrow || !whole(1) || !whole(2) {
            return NOT_COVERED;
        }
        let x = operands.take(0)?.reshape(&[rows, columns]).into_primitive();
        let scale = operands.take(1)?.reshape(&[columns]).with_rank(scale_rank);
        let shift = operands.take_optional(2)?.map(|shift| shift.reshape(&[columns]));
        let shift = shift.map(DeviceTensor::into_primitive);
        let scale = scale.into_primitive();
        one(DeviceTensor::shaped(function(x, scale, shift), &shape, dtype))
    }))
}

fn softmax(
    spec: &NodeSpec<'_>,
    function: fn(DispatchTensor, usize) -> DispatchTensor,
) -> Option<Form> {
    let by_axis = spec.version() >= 13;
    let axis = spec.int("axis", if by_axis { -1 } else { 1 }).ok()?;
    Some(Form::new(move |operands, _| {
        let (Some(dtype), Some(shape)) = (operands.floats(0..1), operands.shape(0)) else {
            return NOT_COVERED;
        };
        let shape = shape.to_vec();
        if shape.is_empty() {
            return NOT_COVERED;
        }
        let axis = axis_of(axis, shape.len())?;
        let x = operands.take(0)?;
        if by_axis {
            let result = function(x.into_primitive(), axis);
            return one(DeviceTensor::shaped(result, &shape, dtype));
        }
        // Before version 13 the axes from `axis` on were one.
        let rows: usize = shape[..axis].iter().product();
        let columns: usize = shape[axis..].iter().product();
        let x = x.reshape(&[rows, columns]).into_primitive();
        one(DeviceTensor::shaped(function(x, 1), &shape, dtype))
    }))
}
