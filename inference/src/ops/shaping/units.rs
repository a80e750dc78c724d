//! Elements as operators see them that only move them: by their width, or as strings.
//!
//! One form per width keeps such an operator at five variants instead of one per element type.

use crate::dtype::DType;
use crate::error::OpError;
use crate::run::Context;
use crate::tensor::{Shape, Tensor};

/// An element that is moved without being looked at.
pub(crate) trait Unit: Clone + Default {
    /// The elements of a tensor of that width.
    fn of(tensor: &Tensor) -> Result<&[Self], OpError>;

    /// The elements to write on, if nobody else holds them.
    fn of_mut(tensor: &mut Tensor) -> Option<&mut [Self]>;

    /// A tensor over such elements, whose number has to be that of the shape.
    fn tensor(dtype: DType, shape: Shape, elements: Vec<Self>) -> Tensor;
}

macro_rules! plain_units {
    ($($rust:ty),*) => {$(
        impl Unit for $rust {
            fn of(tensor: &Tensor) -> Result<&[Self], OpError> {
                tensor.as_units::<Self>()
            }

            fn of_mut(tensor: &mut Tensor) -> Option<&mut [Self]> {
                tensor.units_mut::<Self>()
            }

            fn tensor(dtype: DType, shape: Shape, elements: Vec<Self>) -> Tensor {
                Tensor::from_units(dtype, shape, elements)
            }
        }
    )*};
}

plain_units!(u8, u16, u32, u64);

impl Unit for String {
    fn of(tensor: &Tensor) -> Result<&[Self], OpError> {
        tensor.as_strings()
    }

    fn of_mut(tensor: &mut Tensor) -> Option<&mut [Self]> {
        tensor.strings_mut()
    }

    fn tensor(_: DType, shape: Shape, elements: Vec<Self>) -> Tensor {
        Tensor::strings(shape, elements)
    }
}

/// Runs `$body` with `$T` standing for the [`Unit`] of an element type.
macro_rules! for_unit {
    ($dtype:expr, $T:ident, $body:block) => {
        $crate::dtype::for_repr!($dtype, $T, $body, else {
            type $T = String;
            $body
        })
    };
}

pub(crate) use for_unit;

/// The number of elements of a tensor to be made of elements of `like`, if a run may make one that large. A string counts as
/// the longest one there is.
pub(crate) fn claim_like(
    context: &Context<'_>,
    like: &Tensor,
    shape: &[usize],
) -> Result<usize, OpError> {
    let text_bytes = match like.as_strings() {
        Ok(strings) => strings.iter().map(String::len).max().unwrap_or(0),
        Err(_) => 0,
    };
    context.claim(shape, like.dtype().bytes().saturating_add(text_bytes))
}

/// Refuses two operands of different element types.
pub(crate) fn require_same_type(left: &Tensor, right: &Tensor) -> Result<(), OpError> {
    if left.dtype() == right.dtype() {
        return Ok(());
    }
    Err(OpError::Type { expected: left.dtype().name(), found: right.dtype() })
}

/// The tensor with elements that can be written on: itself if nobody else holds them, else a copy.
pub(crate) fn writable<T: Unit>(mut tensor: Tensor) -> Result<Tensor, OpError> {
    if T::of_mut(&mut tensor).is_some() {
        return Ok(tensor);
    }
    let elements = T::of(&tensor)?.to_vec();
    Ok(T::tensor(tensor.dtype(), tensor.shape().to_vec(), elements))
}
