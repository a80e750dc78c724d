//! Who makes a value, and who reads it.

use crate::graph::{Graph, Node, ValueId};

/// The uses of a graph's values, as they were when it was asked.
#[derive(Debug)]
pub(super) struct Uses {
    makers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
    is_output: Vec<bool>,
}

impl Uses {
    pub(super) fn of(graph: &Graph) -> Self {
        let count = graph.values.len();
        let (mut makers, mut readers) = (vec![None; count], vec![Vec::new(); count]);
        for (at, node) in graph.nodes.iter().enumerate() {
            node.operands().flatten().for_each(|id| readers[id.index()].push(at));
            node.outputs.iter().flatten().for_each(|id| makers[id.index()] = Some(at));
        }
        let mut is_output = vec![false; count];
        graph.outputs.iter().for_each(|id| is_output[id.index()] = true);
        Self { makers, readers, is_output }
    }

    /// The node that makes a value. `None`: it comes from outside, is constant, or was made later than this.
    pub(super) fn maker(&self, id: ValueId) -> Option<usize> {
        self.makers.get(id.index()).copied().flatten()
    }

    /// The nodes that read a value, in order; once per operand.
    pub(super) fn readers(&self, id: ValueId) -> &[usize] {
        self.readers.get(id.index()).map_or(&[], Vec::as_slice)
    }

    /// Whether a value leaves the graph.
    pub(super) fn is_output(&self, id: ValueId) -> bool {
        self.is_output.get(id.index()).copied().unwrap_or(true)
    }

    /// The node that alone reads a value, as one operand, where the value does not leave the graph.
    pub(super) fn only_reader(&self, id: ValueId) -> Option<usize> {
        match self.readers(id) {
            [reader] if !self.is_output(id) => Some(*reader),
            _ => None,
        }
    }

    /// Whether all nodes that read a value are among these, and it does not leave the graph.
    pub(super) fn stays_within(&self, id: ValueId, nodes: &[usize]) -> bool {
        !self.is_output(id) && self.readers(id).iter().all(|reader| nodes.contains(reader))
    }
}

/// A node of the default domain with that name, one output, and no subgraph.
pub(super) fn is(node: &Node, op: &str) -> bool {
    node.domain.is_empty() && node.op == op && sole_output(node).is_some()
}

/// The output of a node that has only one.
pub(super) fn sole_output(node: &Node) -> Option<ValueId> {
    let mut outputs = node.outputs.iter().flatten();
    let first = outputs.next().copied().filter(|first| node.outputs.first() == Some(&Some(*first)));
    first.filter(|_| outputs.next().is_none() && node.captured.is_empty())
}

/// The operand of a node that reads two, beside that one.
pub(super) fn other_operand(node: &Node, id: ValueId) -> Option<ValueId> {
    match node.inputs[..] {
        [Some(one), Some(other)] if one == id && other != id => Some(other),
        [Some(other), Some(one)] if one == id && other != id => Some(other),
        _ => None,
    }
}

/// The number that a constant of one element is, where it makes no tensor larger that has an axis.
pub(super) fn scalar(graph: &Graph, id: ValueId) -> Option<f32> {
    let tensor = graph.constant(id)?;
    match (tensor.rank(), tensor.get::<f32>()?) {
        (0 | 1, [value]) => Some(*value),
        _ => None,
    }
}
