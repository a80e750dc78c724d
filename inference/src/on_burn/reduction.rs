//! Reductions of floating-point tensors along axes.

use burn::backend::ops::FloatTensorOps;
use burn::backend::{Dispatch, DispatchTensor};

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::tensor::DeviceTensor;
use crate::ops::{NodeSpec, axes_of};
use crate::tensor::elements_of;

pub(super) const FAMILY: &[(&str, BuildForm)] = &[
    ("ReduceL1", |spec| reduce(spec, |x| sum(Dispatch::float_abs(x)))),
    ("ReduceL2", |spec| reduce(spec, |x| Dispatch::float_sqrt(sum_of_squares(x)))),
    ("ReduceLogSum", |spec| reduce(spec, |x| Dispatch::float_log(sum(x)))),
    ("ReduceMax", |spec| reduce(spec, |x| Dispatch::float_max_dim(x, 1))),
    ("ReduceMean", |spec| reduce(spec, |x| Dispatch::float_mean_dim(x, 1))),
    ("ReduceMin", |spec| reduce(spec, |x| Dispatch::float_min_dim(x, 1))),
    ("ReduceSum", |spec| reduce(spec, sum)),
    ("ReduceSumSquare", |spec| reduce(spec, sum_of_squares)),
];

fn sum(x: DispatchTensor) -> DispatchTensor {
    Dispatch::float_sum_dim(x, 1)
}

fn sum_of_squares(x: DispatchTensor) -> DispatchTensor {
    sum(Dispatch::float_mul(x.clone(), x))
}

/// A reduction, with `function` reducing the rows of a matrix.
fn reduce(spec: &NodeSpec<'_>, function: fn(DispatchTensor) -> DispatchTensor) -> Option<Form> {
    let declared = spec.ints_opt("axes").ok()?.map(<[i64]>::to_vec);
    let keeps = spec.flag("keepdims", true).ok()?;
    let none_for_none = spec.flag("noop_with_empty_axes", false).ok()?;
    Some(Form::new(move |operands, _| {
        let Some(dtype) = operands.floats(0..1) else { return NOT_COVERED };
        let axes = match &declared {
            Some(axes) => axes.clone(),
            None => operands.host_i64s(1)?.unwrap_or_default(),
        };
        // A reduction of nothing still applies its function: left to the host.
        if axes.is_empty() && none_for_none {
            return NOT_COVERED;
        }
        let shape = operands.shape(0).unwrap_or_default().to_vec();
        let axes = axes_of(&axes, shape.len())?;
        let reduced = |axis: &usize| axes.is_empty() || axes.binary_search(axis).is_ok();
        let all: Vec<usize> = (0..shape.len()).collect();
        let (gone, kept): (Vec<usize>, Vec<usize>) = all.iter().copied().partition(reduced);
        let sizes = |axes: &[usize]| axes.iter().map(|axis| shape[*axis]).collect::<Vec<_>>();
        let out: Vec<usize> = match keeps {
            true => all.iter().map(|axis| if reduced(axis) { 1 } else { shape[*axis] }).collect(),
            false => sizes(&kept),
        };
        let (Some(rows), Some(columns)) = (elements_of(&sizes(&kept)), elements_of(&sizes(&gone)))
        else {
            return NOT_COVERED;
        };
        let order: Vec<usize> = kept.iter().chain(&gone).copied().collect();
        let mut x = operands.take(0)?;
        if order != all {
            x = x.permute(&order);
        }
        let x = x.reshape(&[rows, columns]).into_primitive();
        one(DeviceTensor::shaped(function(x), &out, dtype))
    }))
}
