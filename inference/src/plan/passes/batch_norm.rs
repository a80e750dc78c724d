//! A BatchNormalization behind a Conv only scales and shifts its filters.

use super::tail::constant;
use super::uses::{Uses, is, sole_output};
use crate::graph::{Attribute, Graph, Node};
use crate::tensor::Tensor;

/// Puts it into the weights and the bias, where all numbers are known.
pub(super) fn fold_batch_norms(graph: &mut Graph) {
    let uses = Uses::of(graph);
    for at in 0..graph.nodes.len() {
        let Some((folded, last)) = folded(graph, &uses, at) else { continue };
        let Some(output) = sole_output(&graph.nodes[last]) else { continue };
        let mut node = graph.nodes[at].clone();
        node.inputs.resize(2, None);
        let [weights, bias] = folded.map(|tensor| constant(graph, tensor));
        node.inputs[1] = Some(weights);
        node.inputs.push(Some(bias));
        node.outputs = vec![Some(output)];
        graph.nodes[last] = node;
        graph.nodes[at].outputs = vec![None];
    }
}

fn folded(graph: &Graph, uses: &Uses, at: usize) -> Option<([Tensor; 2], usize)> {
    let conv = graph.nodes.get(at).filter(|node| is(node, "Conv"))?;
    let last = uses.only_reader(sole_output(conv)?)?;
    let norm = graph.nodes.get(last).filter(|node| is(node, "BatchNormalization"))?;
    // Before version 7 it may compute with the moments of the batch.
    let training =
        matches!(norm.attributes.get("training_mode"), Some(Attribute::Int(mode)) if *mode != 0);
    if norm.version < 7 || training || norm.inputs.first() != conv.outputs.first() {
        return None;
    }
    let epsilon = match norm.attributes.get("epsilon") {
        None => 1e-5_f32,
        Some(Attribute::Float(epsilon)) => *epsilon,
        Some(_) => return None,
    };
    let constant = |node: &Node, at: usize| {
        let id = node.inputs.get(at).copied().flatten()?;
        let tensor = graph.constant(id)?;
        Some((tensor.shape().to_vec(), tensor.get::<f32>()?.to_vec()))
    };
    let (shape, mut weights) = constant(conv, 1)?;
    let filters = *shape.first()?;
    let mut bias = match conv.inputs.get(2).copied().flatten() {
        Some(_) => constant(conv, 2)?.1,
        None => vec![0.0; filters],
    };
    let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|at| constant(norm, at));
    let (scale, shift, mean, variance) = (scale?.1, shift?.1, mean?.1, variance?.1);
    if [&bias, &scale, &shift, &mean, &variance].iter().any(|numbers| numbers.len() != filters) {
        return None;
    }
    let size = weights.len().checked_div(filters).filter(|size| *size > 0)?;
    for (filter, weights) in weights.chunks_exact_mut(size).enumerate() {
        let factor =
            f64::from(scale[filter]) / (f64::from(variance[filter]) + f64::from(epsilon)).sqrt();
        let shifted = (f64::from(bias[filter]) - f64::from(mean[filter])) * factor;
        #[expect(clippy::cast_possible_truncation, reason = "rounded once")]
        {
            bias[filter] = (shifted + f64::from(shift[filter])) as f32;
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * factor) as f32);
        }
    }
    Some(([Tensor::new(shape, weights), Tensor::new([filters], bias)], last))
}
