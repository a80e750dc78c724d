//! What flows along the edges of a graph: tensors, sequences of values, optional values.

use std::sync::Arc;

use crate::error::OpError;
use crate::tensor::Tensor;

/// A value of a graph. Cloning shares.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value {
    /// A tensor.
    Tensor(Tensor),
    /// An ONNX sequence.
    Sequence(Arc<Vec<Self>>),
    /// An ONNX map: keys and values in order, two tensors of one axis (or a sequence of values).
    Map(Arc<(Tensor, Self)>),
    /// An ONNX optional: with a value or without.
    Optional(Option<Arc<Self>>),
}

impl Value {
    /// The tensor.
    ///
    /// # Errors
    /// [`OpError::Kind`] when it is something else.
    pub(crate) const fn as_tensor(&self) -> Result<&Tensor, OpError> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            other => Err(OpError::Kind { expected: "a tensor", found: other.kind() }),
        }
    }

    /// The tensor, taken.
    ///
    /// # Errors
    /// As [`as_tensor`](Self::as_tensor).
    pub(crate) fn into_tensor(self) -> Result<Tensor, OpError> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            other => Err(OpError::Kind { expected: "a tensor", found: other.kind() }),
        }
    }

    /// The members of a sequence.
    ///
    /// # Errors
    /// [`OpError::Kind`] when it is something else.
    pub(crate) const fn as_sequence(&self) -> Result<&Arc<Vec<Self>>, OpError> {
        match self {
            Self::Sequence(values) => Ok(values),
            other => Err(OpError::Kind { expected: "a sequence", found: other.kind() }),
        }
    }

    /// What kind of value it is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tensor(_) => "a tensor",
            Self::Sequence(_) => "a sequence",
            Self::Map(_) => "a map",
            Self::Optional(_) => "an optional",
        }
    }

    /// Bytes that its elements take in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Tensor(tensor) => tensor.bytes(),
            Self::Sequence(values) => values.iter().map(Self::bytes).sum(),
            Self::Map(pair) => pair.0.bytes() + pair.1.bytes(),
            Self::Optional(inner) => inner.as_ref().map_or(0, |value| value.bytes()),
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}
