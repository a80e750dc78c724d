//! Constant folding: what is the same in every run is computed once, by the operators themselves.

use crate::graph::{Graph, Node};
use crate::limits::Limits;
use crate::ops::Inputs;
use crate::plan::compile::operator_of;
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Replaces nodes all of whose operands are constants. One that fails, or whose result is too large to keep, stays: it
/// says so itself when it runs.
pub(super) fn fold_constants(graph: &mut Graph, limits: &Limits) {
    let bounded = Limits { run_bytes_max: limits.folded_bytes_max, ..limits.clone() };
    let mut kept_bytes = 0_u64;
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        let results = if kept_bytes <= limits.weight_bytes_max {
            results_of(graph, &node, &bounded)
        } else {
            None
        };
        let Some(results) = results else {
            graph.nodes.push(node);
            continue;
        };
        for (output, tensor) in node.outputs.iter().zip(results) {
            if let Some(id) = output {
                kept_bytes += tensor.bytes() as u64;
                graph.values[id.index()].constant = Some(tensor.settled());
            }
        }
    }
}

fn results_of(graph: &Graph, node: &Node, limits: &Limits) -> Option<Vec<Tensor>> {
    // A subgraph is planned with the node that holds it. To plan it here as well would double the work with every level.
    if node.attributes.graphs().next().is_some() {
        return None;
    }
    let operand = |id: Option<_>| match id {
        None => Some(None),
        Some(id) => graph.constant(id).map(|tensor| Some(Value::Tensor(tensor.clone()))),
    };
    let operands: Vec<Option<Value>> = node.operands().map(operand).collect::<Option<_>>()?;
    let operator = operator_of(node, limits, &mut Vec::new())?;
    if !operator.is_pure() {
        return None;
    }
    let mut context = Context::new(limits, 0);
    let run = std::panic::AssertUnwindSafe(|| operator.run(Inputs(operands), &mut context));
    let outputs = std::panic::catch_unwind(run).ok()?.ok()?;
    if outputs.len() < node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1) {
        return None;
    }
    outputs.into_iter().map(|value| value.into_tensor().ok()).collect()
}
