//! A graph as the planner works on it: nodes in an order in which they can run, values by number, constants in place.
//!
//! A subgraph (of If, Loop, Scan) sees values of the graphs around it. Each such value is one of the subgraph's
//! *captured* values, and an operand of the node that holds the subgraph, behind its own.

mod attributes;
mod function;
mod read;
mod sort;
mod types;

pub(crate) use attributes::{Attribute, Attributes};
pub(crate) use read::read_model;
pub use types::{Dim, ValueType};

use crate::tensor::Tensor;

/// A value's number within its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ValueId(pub(crate) u32);

impl ValueId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is known of a value.
#[derive(Clone, Debug, Default)]
pub(crate) struct ValueInfo {
    pub(crate) name: String,
    /// Its tensor, when it is the same in every run.
    pub(crate) constant: Option<Tensor>,
    /// What the file says of an input or output.
    pub(crate) declared: Option<ValueType>,
}

/// One operator at work.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Empty for the default domain.
    pub(crate) domain: String,
    pub(crate) op: String,
    /// The version of the domain's operator set.
    pub(crate) version: i64,
    /// Its name, or that of its first output.
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) outputs: Vec<Option<ValueId>>,
    /// Values of this graph that the node's subgraphs use: operands behind `inputs`.
    pub(crate) captured: Vec<ValueId>,
}

/// Nodes and the values between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    /// For a subgraph: the place in [`Node::captured`] and the value here that stands for it.
    pub(crate) captured: Vec<(usize, ValueId)>,
}

impl Graph {
    pub(crate) fn add_value(&mut self, info: ValueInfo) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(info);
        id
    }

    pub(crate) fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.values.get(id.index())?.constant.as_ref()
    }
}

impl Node {
    /// The operator's name with its domain, unless that is the default one.
    pub(crate) fn full_name(&self) -> String {
        if self.domain.is_empty() {
            self.op.clone()
        } else {
            format!("{}.{}", self.domain, self.op)
        }
    }

    /// All operands: its own, then those that its subgraphs capture.
    pub(crate) fn operands(&self) -> impl Iterator<Item = Option<ValueId>> + '_ {
        self.inputs.iter().copied().chain(self.captured.iter().map(|id| Some(*id)))
    }
}
