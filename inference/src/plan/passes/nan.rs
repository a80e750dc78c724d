//! `Where(IsNaN(x), c, x)`: exporters guard a Softmax with it. One pass over `x`, in place.

use super::uses::{Uses, is, scalar, sole_output};
use crate::graph::{Attribute, Attributes, Graph, Node};
use crate::ops::FUSED_DOMAIN;

/// Fuses them.
pub(super) fn fuse_guards(graph: &mut Graph) {
    let uses = Uses::of(graph);
    for at in 0..graph.nodes.len() {
        let Some(node) = matched(graph, &uses, at) else { continue };
        graph.nodes[at] = node;
    }
}

fn matched(graph: &Graph, uses: &Uses, at: usize) -> Option<Node> {
    let choice = graph.nodes.get(at).filter(|node| is(node, "Where"))?;
    let [Some(condition), Some(number), Some(x)] = choice.inputs[..] else { return None };
    let test = graph.nodes.get(uses.maker(condition)?).filter(|node| is(node, "IsNaN"))?;
    // A scalar without axes: one of one axis would give one to a scalar `x`.
    let value =
        scalar(graph, number).filter(|_| graph.constant(number).is_some_and(|t| t.rank() == 0))?;
    if test.inputs != [Some(x)] || uses.only_reader(condition) != Some(at) {
        return None;
    }
    let mut attributes = Attributes::default();
    attributes.set("value", Attribute::Float(value));
    Some(Node {
        domain: FUSED_DOMAIN.to_owned(),
        op: "ReplaceNan".to_owned(),
        version: 1,
        name: choice.name.clone(),
        attributes,
        inputs: vec![Some(x)],
        outputs: vec![sole_output(choice)],
        captured: Vec::new(),
    })
}
