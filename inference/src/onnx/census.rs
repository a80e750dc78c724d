//! What a file would take once it is decoded, counted before anything is.
//!
//! A message of two bytes in the file becomes a struct of hundreds in memory, so a file that fits the limits may not fit
//! the machine. This walks the fields of the messages that nest or repeat, allocates nothing, and adds up what the decoder would.

use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto, TrainingInfoProto,
    TypeProto, ValueInfoProto, tensor_shape_proto,
};

/// Bytes in memory for a byte of the file, at worst: an empty message takes two there.
const DENSE_MAX: u64 = (size_of::<NodeProto>() / 2) as u64;

/// How deep messages may lie in each other; the decoder's own limit.
const DEPTH_MAX: usize = 100;

/// A kind of message, by what matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Annotation,
    ValueInfo,
    Type,
    /// Tensor, sequence, map or optional within a type.
    TypeForm,
    Function,
    Training,
    Entry,
    Opset,
}

/// What a length-delimited field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Message(Kind),
    /// Text or bytes: a header in memory, and its length.
    Text,
    /// A slice of the file.
    Slice,
    /// Numbers of variable length, of so many bytes each in memory.
    Varints(u64),
    /// Numbers that are as long in memory.
    Fixed,
    /// Messages that are not told apart here: so many bytes in memory for each in the file, at worst.
    Dense(u64),
}

impl Kind {
    const fn size(self) -> usize {
        match self {
            Self::Model => size_of::<ModelProto>(),
            Self::Graph => size_of::<GraphProto>(),
            Self::Node => size_of::<NodeProto>(),
            Self::Attribute => size_of::<AttributeProto>(),
            Self::Tensor => size_of::<TensorProto>(),
            Self::Sparse => size_of::<SparseTensorProto>(),
            Self::Annotation => size_of::<TensorAnnotation>(),
            Self::ValueInfo => size_of::<ValueInfoProto>(),
            Self::Type | Self::TypeForm => size_of::<TypeProto>(),
            Self::Function => size_of::<FunctionProto>(),
            Self::Training => size_of::<TrainingInfoProto>(),
            Self::Entry => size_of::<StringStringEntryProto>(),
            Self::Opset => size_of::<OperatorSetIdProto>(),
        }
    }

    /// What a field of this kind of message holds, by its number in the specification. What is not listed is kept as text or skipped.
    const fn field(self, number: u64) -> Content {
        use Content::{Dense, Fixed, Message, Slice, Varints};
        match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => {
                Message(Self::Graph)
            }
            (Self::Model, 8) | (Self::Function, 9) => Message(Self::Opset),
            (Self::Model, 26) | (Self::Node, 10) => Dense(DENSE_MAX),
            (Self::Model, 14)
            | (Self::Graph | Self::ValueInfo | Self::Tensor, 16)
            | (Self::Tensor, 13)
            | (Self::ValueInfo, 4)
            | (Self::Node, 9)
            | (Self::Function, 14)
            | (Self::Annotation, 2)
            | (Self::Training, 3 | 4) => Message(Self::Entry),
            (Self::Function, 7) | (Self::Graph, 1) => Message(Self::Node),
            (Self::Model, 20) => Message(Self::Training),
            (Self::Model, 25) => Message(Self::Function),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => {
                Message(Self::Tensor)
            }
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Message(Self::Sparse),
            (Self::Graph, 11..=13) | (Self::Function, 12) => Message(Self::ValueInfo),
            (Self::Graph, 14) => Message(Self::Annotation),
            (Self::Node, 5) | (Self::Function, 11) => Message(Self::Attribute),
            (Self::Attribute, 14 | 15) | (Self::ValueInfo, 2) | (Self::TypeForm, 1) => {
                Message(Self::Type)
            }
            (Self::Type, 1 | 4 | 5 | 7 | 8 | 9) => Message(Self::TypeForm),
            // The shape of a tensor or the values of a map; an axis is the smallest message in either.
            (Self::TypeForm, 2) => Dense(size_of::<tensor_shape_proto::Dimension>() as u64 / 2),
            (Self::Attribute, 7) | (Self::Tensor, 4 | 10) => Fixed,
            (Self::Attribute, 8) | (Self::Tensor | Self::Sparse, 1 | 3 | 7 | 11) => Varints(8),
            (Self::Tensor, 5) => Varints(4),
            (Self::Tensor, 9) => Slice,
            _ => Content::Text,
        }
    }
}

