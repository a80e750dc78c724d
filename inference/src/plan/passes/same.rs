//! Nodes that compute the same of the same: exporters write shape arithmetic once per layer.

use std::collections::HashMap;

use crate::graph::{Attribute, Graph, Node, ValueId};
use crate::limits::Limits;
use crate::plan::compile::operator_of;

/// Lets one of them stand for all. An output of the graph keeps its own node.
pub(super) fn merge_same(graph: &mut Graph, limits: &Limits) {
    let mut first: HashMap<String, usize> = HashMap::new();
    let mut renamed: HashMap<ValueId, ValueId> = HashMap::new();
    for at in 0..graph.nodes.len() {
        let node = &mut graph.nodes[at];
        for id in node.inputs.iter_mut().flatten().chain(&mut node.captured) {
            *id = renamed.get(id).copied().unwrap_or(*id);
        }
        let node = &graph.nodes[at];
        let Some(key) = key_of(node) else { continue };
        let Some(same) = first.get(&key).copied() else {
            first.insert(key, at);
            continue;
        };
        let leaves = node.outputs.iter().flatten().any(|id| graph.outputs.contains(id));
        let makes_as_much = node.outputs.len() == graph.nodes[same].outputs.len()
            && node
                .outputs
                .iter()
                .zip(&graph.nodes[same].outputs)
                .all(|(a, b)| a.is_some() == b.is_some());
        let pure =
            operator_of(node, limits, &mut Vec::new()).is_some_and(|operator| operator.is_pure());
        if leaves || !makes_as_much || !pure {
            continue;
        }
        let pairs = node.outputs.iter().flatten().zip(graph.nodes[same].outputs.iter().flatten());
        renamed.extend(pairs.map(|(from, to)| (*from, *to)));
    }
}

/// What a node computes, of what. `None`: it holds a graph or a tensor, or has no operand.
fn key_of(node: &Node) -> Option<String> {
    let plain = |attribute: &Attribute| {
        !matches!(
            attribute,
            Attribute::Graph(_)
                | Attribute::Graphs(_)
                | Attribute::Tensor(_)
                | Attribute::Tensors
                | Attribute::Type
        )
    };
    let fits = node.captured.is_empty()
        && !node.inputs.is_empty()
        && node.attributes.0.values().all(plain);
    fits.then(|| {
        format!(
            "{} {} {} {:?} {:?}",
            node.domain, node.op, node.version, node.inputs, node.attributes
        )
    })
}
