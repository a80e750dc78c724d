//! Nodes whose outputs nobody uses.

use crate::graph::Graph;

/// Removes them, and forgets constants that nobody reads.
pub(super) fn remove_unused(graph: &mut Graph) {
    let mut used = vec![false; graph.values.len()];
    for id in &graph.outputs {
        used[id.index()] = true;
    }
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in graph.nodes.drain(..).rev() {
        if node.outputs.iter().flatten().any(|id| used[id.index()]) {
            node.operands().flatten().for_each(|id| used[id.index()] = true);
            kept.push(node);
        }
    }
    kept.reverse();
    for node in &mut kept {
        for output in &mut node.outputs {
            output.take_if(|id| !used[id.index()]);
        }
    }
    graph.nodes = kept;
    for (value, used) in graph.values.iter_mut().zip(used) {
        if !used {
            value.constant = None;
        }
    }
}
