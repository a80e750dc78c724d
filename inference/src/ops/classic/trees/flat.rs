//! Trees as TreeEnsemble has them: nodes and leaves by place.

use super::forest::{Child, Forest, Node, Test, Weight};
use super::named::{feature, same_length, tensor_numbers};
use crate::ops::{BuildError, NodeSpec};

fn required(spec: &NodeSpec<'_>, name: &str) -> Result<Vec<f64>, BuildError> {
    let tensor = spec.tensor_opt(name)?;
    let tensor = tensor.ok_or_else(|| BuildError::invalid(format!("{name:?} is missing")))?;
    tensor_numbers(tensor, name)
}

/// The sets that nodes test for members, each closed by NaN.
fn sets(spec: &NodeSpec<'_>) -> Result<Vec<Vec<f64>>, BuildError> {
    let Some(tensor) = spec.tensor_opt("membership_values")? else { return Ok(Vec::new()) };
    let members = tensor_numbers(tensor, "membership_values")?;
    let mut sets: Vec<Vec<f64>> =
        members.split(|member| member.is_nan()).map(<[f64]>::to_vec).collect();
    // Behind the last NaN there is nothing.
    if sets.last().is_some_and(Vec::is_empty) {
        sets.pop();
    }
    for set in &mut sets {
        // Both zeros are the same member.
        set.iter_mut().for_each(|member| *member += 0.0);
        set.sort_by(f64::total_cmp);
    }
    Ok(sets)
}

/// Reads the trees.
pub(super) fn read(spec: &NodeSpec<'_>) -> Result<Forest, BuildError> {
    let modes = spec.tensor_opt("nodes_modes")?;
    let modes = modes.ok_or_else(|| BuildError::invalid("\"nodes_modes\" is missing"))?;
    let modes = modes.to_i64s().map_err(|error| BuildError::invalid(error.to_string()))?;
    let count = modes.len();
    let ints = |name: &str| same_length(spec.ints_opt(name)?, name, count);
    let thresholds = required(spec, "nodes_splits")?;
    let thresholds = same_length(Some(&thresholds), "nodes_splits", count)?;
    let features = ints("nodes_featureids")?;
    let (yes, yes_leaf) = (ints("nodes_truenodeids")?, ints("nodes_trueleafs")?);
    let (no, no_leaf) = (ints("nodes_falsenodeids")?, ints("nodes_falseleafs")?);
    let missing = match spec.ints_opt("nodes_missing_value_tracks_true")? {
        Some(missing) if !missing.is_empty() => {
            same_length(Some(missing), "nodes_missing_value_tracks_true", count)?
        }
        _ => &[],
    };
    let place = |at: i64| {
        usize::try_from(at)
            .map_err(|_| BuildError::invalid(format!("node or leaf {at} is asked for")))
    };
    let child = |at: i64, leaf: i64| match leaf {
        0 => Child::node(place(at)?),
        _ => Child::leaf(place(at)?),
    };
    let sets = sets(spec)?;
    let mut nodes = Vec::with_capacity(count);
    let mut used_sets = 0;
    for at in 0..count {
        let test = match modes[at] {
            0 => Test::LessOrEqual,
            1 => Test::Less,
            2 => Test::GreaterOrEqual,
            3 => Test::Greater,
            4 => Test::Equal,
            5 => Test::NotEqual,
            6 => {
                used_sets += 1;
                Test::Member(used_sets - 1)
            }
            other => return Err(BuildError::invalid(format!("a node has the mode {other}"))),
        };
        nodes.push(Node {
            threshold: thresholds[at],
            feature: feature(features[at])?,
            test,
            missing: missing.get(at).is_some_and(|missing| *missing != 0),
            yes: child(yes[at], yes_leaf[at])?,
            no: child(no[at], no_leaf[at])?,
        });
    }
    if used_sets as usize != sets.len() {
        return Err(BuildError::invalid(format!(
            "{used_sets} nodes test for members, of {} sets",
            sets.len()
        )));
    }
    let mut roots = Vec::new();
    for root in spec.ints_opt("tree_roots")?.unwrap_or_default() {
        let at = place(*root)?;
        // A tree that is a leaf is a node with that leaf on both sides.
        roots.push(match nodes.get(at) {
            Some(node) if node.yes == node.no => node.yes,
            _ => Child::node(at)?,
        });
    }
    let values = required(spec, "leaf_weights")?;
    let targets = same_length(spec.ints_opt("leaf_targetids")?, "leaf_targetids", values.len())?;
    let mut weights = Vec::with_capacity(values.len());
    for (leaf, (value, target)) in values.iter().zip(targets).enumerate() {
        weights.push(Weight { leaf, target: place(*target)?, value: *value });
    }
    let targets = place(spec.int("n_targets", 0)?)?;
    Forest::new(nodes, roots, sets, weights, values.len(), targets)
}
