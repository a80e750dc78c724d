//! Concat and Split: <https://onnx.ai/onnx/operators/onnx__Concat.html>

use super::numbers::Numbers;
use super::units::{Unit, claim_like, for_unit, require_same_type};
use super::view::View;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

#[derive(Debug)]
struct Concat {
    axis: i64,
}

pub(super) fn concat(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let axis = match spec.int_opt("axis")? {
        Some(axis) => axis,
        None if spec.version() < 4 => 1,
        None => return Err(BuildError::invalid("the axis is missing")),
    };
    Ok(Box::new(Concat { axis }))
}

impl Operator for Concat {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let parts: Vec<&Tensor> =
            (0..inputs.len()).map(|at| inputs.tensor(at)).collect::<Result<_, _>>()?;
        Ok(vec![joined(&parts, self.axis, context)?.into()])
    }
}

/// Tensors behind each other along an axis.
pub(crate) fn joined(
    parts: &[&Tensor],
    axis: i64,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    let first = *parts.first().ok_or(OpError::Missing(0))?;
    let axis = axis_of(axis, first.rank())?;
    let mut shape = first.shape().to_vec();
    for part in parts.iter().skip(1) {
        require_same_type(first, part)?;
        let fits = part.rank() == shape.len()
            && (0..shape.len()).all(|at| at == axis || part.shape()[at] == shape[at]);
        if !fits {
            return Err(OpError::shape(format!(
                "{:?} cannot be joined to {:?} along axis {axis}",
                part.shape(),
                first.shape()
            )));
        }
        let size = shape[axis].checked_add(part.shape()[axis]);
        shape[axis] = size.ok_or_else(|| OpError::shape("the joined size is too large"))?;
    }
    if let [whole] = parts {
        return Ok((*whole).clone());
    }
    let elements = claim_like(context, first, &shape)?;
    for_unit!(first.dtype(), T, {
        let mut out: Vec<T> = Vec::with_capacity(elements);
        if elements > 0 {
            let outer: usize = shape[..axis].iter().product();
            let sources: Vec<(&[T], usize)> = parts
                .iter()
                .map(|part| Ok((T::of(part)?, part.shape()[axis..].iter().product())))
                .collect::<Result<_, OpError>>()?;
            for row in 0..outer {
                for (source, length) in &sources {
                    out.extend_from_slice(&source[row * length..(row + 1) * length]);
                }
            }
        }
        Ok(T::tensor(first.dtype(), shape, out))
    })
}

#[derive(Debug)]
struct Split {
    axis: i64,
    sizes: Numbers,
    /// Into how many parts, where no sizes are given.
    parts: usize,
    /// Whether the last part may be smaller than the others.
    uneven: bool,
}

pub(super) fn split(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    // Version 1 has the sizes as an operand too, if not as an attribute.
    let sizes = if spec.version() < 2 && spec.has_input(1) {
        Numbers::Operand(1)
    } else {
        Numbers::read(spec, "split", 1, 13)?
    };
    let mut parts = spec.output_count();
    let counted = spec.int_opt("num_outputs")?;
    if let Some(count) = counted {
        if usize::try_from(count) != Ok(parts) {
            return Err(BuildError::invalid(format!("{count} parts are asked of {parts} outputs")));
        }
        if !matches!(sizes, Numbers::Absent) {
            return Err(BuildError::invalid("both sizes and a number of parts are given"));
        }
    }
    parts = parts.max(1);
    Ok(Box::new(Split { axis: spec.int("axis", 0)?, sizes, parts, uneven: counted.is_some() }))
}

impl Split {
    fn sizes(&self, size: usize, inputs: &Inputs) -> Result<Vec<usize>, OpError> {
        if let Some(sizes) = self.sizes.get(inputs)? {
            let wrong =
                || OpError::shape(format!("an axis of size {size} does not split into {sizes:?}"));
            let parts: Option<Vec<usize>> =
                sizes.iter().map(|size| usize::try_from(*size).ok()).collect();
            let parts = parts.ok_or_else(wrong)?;
            let sum = parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(*part));
            return if sum == Some(size) { Ok(parts) } else { Err(wrong()) };
        }
        let part = size.div_ceil(self.parts);
        let parts: Vec<usize> = (0..self.parts)
            .map(|at| part.min(size.saturating_sub(at.saturating_mul(part))))
            .collect();
        if !self.uneven && parts.iter().any(|size| *size != part) {
            return Err(OpError::shape(format!(
                "an axis of size {size} does not split into {} equal parts",
                self.parts
            )));
        }
        Ok(parts)
    }
}

impl Operator for Split {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let axis = axis_of(self.axis, tensor.rank())?;
        let sizes = self.sizes(tensor.shape()[axis], &inputs)?;
        let parts = parts_of(&tensor, axis, &sizes)?;
        Ok(parts.into_iter().map(Value::from).collect())
    }
}

/// Parts of a tensor behind each other along an axis. Their sizes have to sum up to no more than that axis.
pub(crate) fn parts_of(
    tensor: &Tensor,
    axis: usize,
    sizes: &[usize],
) -> Result<Vec<Tensor>, OpError> {
    let whole = View::of(tensor.shape());
    let mut start = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        let view = whole.clone().narrowed(axis, start, *size);
        let shape = view.sizes.clone();
        debug_assert!(elements_of(&shape) <= Some(tensor.len()), "a part of {:?}", tensor.shape());
        parts.push(view.of_tensor(tensor.clone(), shape)?);
        start += size;
    }
    Ok(parts)
}
