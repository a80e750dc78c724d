//! A node's attributes, read once.

use std::collections::BTreeMap;

use super::Graph;
use crate::tensor::Tensor;

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    /// Text. Bytes that are no UTF-8 are a problem of the file.
    Text(String),
    Tensor(Tensor),
    Graph(Box<Graph>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
    /// No operator here takes several; they are read so that what is wrong with them is said.
    Tensors,
    Graphs(Vec<Graph>),
    /// Only `Optional` has one, and needs it not.
    Type,
}

impl Attribute {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "a string",
            Self::Tensor(_) => "a tensor",
            Self::Graph(_) => "a graph",
            Self::Ints(_) => "integers",
            Self::Floats(_) => "floats",
            Self::Texts(_) => "strings",
            Self::Tensors => "tensors",
            Self::Graphs(_) => "graphs",
            Self::Type => "a type",
        }
    }
}

/// Attributes by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes(pub(crate) BTreeMap<String, Attribute>);

impl Attributes {
    pub(crate) fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.get(name)
    }

    pub(crate) fn set(&mut self, name: &str, attribute: Attribute) {
        self.0.insert(name.to_owned(), attribute);
    }

    /// The subgraphs, in the order of their names.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.0.values().flat_map(|attribute| match attribute {
            Attribute::Graph(graph) => std::slice::from_ref(&**graph),
            Attribute::Graphs(graphs) => graphs.as_slice(),
            _ => &[],
        })
    }
}