/// Bytes that the decoded form of a model would take, about. Stops counting beyond `enough`.
pub(super) fn decoded_bytes(file: &[u8], enough: u64) -> u64 {
    let mut census = Census { bytes: 0, enough };
    // Where it is broken the decoder stops as well, with what it has until then.
    let (Ok(()) | Err(Stop::Enough | Stop::Broken)) = census.message(Kind::Model, file, 0);
    census.bytes
}

struct Census {
    bytes: u64,
    enough: u64,
}

enum Stop {
    Enough,
    Broken,
}

impl Census {
    fn add(&mut self, bytes: u64) -> Result<(), Stop> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= self.enough { Ok(()) } else { Err(Stop::Enough) }
    }

    fn message(&mut self, kind: Kind, mut bytes: &[u8], depth: usize) -> Result<(), Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::Broken);
        }
        self.add(kind.size() as u64)?;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            match key & 7 {
                0 => {
                    varint(&mut bytes)?;
                    // Numbers that repeat may come one by one.
                    self.add(8)?;
                }
                1 => bytes = bytes.get(8..).ok_or(Stop::Broken)?,
                2 => {
                    let len = usize::try_from(varint(&mut bytes)?).map_err(|_| Stop::Broken)?;
                    let (inner, rest) = bytes.split_at_checked(len).ok_or(Stop::Broken)?;
                    bytes = rest;
                    self.field(kind.field(key >> 3), inner, depth)?;
                }
                // The decoder skips groups; what is within is counted as if it were not.
                3 | 4 => {}
                5 => bytes = bytes.get(4..).ok_or(Stop::Broken)?,
                _ => return Err(Stop::Broken),
            }
        }
        Ok(())
    }

    fn field(&mut self, content: Content, inner: &[u8], depth: usize) -> Result<(), Stop> {
        let len = inner.len() as u64;
        match content {
            Content::Message(kind) => match self.message(kind, inner, depth + 1) {
                // If this is broken for the decoder too, nothing behind it matters; if it is not, it must not end the count.
                Err(Stop::Broken) => self.add(len.saturating_mul(DENSE_MAX)),
                other => other,
            },
            Content::Text => self.add(len.saturating_add(size_of::<String>() as u64)),
            Content::Slice => Ok(()),
            // One that comes alone may be one of many.
            Content::Fixed => self.add(len.saturating_add(8)),
            Content::Varints(width) => {
                let ends = inner.iter().filter(|byte| **byte < 0x80).count() as u64;
                self.add(ends.saturating_mul(width))
            }
            Content::Dense(factor) => self.add(len.saturating_mul(factor)),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Stop> {
    let mut value = 0_u64;
    for at in 0..10_u32 {
        let (first, rest) = bytes.split_first().ok_or(Stop::Broken)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * at);
        if *first < 0x80 {
            return Ok(value);
        }
    }
    Err(Stop::Broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_are_counted_at_what_they_become() {
        // A graph of a thousand empty nodes.
        let graph = [0x0a, 0].repeat(1000);
        let mut file = vec![0x3a, 0xd0, 0x0f];
        file.extend(&graph);
        let bytes = decoded_bytes(&file, u64::MAX);
        assert!(bytes >= 1000 * size_of::<NodeProto>() as u64, "{bytes}");
        assert!(decoded_bytes(&file, 10_000) < 20_000);
    }

    #[test]
    fn broken_bytes_end_the_count() {
        for file in [&[0xff; 20][..], &[0x3a, 0xff], &[0x3a], &[0x07]] {
            assert!(decoded_bytes(file, u64::MAX) < 1000);
        }
    }
}
