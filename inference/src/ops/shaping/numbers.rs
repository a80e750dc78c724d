//! Integers that older operator sets have as an attribute and newer ones as an operand: axes, pads, splits.

use std::borrow::Cow;

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, axis_of};
use crate::tensor::Shape;

/// Where such integers come from.
#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    /// They were left out.
    Absent,
    /// They stand in the file.
    Given(Vec<i64>),
    /// They are this operand.
    Operand(usize),
}

impl Numbers {
    /// The attribute `name` before version `since`, from then on the operand `at`.
    pub(crate) fn read(
        spec: &NodeSpec<'_>,
        name: &str,
        at: usize,
        since: i64,
    ) -> Result<Self, BuildError> {
        if spec.version() < since {
            return Ok(spec
                .ints_opt(name)?
                .map_or(Self::Absent, |ints| Self::Given(ints.to_vec())));
        }
        if spec.has(name) {
            return Err(BuildError::invalid(format!(
                "attribute {name:?} is input {at} since opset {since}"
            )));
        }
        Ok(if spec.has_input(at) { Self::Operand(at) } else { Self::Absent })
    }

    /// Refuses to be absent.
    pub(crate) fn required(self, name: &str) -> Result<Self, BuildError> {
        match self {
            Self::Absent => Err(BuildError::invalid(format!("{name} is missing"))),
            other => Ok(other),
        }
    }

    /// The integers of this run.
    pub(crate) fn get(&self, inputs: &Inputs) -> Result<Option<Cow<'_, [i64]>>, OpError> {
        Ok(match self {
            Self::Absent => None,
            Self::Given(numbers) => Some(Cow::Borrowed(numbers)),
            Self::Operand(at) => inputs
                .optional(*at)?
                .map(crate::tensor::Tensor::to_i64s)
                .transpose()?
                .map(Cow::Owned),
        })
    }

    /// The integers of this run; none when they were left out.
    pub(crate) fn get_or_empty(&self, inputs: &Inputs) -> Result<Cow<'_, [i64]>, OpError> {
        Ok(self.get(inputs)?.unwrap_or_default())
    }
}

/// The one integer of an operand that is a scalar or has one element.
pub(crate) fn single(inputs: &Inputs, at: usize) -> Result<i64, OpError> {
    match inputs.tensor(at)?.to_i64s()?[..] {
        [number] => Ok(number),
        ref numbers => {
            Err(OpError::shape(format!("input {at} has {} elements, not one", numbers.len())))
        }
    }
}

/// A shape of integers that may not be negative.
pub(crate) fn shape_of(sizes: &[i64], rank_max: usize) -> Result<Shape, OpError> {
    require_rank(sizes.len(), rank_max)?;
    let size = |size: &i64| {
        usize::try_from(*size).map_err(|_| OpError::shape(format!("a size of {size} is asked for")))
    };
    sizes.iter().map(size).collect()
}

/// Refuses a tensor with more axes than a model may use.
pub(crate) fn require_rank(rank: usize, rank_max: usize) -> Result<(), OpError> {
    if rank <= rank_max {
        return Ok(());
    }
    Err(OpError::shape(format!("{rank} axes are asked for, the limit is {rank_max}")))
}

/// Places of axes in the order in which they are named. Each may be named once.
pub(crate) fn axes_in_order(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut named = vec![false; rank];
    let mut places = Vec::with_capacity(axes.len().min(rank));
    for axis in axes {
        let place = axis_of(*axis, rank)?;
        if std::mem::replace(&mut named[place], true) {
            return Err(OpError::shape(format!("axis {place} is named twice in {axes:?}")));
        }
        places.push(place);
    }
    Ok(places)
}
