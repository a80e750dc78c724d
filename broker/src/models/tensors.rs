//! Tensors as they go in and out of a model that is asked directly, in the types of the Open Inference Protocol.
//!
//! A tensor's elements are little-endian bytes in row-major order, or texts. Whoever makes one has checked that there are as many as
//! its shape says.

use std::fmt;

use bytes::Bytes;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the protocol's")]
pub enum Datatype {
    /// One byte each.
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F32,
    F64,
    /// Texts: UTF-8 of any length.
    Bytes,
}

impl Datatype {
    const ALL: [Self; 14] = [
        Self::Bool,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F16,
        Self::Bf16,
        Self::F32,
        Self::F64,
        Self::Bytes,
    ];

    /// As the protocol writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::U8 => "UINT8",
            Self::U16 => "UINT16",
            Self::U32 => "UINT32",
            Self::U64 => "UINT64",
            Self::I8 => "INT8",
            Self::I16 => "INT16",
            Self::I32 => "INT32",
            Self::I64 => "INT64",
            Self::F16 => "FP16",
            Self::Bf16 => "BF16",
            Self::F32 => "FP32",
            Self::F64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|datatype| datatype.name() == name)
    }

    /// Bytes of one element; `None` for texts.
    #[must_use]
    pub const fn width(self) -> Option<usize> {
        match self {
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Bytes => None,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    /// The type of its elements.
    pub datatype: Datatype,
    /// Sizes per axis, outermost first.
    pub shape: Vec<usize>,
    /// The elements.
    pub elements: Elements,
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elements {
    /// Little-endian, one after the other.
    Raw(Bytes),
    /// Of [`Datatype::Bytes`].
    Texts(Vec<String>),
}

impl RawTensor {
    /// Bytes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.elements {
            Elements::Raw(bytes) => bytes.len(),
            Elements::Texts(texts) => {
                texts.iter().map(|text| text.len() + size_of::<String>()).sum()
            }
        }
    }
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPort {
    /// Its name.
    pub name: String,
    /// `None`: it is no tensor, or of a type that the protocol does not have.
    pub datatype: Option<Datatype>,
    /// Sizes per axis; `None` where one varies. `None` as a whole: any number of axes.
    pub shape: Option<Vec<Option<usize>>>,
}

/// Why a model did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorFault {
    /// What was asked cannot be answered.
    #[error("{what}")]
    Request {
        /// What is wrong with it.
        what: String,
    },
    /// What was wanted is larger than it may be.
    #[error("the outputs have {bytes} bytes, {bytes_max} may be taken")]
    TooLarge {
        /// Bytes of the outputs that are wanted.
        bytes: usize,
        /// How many there may be.
        bytes_max: usize,
    },
    /// The model is at fault.
    #[error("the model failed: {what}")]
    Model {
        /// How.
        what: String,
    },
}

/// A model that takes and gives tensors. Called by several threads at once, never by one of the async runtime; it may panic.
pub trait TensorModel: Send + Sync {
    /// What it is written for: `onnx`.
    fn platform(&self) -> &'static str;

    /// Its inputs.
    fn inputs(&self) -> Vec<TensorPort>;

    /// Its outputs.
    fn outputs(&self) -> Vec<TensorPort>;

    /// Runs it: a tensor for each input, in order. An output is `None` where it is not wanted; those that are have `bytes_max` bytes
    /// together at most.
    ///
    /// # Errors
    /// [`TensorFault`].
    fn run(
        &self,
        inputs: Vec<RawTensor>,
        wanted: &[bool],
        bytes_max: usize,
    ) -> Result<Vec<Option<RawTensor>>, TensorFault>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_protocols_names() {
        for datatype in Datatype::ALL {
            assert_eq!(Datatype::named(datatype.name()), Some(datatype));
        }
        assert_eq!(Datatype::named("fp32"), None);
        assert_eq!(Datatype::named("STRING"), None);
    }
}
