//! Applying a function to each pair of elements of two tensors that broadcast.

use super::maths::vectorised;
use crate::dtype::Element;
use crate::error::OpError;
use crate::ops::broadcast::{collapse, for_rows, joint_shape, strides_in};
use crate::ops::{BuildError, NodeSpec, axis_of};
use crate::run::Context;
use crate::tensor::{Shape, Tensor};

/// Refuses operands of two types.
pub(super) fn same_type(left: &Tensor, right: &Tensor) -> Result<(), OpError> {
    if left.dtype() == right.dtype() {
        return Ok(());
    }
    Err(OpError::Type { expected: left.dtype().name(), found: right.dtype() })
}

/// Refuses integers that are divided by zero.
pub(super) fn not_zero<T: Element>(divisors: &Tensor) -> Result<(), OpError> {
    if divisors.as_slice::<T>()?.contains(&T::ZERO) {
        return Err(OpError::shape("an integer is divided by zero"));
    }
    Ok(())
}

/// Before version 7, where in the first operand the second one's axes lie, if the node says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement(Option<i64>);

impl Placement {
    pub(super) fn of(spec: &NodeSpec<'_>) -> Result<Self, BuildError> {
        let placed = spec.version() < 7 && spec.flag("broadcast", false)?;
        Ok(Self(if placed { spec.int_opt("axis")? } else { None }))
    }

    /// The second operand with axes of size 1 behind its own, so that plain broadcasting does the rest.
    pub(super) fn place(self, left: &Tensor, right: Tensor) -> Result<Tensor, OpError> {
        let Some(axis) = self.0 else { return Ok(right) };
        let behind = axis_of(axis, left.rank().max(1))? + right.rank();
        let missing = left.rank().checked_sub(behind).ok_or_else(|| {
            let (left, right) = (left.shape(), right.shape());
            OpError::shape(format!("{right:?} does not lie within {left:?} from axis {axis} on"))
        })?;
        let mut shape = right.shape().to_vec();
        shape.resize(shape.len() + missing, 1);
        right.reshaped(shape)
    }
}

/// How two operands are walked together.
struct Walk {
    shape: Shape,
    left: Vec<usize>,
    right: Vec<usize>,
}

impl Walk {
    fn over(shape: &[usize], left: &[usize], right: &[usize]) -> Self {
        let mut strides = [strides_in(left, shape), strides_in(right, shape)];
        let mut shape = shape.to_vec();
        collapse(&mut shape, &mut strides);
        let [left, right] = strides;
        Self { shape, left, right }
    }

    /// The length of a row, and the steps within it.
    fn row(&self) -> (usize, usize, usize) {
        let last = |values: &[usize], default| values.last().copied().unwrap_or(default);
        (last(&self.shape, 1), last(&self.left, 0), last(&self.right, 0))
    }
}

/// Applies `f` to each pair of elements.
pub(crate) fn pairwise<T: Element, R: Element>(
    left: &Tensor,
    right: &Tensor,
    context: &Context<'_>,
    f: impl Fn(T, T) -> R,
) -> Result<Tensor, OpError> {
    let shape = joint_shape(left.shape(), right.shape())?;
    let elements = context.claim(&shape, size_of::<R>())?;
    let (a, b) = (left.as_slice::<T>()?, right.as_slice::<T>()?);
    let mut out = Vec::with_capacity(elements);
    let walk = Walk::over(&shape, left.shape(), right.shape());
    let (length, step_left, step_right) = walk.row();
    vectorised(|| {
        for_rows(&walk.shape, &walk.left, &walk.right, |_, l, r| match (step_left, step_right) {
            (0, 0) => out.extend(std::iter::repeat_n(f(a[l], b[r]), length)),
            (0, _) => out.extend(b[r..r + length].iter().map(|b| f(a[l], *b))),
            (_, 0) => out.extend(a[l..l + length].iter().map(|a| f(*a, b[r]))),
            _ => {
                let pairs = a[l..l + length].iter().zip(&b[r..r + length]);
                out.extend(pairs.map(|(a, b)| f(*a, *b)));
            }
        });
    });
    Ok(Tensor::new(shape, out))
}

/// [`pairwise`] where the result is of the operands' type: written over an operand that nobody else holds.
pub(crate) fn pairwise_over<T: Element>(
    mut left: Tensor,
    mut right: Tensor,
    context: &Context<'_>,
    f: impl Fn(T, T) -> T,
) -> Result<Tensor, OpError> {
    let shape = joint_shape(left.shape(), right.shape())?;
    if left.shape() == shape
        && let Some(out) = left.make_mut::<T>()
    {
        write_over(out, &shape, &right, f)?;
        return Ok(left);
    }
    if right.shape() == shape
        && let Some(out) = right.make_mut::<T>()
    {
        write_over(out, &shape, &left, |b, a| f(a, b))?;
        return Ok(right);
    }
    pairwise(&left, &right, context, f)
}

fn write_over<T: Element>(
    out: &mut [T],
    shape: &[usize],
    other: &Tensor,
    f: impl Fn(T, T) -> T,
) -> Result<(), OpError> {
    let b = other.as_slice::<T>()?;
    let walk = Walk::over(shape, shape, other.shape());
    let (length, _, step) = walk.row();
    vectorised(|| {
        for_rows(&walk.shape, &walk.left, &walk.right, |_, l, r| {
            let row = &mut out[l..l + length];
            if step == 0 {
                let b = b[r];
                row.iter_mut().for_each(|a| *a = f(*a, b));
            } else {
                row.iter_mut().zip(&b[r..r + length]).for_each(|(a, b)| *a = f(*a, *b));
            }
        });
    });
    Ok(())
}
