//! What a model's operators take: medians over runs, by operator and for the nodes that take most.

use std::collections::BTreeMap;
use std::time::Duration;

use embermq_inference::{Clock as _, Network, StepTime, SystemClock, Value};
use serde_json::json;

use super::bench::failed;
use super::run::span;
use super::{Console, Failure, one_line};

/// Nodes that are printed for people.
const NODES_MAX: usize = 10;
/// A model's steps times runs that are kept.
const RUNS_MAX: usize = 1000;

/// A node, and its median.
struct NodeTime {
    step: StepTime,
    median: Duration,
}

/// Runs the model for a while and prints what its operators took.
pub(super) fn print(
    network: &Network,
    inputs: &[Value],
    time: Duration,
    as_json: bool,
    console: &mut Console,
) -> Result<(), Failure> {
    let nodes = measure(network, inputs, time)?;
    let whole: Duration = nodes.iter().map(|node| node.median).sum();
    if as_json {
        let line = |node: &NodeTime| {
            json!({
                "op": node.step.op,
                "node": node.step.node,
                "shape": node.step.shape,
                "p50_seconds": node.median.as_secs_f64(),
            })
        };
        let steps: serde_json::Value = nodes.iter().map(line).collect();
        return Ok(console.json(&json!({ "profile": steps }))?);
    }
    let share = |took: Duration| 100.0 * took.as_secs_f64() / whole.as_secs_f64().max(1e-12);
    let mut by_op: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for node in &nodes {
        let (count, took) = by_op.entry(&node.step.op).or_default();
        (*count, *took) = (*count + 1, *took + node.median);
    }
    let mut by_op: Vec<_> = by_op.into_iter().collect();
    by_op.sort_by_key(|(_, (_, took))| std::cmp::Reverse(*took));
    for (op, (count, took)) in by_op {
        let (share, took) = (share(took), span(took));
        console.line(one_line(&format!("{took:>12} {share:>5.1} %  {op} ({count})")))?;
    }
    let mut slowest: Vec<_> = nodes.iter().collect();
    slowest.sort_by_key(|node| std::cmp::Reverse(node.median));
    console.line("the nodes that take most:")?;
    for node in slowest.into_iter().take(NODES_MAX) {
        let (share, took) = (share(node.median), span(node.median));
        let shape = node.step.shape.as_ref().map(|shape| format!("{shape:?}"));
        let shape = shape.unwrap_or_default();
        let (op, name) = (&node.step.op, &node.step.node);
        console.line(one_line(&format!("{took:>12} {share:>5.1} %  {op} {shape} {name}")))?;
    }
    Ok(())
}

fn measure(network: &Network, inputs: &[Value], time: Duration) -> Result<Vec<NodeTime>, Failure> {
    let clock = SystemClock::default();
    let until = clock.elapsed() + time;
    let mut runs: Vec<Vec<StepTime>> = Vec::new();
    while runs.is_empty() || (clock.elapsed() < until && runs.len() < RUNS_MAX) {
        let (_, steps) = network.run_profiled(inputs.to_vec(), &clock).map_err(failed)?;
        // Loops and conditions may take other ways, but not with the same inputs.
        if runs.first().is_none_or(|first| first.len() == steps.len()) {
            runs.push(steps);
        }
    }
    let median = |at: usize| {
        let mut times: Vec<_> = runs.iter().map(|run| run[at].took).collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    let medians: Vec<_> = (0..runs[0].len()).map(median).collect();
    let first = runs.swap_remove(0);
    let nodes = first.into_iter().zip(medians);
    Ok(nodes.map(|(step, median)| NodeTime { step, median }).collect())
}
