//! What a file says of a graph's inputs and outputs.

use std::fmt;

use crate::dtype::DType;
use crate::onnx::proto::{self, tensor_shape_proto::dimension, type_proto};

/// The size of an axis as a file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this.
    Size(usize),
    /// Varies; equal names mean equal sizes.
    Named(String),
    /// Nothing is said.
    Any,
}

/// The type of a value as a file declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueType {
    /// A tensor.
    Tensor {
        /// Its element type. `None`: one that is not supported, or not said.
        dtype: Option<DType>,
        /// Its axes. `None`: any number.
        dims: Option<Vec<Dim>>,
    },
    /// A sequence.
    Sequence(Box<Self>),
    /// An optional.
    Optional(Box<Self>),
    /// A map.
    Map,
    /// Nothing is said, or something that is not supported.
    Unknown,
}

impl ValueType {
    pub(crate) fn read(proto: &proto::TypeProto) -> Self {
        let inner = |boxed: &Option<Box<proto::TypeProto>>| {
            Box::new(boxed.as_deref().map_or(Self::Unknown, Self::read))
        };
        match &proto.value {
            Some(type_proto::Value::TensorType(tensor)) => Self::Tensor {
                dtype: DType::from_onnx(tensor.elem_type()),
                dims: tensor.shape.as_ref().map(|shape| shape.dim.iter().map(dim).collect()),
            },
            Some(type_proto::Value::SequenceType(sequence)) => {
                Self::Sequence(inner(&sequence.elem_type))
            }
            Some(type_proto::Value::OptionalType(optional)) => {
                Self::Optional(inner(&optional.elem_type))
            }
            Some(type_proto::Value::MapType(_)) => Self::Map,
            _ => Self::Unknown,
        }
    }
}

/// The name of an element type, in a declared type, that nothing here computes with.
pub(super) fn unsupported_in(proto: &proto::TypeProto) -> Option<String> {
    match proto.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => {
            let number = tensor.elem_type();
            let known = number == 0 || DType::from_onnx(number).is_some();
            (!known).then(|| DType::unsupported_name(number))
        }
        type_proto::Value::SequenceType(sequence) => unsupported_in(sequence.elem_type.as_deref()?),
        type_proto::Value::OptionalType(optional) => unsupported_in(optional.elem_type.as_deref()?),
        type_proto::Value::SparseTensorType(_) => Some("sparse".to_owned()),
        _ => None,
    }
}

fn dim(proto: &proto::tensor_shape_proto::Dimension) -> Dim {
    match &proto.value {
        Some(dimension::Value::DimValue(size)) => {
            usize::try_from(*size).map_or(Dim::Any, Dim::Size)
        }
        Some(dimension::Value::DimParam(name)) if !name.is_empty() => Dim::Named(name.clone()),
        _ => Dim::Any,
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor { dtype, dims } => {
                f.write_str(dtype.map_or("?", DType::name))?;
                let Some(dims) = dims else { return f.write_str(" of any shape") };
                f.write_str(" [")?;
                for (at, dim) in dims.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    match dim {
                        Dim::Size(size) => write!(f, "{size}")?,
                        Dim::Named(name) => f.write_str(name)?,
                        Dim::Any => f.write_str("?")?,
                    }
                }
                f.write_str("]")
            }
            Self::Sequence(inner) => write!(f, "sequence of {inner}"),
            Self::Optional(inner) => write!(f, "optional {inner}"),
            Self::Map => f.write_str("map"),
            Self::Unknown => f.write_str("?"),
        }
    }
}
