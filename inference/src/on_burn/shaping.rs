//! Operators that give the same elements another shape or order, and those that ask for a shape.

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::operands::Operands;
use crate::error::OpError;
use crate::ops::broadcast::joint_shape;
use crate::ops::{NodeSpec, axes_of, axis_of};
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

pub(super) const FAMILY: &[(&str, BuildForm)] = &[
    ("Identity", |_| identity()),
    ("Dropout", dropout),
    ("Shape", shape_of),
    ("Size", |_| size_of_all()),
    ("Reshape", reshape),
    ("Flatten", flatten),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Transpose", transpose),
    ("Expand", |_| expand()),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
];

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn identity() -> Option<Form> {
    Some(Form::new(|operands, _| {
        if operands.tensor(0).is_none() {
            return NOT_COVERED;
        }
        one(operands.take(0)?)
    }))
}

/// Nothing is dropped when a model is only used; whether it is trained is an operand since version 12.
fn dropout(spec: &NodeSpec<'_>) -> Option<Form> {
    let trains = spec.version() >= 12 && spec.has_input(2);
    if trains || spec.wants_output(1) || spec.version() < 7 {
        return None;
    }
    identity()
}

fn host_sizes(
    sizes: Vec<i64>,
    shape: &[usize],
) -> Result<Option<Vec<super::operands::Held>>, OpError> {
    Ok(Some(vec![Value::Tensor(Tensor::new(shape, sizes)).into()]))
}

fn signed(shape: &[usize]) -> Option<Vec<i64>> {
    shape.iter().map(|size| i64::try_from(*size).ok()).collect()
}

