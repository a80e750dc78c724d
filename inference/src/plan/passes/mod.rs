//! What is done to a graph before it is compiled, in this order. Each pass leaves a graph that computes the same.
//!
//! A pass that fuses writes the new node in place of the last one that it replaces: there all operands are known. The
//! others are left to make values that nobody reads, and go with the next [`dead::remove_unused`].

mod batch_norm;
mod dead;
mod fold;
mod formula;
mod layer_norm;
mod nan;
mod same;
mod sum;
mod tail;
mod uses;

#[cfg(test)]
mod tests;

use crate::graph::Graph;
use crate::limits::Limits;

/// Applies the passes that leave standard operators only.
pub(super) fn improve(graph: &mut Graph, limits: &Limits) {
    dead::remove_unused(graph);
    fold::fold_constants(graph, limits);
    same::merge_same(graph, limits);
    sum::rename_sums(graph);
    batch_norm::fold_batch_norms(graph);
    layer_norm::fuse_layer_norms(graph);
    dead::remove_unused(graph);
}

/// Applies, behind [`improve`], the passes that leave operators of our own.
pub(super) fn fuse(graph: &mut Graph) {
    nan::fuse_guards(graph);
    tail::fuse_tails(graph);
    dead::remove_unused(graph);
}
