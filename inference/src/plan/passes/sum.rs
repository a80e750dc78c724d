//! A Sum of two operands is an Add, which other passes look for: <https://onnx.ai/onnx/operators/onnx__Sum.html>, since version 8.

use crate::graph::Graph;

/// Renames them.
pub(super) fn rename_sums(graph: &mut Graph) {
    for node in &mut graph.nodes {
        let is_sum = node.domain.is_empty() && node.op == "Sum" && node.version >= 8;
        if is_sum && node.inputs.len() == 2 && node.inputs.iter().all(Option::is_some) {
            "Add".clone_into(&mut node.op);
        }
    }
}