fn shape_of(spec: &NodeSpec<'_>) -> Option<Form> {
    let (start, end) = (spec.int("start", 0).ok()?, spec.int_opt("end").ok()?);
    Some(Form::new(move |operands, _| {
        let Some(sizes) = operands.shape(0).and_then(signed) else { return NOT_COVERED };
        let rank = i64::try_from(sizes.len()).unwrap_or(i64::MAX);
        let place = |at: i64| {
            let at = if at < 0 { at.saturating_add(rank) } else { at };
            usize::try_from(at.clamp(0, rank)).unwrap_or(0)
        };
        let (start, end) = (place(start), end.map_or(sizes.len(), place));
        let sizes = sizes.get(start..end).unwrap_or_default().to_vec();
        let count = sizes.len();
        host_sizes(sizes, &[count])
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn size_of_all() -> Option<Form> {
    Some(Form::new(|operands, _| {
        let elements = operands.shape(0).and_then(elements_of);
        let Some(elements) = elements.and_then(|count| i64::try_from(count).ok()) else {
            return NOT_COVERED;
        };
        host_sizes(vec![elements], &[])
    }))
}

/// The only output: an operand under another shape, if it has as many elements.
fn under(operands: &mut Operands<'_>, shape: &[usize]) -> super::form::Outcome {
    let elements = operands.shape(0).and_then(elements_of);
    if elements.is_none() || elements != elements_of(shape) {
        return NOT_COVERED;
    }
    one(operands.take(0)?.reshape(shape))
}

fn reshape(spec: &NodeSpec<'_>) -> Option<Form> {
    let zero_is_zero = spec.flag("allowzero", false).ok()?;
    if spec.version() < 5 || zero_is_zero {
        return None;
    }
    Some(Form::new(|operands, _| {
        let (Some(_), Some(wanted)) = (operands.dtype(0), operands.host_i64s(1)?) else {
            return NOT_COVERED;
        };
        let from = operands.shape(0).unwrap_or_default();
        let mut shape = Vec::with_capacity(wanted.len());
        let mut open = None;
        for (axis, size) in wanted.iter().enumerate() {
            match (size, from.get(axis)) {
                (0, Some(same)) => shape.push(*same),
                (-1, _) if open.is_none() => {
                    open = Some(axis);
                    shape.push(1);
                }
                (size, _) => match usize::try_from(*size) {
                    Ok(size) if size > 0 => shape.push(size),
                    _ => return NOT_COVERED,
                },
            }
        }
        if let (Some(axis), Some(all), Some(rest)) = (open, elements_of(from), elements_of(&shape))
        {
            shape[axis] = all.checked_div(rest).unwrap_or(0);
        }
        under(operands, &shape)
    }))
}

fn flatten(spec: &NodeSpec<'_>) -> Option<Form> {
    let axis = spec.int("axis", 1).ok()?;
    Some(Form::new(move |operands, _| {
        let Some((_, shape)) = operands.tensor(0) else { return NOT_COVERED };
        let rank = i64::try_from(shape.len()).unwrap_or(i64::MAX);
        let at = if axis < 0 { axis.saturating_add(rank) } else { axis };
        let Some((front, behind)) =
            usize::try_from(at).ok().and_then(|at| shape.split_at_checked(at))
        else {
            return NOT_COVERED;
        };
        let flat = [front.iter().product(), behind.iter().product()];
        under(operands, &flat)
    }))
}

/// Axes from the attribute or, since version 13, the second operand.
fn axes_from(
    declared: Option<&Vec<i64>>,
    operands: &mut Operands<'_>,
) -> Result<Option<Vec<i64>>, OpError> {
    declared.map_or_else(|| operands.host_i64s(1), |axes| Ok(Some(axes.clone())))
}

fn squeeze(spec: &NodeSpec<'_>) -> Option<Form> {
    let declared = spec.ints_opt("axes").ok()?.map(<[i64]>::to_vec);
    Some(Form::new(move |operands, _| {
        if operands.tensor(0).is_none() {
            return NOT_COVERED;
        }
        let axes = axes_from(declared.as_ref(), operands)?;
        let shape = operands.shape(0).unwrap_or_default();
        let axes = axes.map(|axes| axes_of(&axes, shape.len())).transpose()?;
        let goes = |axis: usize, size: usize| match &axes {
            Some(axes) => axes.binary_search(&axis).is_ok(),
            None => size == 1,
        };
        let kept = shape.iter().enumerate().filter(|(axis, size)| !goes(*axis, **size));
        let kept: Vec<usize> = kept.map(|(_, size)| *size).collect();
        under(operands, &kept)
    }))
}

fn unsqueeze(spec: &NodeSpec<'_>) -> Option<Form> {
    let declared = spec.ints_opt("axes").ok()?.map(<[i64]>::to_vec);
    Some(Form::new(move |operands, _| {
        if operands.tensor(0).is_none() {
            return NOT_COVERED;
        }
        let Some(axes) = axes_from(declared.as_ref(), operands)? else { return NOT_COVERED };
        let shape = operands.shape(0).unwrap_or_default();
        let rank = shape.len().saturating_add(axes.len());
        let axes = axes_of(&axes, rank)?;
        let mut sizes = shape.iter().copied();
        let size = |axis| if axes.binary_search(&axis).is_ok() { Some(1) } else { sizes.next() };
        let Some(shape) = (0..rank).map(size).collect::<Option<Vec<_>>>() else {
            return NOT_COVERED;
        };
        under(operands, &shape)
    }))
}

fn transpose(spec: &NodeSpec<'_>) -> Option<Form> {
    let order = spec.ints_opt("perm").ok()?;
    let order: Option<Vec<usize>> = order
        .map(|order| order.iter().map(|axis| usize::try_from(*axis).ok()).collect())
        .unwrap_or(Some(Vec::new()));
    let order = order?;
    let declared = spec.has("perm");
    Some(Form::new(move |operands, _| {
        let Some((_, shape)) = operands.tensor(0) else { return NOT_COVERED };
        let order = if declared { order.clone() } else { (0..shape.len()).rev().collect() };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..shape.len()) {
            return NOT_COVERED;
        }
        one(operands.take(0)?.permute(&order))
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn expand() -> Option<Form> {
    Some(Form::new(|operands, context| {
        let (Some(dtype), Some(wanted)) = (operands.dtype(0), operands.host_i64s(1)?) else {
            return NOT_COVERED;
        };
        let wanted: Option<Vec<usize>> = wanted
            .iter()
            .map(|size| usize::try_from(*size).ok().filter(|size| *size > 0))
            .collect();
        let Some(wanted) = wanted else { return NOT_COVERED };
        let shape = joint_shape(operands.shape(0).unwrap_or_default(), &wanted)?;
        context.claim(&shape, dtype.bytes())?;
        one(operands.take(0)?.expand(&shape))
    }))
}

fn block_of(spec: &NodeSpec<'_>) -> Option<usize> {
    usize::try_from(spec.int("blocksize", 0).ok()?).ok().filter(|block| *block > 0)
}

fn depth_to_space(spec: &NodeSpec<'_>) -> Option<Form> {
    let block = block_of(spec)?;
    let columns_first = match spec.text("mode", "DCR").ok()? {
        "DCR" => false,
        "CRD" => true,
        _ => return None,
    };
    Some(Form::new(move |operands, _| {
        let Some((_, &[batch, depth, height, width])) = operands.tensor(0) else {
            return NOT_COVERED;
        };
        let area = block.saturating_mul(block);
        if depth % area != 0 {
            return NOT_COVERED;
        }
        let left = depth / area;
        let (split, order) = if columns_first {
            ([batch, left, block, block, height, width], [0, 1, 4, 2, 5, 3])
        } else {
            ([batch, block, block, left, height, width], [0, 3, 4, 1, 5, 2])
        };
        let out = [batch, left, height * block, width * block];
        one(operands.take(0)?.reshape(&split).permute(&order).reshape(&out))
    }))
}

fn space_to_depth(spec: &NodeSpec<'_>) -> Option<Form> {
    let block = block_of(spec)?;
    Some(Form::new(move |operands, _| {
        let Some((_, &[batch, depth, height, width])) = operands.tensor(0) else {
            return NOT_COVERED;
        };
        if height % block != 0 || width % block != 0 {
            return NOT_COVERED;
        }
        let (rows, columns) = (height / block, width / block);
        let split = [batch, depth, rows, block, columns, block];
        let out = [batch, depth * block * block, rows, columns];
        one(operands.take(0)?.reshape(&split).permute(&[0, 3, 5, 1, 2, 4]).reshape(&out))
    }))
}

/// For others that count axes from the end.
pub(super) fn axis_in(axis: i64, operands: &Operands<'_>, at: usize) -> Result<usize, OpError> {
    axis_of(axis, operands.shape(at).unwrap_or_default().len())
}
