//! Reshape, Flatten, Squeeze, Unsqueeze, Identity, BitCast: the same elements under another shape, never copied.
//!
//! <https://onnx.ai/onnx/operators/onnx__Reshape.html>

use super::numbers::{Numbers, axes_in_order, require_rank};
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axes_of, axis_of};
use crate::run::Context;
use crate::tensor::{Shape, Tensor, elements_of};
use crate::value::Value;

#[derive(Debug)]
struct Reshape {
    target: Numbers,
    /// Whether a 0 in the target means an axis of size 0; else it keeps the operand's size.
    zero_is_size: bool,
}

pub(super) fn reshape(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let target = Numbers::read(spec, "shape", 1, 5)?.required("the shape")?;
    Ok(Box::new(Reshape { target, zero_is_size: spec.flag("allowzero", false)? }))
}

impl Reshape {
    fn shape(&self, tensor: &Tensor, target: &[i64]) -> Result<Shape, OpError> {
        let refused = |why: &str| {
            OpError::shape(format!("{:?} cannot be reshaped to {target:?}: {why}", tensor.shape()))
        };
        let mut shape = Shape::with_capacity(target.len());
        let mut open = None;
        for (axis, size) in target.iter().enumerate() {
            shape.push(match *size {
                0 if !self.zero_is_size => *tensor
                    .shape()
                    .get(axis)
                    .ok_or_else(|| refused("a 0 stands where the operand has no axis"))?,
                -1 if open.is_some() => return Err(refused("more than one -1")),
                -1 => {
                    open = Some(axis);
                    1
                }
                size => usize::try_from(size).map_err(|_| refused("a size is negative"))?,
            });
        }
        if let Some(axis) = open {
            let others = elements_of(&shape).unwrap_or(usize::MAX);
            if others == 0 || !tensor.len().is_multiple_of(others) {
                return Err(refused("the elements do not fill it"));
            }
            shape[axis] = tensor.len() / others;
        }
        Ok(shape)
    }
}

impl Operator for Reshape {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let target = self.target.get_or_empty(&inputs)?;
        require_rank(target.len(), context.limits.rank_max)?;
        let shape = self.shape(&tensor, &target)?;
        Ok(vec![tensor.reshaped(shape)?.into()])
    }
}

#[derive(Debug)]
struct Flatten {
    axis: i64,
}

pub(super) fn flatten(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Flatten { axis: spec.int("axis", 1)? }))
}

impl Operator for Flatten {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        // The axis may be the rank itself: everything lies before it then.
        let rank = tensor.rank();
        let at =
            if usize::try_from(self.axis) == Ok(rank) { rank } else { axis_of(self.axis, rank)? };
        let too_large = || OpError::shape("the sizes of an empty tensor are too large to flatten");
        let (before, behind) = tensor.shape().split_at(at);
        let shape = [
            elements_of(before).ok_or_else(too_large)?,
            elements_of(behind).ok_or_else(too_large)?,
        ];
        Ok(vec![tensor.reshaped(shape)?.into()])
    }
}

#[derive(Debug)]
struct Squeeze {
    axes: Numbers,
}

pub(super) fn squeeze(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Squeeze { axes: Numbers::read(spec, "axes", 1, 13)? }))
}

impl Operator for Squeeze {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let old = tensor.shape();
        let mut removed: Vec<bool> = old.iter().map(|size| *size == 1).collect();
        if let Some(axes) = self.axes.get(&inputs)? {
            let places = axes_in_order(&axes, old.len())?;
            if let Some(axis) = places.iter().find(|axis| !removed[**axis]) {
                return Err(OpError::shape(format!("axis {axis} of {old:?} is not of size 1")));
            }
            removed.fill(false);
            places.into_iter().for_each(|axis| removed[axis] = true);
        }
        let kept = old.iter().zip(removed).filter(|(_, removed)| !removed);
        let shape: Shape = kept.map(|(size, _)| *size).collect();
        Ok(vec![tensor.reshaped(shape)?.into()])
    }
}

#[derive(Debug)]
struct Unsqueeze {
    axes: Numbers,
}

pub(super) fn unsqueeze(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Unsqueeze { axes: Numbers::read(spec, "axes", 1, 13)?.required("axes")? }))
}

impl Operator for Unsqueeze {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let axes = self.axes.get_or_empty(&inputs)?;
        let rank = tensor.rank().saturating_add(axes.len());
        require_rank(rank, context.limits.rank_max)?;
        let mut shape = tensor.shape().to_vec();
        for axis in axes_of(&axes, rank)? {
            shape.insert(axis, 1);
        }
        Ok(vec![tensor.reshaped(shape)?.into()])
    }
}

#[derive(Debug)]
struct Identity;

pub(super) fn identity(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Identity))
}

impl Operator for Identity {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        Ok(vec![inputs.take(0)?])
    }
}

#[derive(Debug)]
struct BitCast {
    to: DType,
}

pub(super) fn bit_cast(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let number = spec.int_opt("to")?.ok_or_else(|| BuildError::invalid("the type is missing"))?;
    let to = i32::try_from(number).ok().and_then(DType::from_onnx);
    let to = to.ok_or_else(|| BuildError::unsupported(format!("element type {number}")))?;
    // Types narrower than a byte are not packed here, so their bits are not those of the file.
    if matches!(to, DType::I4 | DType::U4 | DType::F4E2M1 | DType::String) {
        return Err(BuildError::unsupported(format!("a cast of bits to {to}")));
    }
    Ok(Box::new(BitCast { to }))
}

impl Operator for BitCast {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let from = tensor.dtype();
        if matches!(from, DType::I4 | DType::U4 | DType::F4E2M1) {
            return Err(OpError::unsupported(format!("a cast of bits from {from}")));
        }
        let storage = tensor.storage();
        let cast = storage
            .filter(|_| from.bytes() == self.to.bytes())
            .and_then(|storage| Tensor::from_storage(self.to, tensor.shape().to_vec(), storage));
        let wrong = || OpError::shape(format!("{from} is not as wide as {}", self.to));
        // A boolean has only two values whose bits are known.
        let cast = cast.ok_or_else(wrong)?;
        if self.to == DType::Bool && tensor.raw().iter().any(|bits| *bits > 1) {
            return Err(OpError::shape("a cast of bits to bool finds neither 0 nor 1"));
        }
        Ok(vec![cast.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_filled_or_refused() {
        let tensor = Tensor::new([2, 3], vec![0.0_f32; 6]);
        let reshape = Reshape { target: Numbers::Absent, zero_is_size: false };
        assert_eq!(reshape.shape(&tensor, &[0, -1]).unwrap(), [2, 3]);
        assert_eq!(reshape.shape(&tensor, &[-1, 1, 2]).unwrap(), [3, 1, 2]);
        for wrong in [&[-1, -1][..], &[-2], &[4, -1], &[1, 2, 0], &[i64::MAX, i64::MAX, -1]] {
            assert!(reshape.shape(&tensor, wrong).is_err(), "{wrong:?}");
        }
        let exact = Reshape { target: Numbers::Absent, zero_is_size: true };
        assert!(exact.shape(&tensor, &[0, -1]).is_err());
    }
}
