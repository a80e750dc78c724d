//! What is done to a graph before it is compiled, in this order. Each pass leaves a graph that computes the same.

mod dead;
mod fold;

use crate::graph::Graph;
use crate::limits::Limits;

/// Applies all passes.
pub(super) fn improve(graph: &mut Graph, limits: &Limits) {
    dead::remove_unused(graph);
    fold::fold_constants(graph, limits);
    dead::remove_unused(graph);
}

/// Applies those that leave standard operators only, which are all that devices other than the CPU know.
pub(super) fn tidy(graph: &mut Graph, limits: &Limits) {
    dead::remove_unused(graph);
    fold::fold_constants(graph, limits);
    dead::remove_unused(graph);
}
