//! Transpose, DepthToSpace, SpaceToDepth: <https://onnx.ai/onnx/operators/onnx__Transpose.html>

use super::numbers::axes_in_order;
use super::view::View;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

#[derive(Debug)]
struct Transpose {
    /// The axes in their new order. `None`: reversed.
    order: Option<Vec<i64>>,
}

pub(super) fn transpose(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Transpose { order: spec.ints_opt("perm")?.map(<[i64]>::to_vec) }))
}

impl Operator for Transpose {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let rank = tensor.rank();
        let order = match &self.order {
            None => (0..rank).rev().collect(),
            Some(order) if order.len() == rank => axes_in_order(order, rank)?,
            Some(order) => {
                return Err(OpError::shape(format!(
                    "the order {order:?} is not one of {rank} axes"
                )));
            }
        };
        let view = View::of(tensor.shape()).permuted(&order);
        let shape = view.sizes.clone();
        Ok(vec![view.of_tensor(tensor, shape)?.into()])
    }
}

/// Moves squares of an image to channels or back.
#[derive(Debug)]
enum Blocks {
    ToSpace { block: usize, columns_first: bool },
    ToDepth { block: usize },
}

fn block_of(spec: &NodeSpec<'_>) -> Result<usize, BuildError> {
    let size = spec.int("blocksize", 0)?;
    usize::try_from(size)
        .ok()
        .filter(|block| *block > 0 && block.checked_mul(*block).is_some())
        .ok_or_else(|| BuildError::invalid(format!("the block size is {size}")))
}

pub(super) fn depth_to_space(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let columns_first = match spec.text("mode", "DCR")? {
        "DCR" => false,
        "CRD" => true,
        other => return Err(BuildError::invalid(format!("mode {other:?}"))),
    };
    Ok(Box::new(Blocks::ToSpace { block: block_of(spec)?, columns_first }))
}

pub(super) fn space_to_depth(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    // A mode came with operator set 28; the one that all versions have is the default.
    match spec.text("mode", "DCR")? {
        "DCR" => Ok(Box::new(Blocks::ToDepth { block: block_of(spec)? })),
        other => Err(BuildError::unsupported(format!("mode {other:?}"))),
    }
}

impl Operator for Blocks {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let [batch, channels, height, width] = *tensor.shape() else {
            return Err(OpError::shape(format!(
                "an image has four axes, this has {}",
                tensor.rank()
            )));
        };
        let wrong = |block: usize| {
            OpError::shape(format!("{:?} does not divide into blocks of {block}", tensor.shape()))
        };
        let too_large = || OpError::shape("the sizes of an empty image are too large");
        let (sizes, order, shape) = match *self {
            Self::ToSpace { block, columns_first } => {
                let deep = channels / (block * block);
                if deep * block * block != channels {
                    return Err(wrong(block));
                }
                let (sizes, order) = if columns_first {
                    ([batch, deep, block, block, height, width], [0, 1, 4, 2, 5, 3])
                } else {
                    ([batch, block, block, deep, height, width], [0, 3, 4, 1, 5, 2])
                };
                let height = height.checked_mul(block).ok_or_else(too_large)?;
                let width = width.checked_mul(block).ok_or_else(too_large)?;
                (sizes, order, [batch, deep, height, width])
            }
            Self::ToDepth { block } => {
                let (rows, columns) = (height / block, width / block);
                if rows * block != height || columns * block != width {
                    return Err(wrong(block));
                }
                let deep = channels.checked_mul(block * block).ok_or_else(too_large)?;
                (
                    [batch, channels, rows, block, columns, block],
                    [0, 3, 5, 1, 2, 4],
                    [batch, deep, rows, columns],
                )
            }
        };
        let view = View::of(&sizes).permuted(&order);
        Ok(vec![view.of_tensor(tensor, shape.to_vec())?.into()])
    }
}
