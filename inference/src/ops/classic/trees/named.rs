//! Trees as TreeEnsembleRegressor and TreeEnsembleClassifier have them: nodes by tree and number.

use std::collections::{BTreeMap, HashMap};

use num_traits::AsPrimitive;

use super::forest::{Child, Forest, Node, Test, Weight};
use crate::ops::{BuildError, NodeSpec};

/// Floats of an attribute, or of its twin that is a tensor and may be f64.
pub(super) fn numbers(spec: &NodeSpec<'_>, name: &str) -> Result<Option<Vec<f64>>, BuildError> {
    if let Some(floats) = spec.floats_opt(name)?.filter(|floats| !floats.is_empty()) {
        return Ok(Some(floats.iter().map(|x| f64::from(*x)).collect()));
    }
    let twin = format!("{name}_as_tensor");
    let Some(tensor) = spec.tensor_opt(&twin)? else { return Ok(None) };
    tensor_numbers(tensor, &twin).map(Some)
}

/// The elements of a float tensor.
pub(super) fn tensor_numbers(
    tensor: &crate::tensor::Tensor,
    name: &str,
) -> Result<Vec<f64>, BuildError> {
    crate::dtype::for_dtype!(tensor.dtype(), T in [f32, f64, half::f16], {
        let elements = tensor.as_slice::<T>().unwrap_or_default();
        Ok(elements.iter().map(|x| (*x).as_()).collect())
    }, else {
        Err(BuildError::invalid(format!("{name:?} has elements of {}", tensor.dtype())))
    })
}

/// An attribute that must have one value for each node, or each weight.
pub(super) fn same_length<'a, T>(
    values: Option<&'a [T]>,
    name: &str,
    count: usize,
) -> Result<&'a [T], BuildError> {
    let values = values.unwrap_or_default();
    if values.len() == count {
        return Ok(values);
    }
    Err(BuildError::invalid(format!(
        "{name:?} has {} values, it should have {count}",
        values.len()
    )))
}

pub(super) fn feature(id: i64) -> Result<u32, BuildError> {
    u32::try_from(id).map_err(|_| BuildError::invalid(format!("a node compares feature {id}")))
}

/// `None`: a leaf.
fn test_of(mode: &str) -> Result<Option<Test>, BuildError> {
    Ok(Some(match mode {
        "BRANCH_LEQ" => Test::LessOrEqual,
        "BRANCH_LT" => Test::Less,
        "BRANCH_GTE" => Test::GreaterOrEqual,
        "BRANCH_GT" => Test::Greater,
        "BRANCH_EQ" => Test::Equal,
        "BRANCH_NEQ" => Test::NotEqual,
        "LEAF" => return Ok(None),
        other => return Err(BuildError::unsupported(format!("nodes of mode {other:?}"))),
    }))
}

/// The names of the attributes with what leaves say.
pub(super) struct WeightNames {
    pub(super) trees: &'static str,
    pub(super) nodes: &'static str,
    pub(super) targets: &'static str,
    pub(super) values: &'static str,
}

/// Reads the trees.
pub(super) fn read(
    spec: &NodeSpec<'_>,
    names: &WeightNames,
    targets: usize,
) -> Result<Forest, BuildError> {
    let ints = |name: &str, count: usize| same_length(spec.ints_opt(name)?, name, count);
    let modes = spec.texts_opt("nodes_modes")?.unwrap_or_default();
    let count = modes.len();
    let trees = ints("nodes_treeids", count)?;
    let numbers_of_nodes = ints("nodes_nodeids", count)?;
    let mut places = HashMap::with_capacity(count);
    let mut roots = BTreeMap::new();
    for (at, name) in trees.iter().zip(numbers_of_nodes).enumerate() {
        if places.insert(name, at).is_some() {
            return Err(BuildError::invalid(format!(
                "node {} of tree {} is there twice",
                name.1, name.0
            )));
        }
        roots.entry(*name.0).or_insert(at);
    }
    let features = ints("nodes_featureids", count)?;
    let thresholds = numbers(spec, "nodes_values")?;
    let thresholds = same_length(thresholds.as_deref(), "nodes_values", count)?;
    let (yes, no) = (ints("nodes_truenodeids", count)?, ints("nodes_falsenodeids", count)?);
    let missing = match spec.ints_opt("nodes_missing_value_tracks_true")? {
        Some(missing) if !missing.is_empty() => {
            same_length(Some(missing), "nodes_missing_value_tracks_true", count)?
        }
        _ => &[],
    };

    // Leaves and other nodes are numbered each for themselves.
    let mut children = Vec::with_capacity(count);
    let (mut branches, mut leaves) = (0, 0);
    let tests = modes.iter().map(|mode| test_of(mode)).collect::<Result<Vec<_>, _>>()?;
    for test in &tests {
        let number = if test.is_some() { &mut branches } else { &mut leaves };
        children.push(if test.is_some() { Child::node(*number)? } else { Child::leaf(*number)? });
        *number += 1;
    }
    let child = |tree: &i64, number: &i64| {
        places.get(&(tree, number)).map(|at| children[*at]).ok_or_else(|| {
            BuildError::invalid(format!("tree {tree} has no node {number}, which is asked for"))
        })
    };
    let mut nodes = Vec::with_capacity(branches);
    for (at, test) in tests.iter().enumerate() {
        let Some(test) = *test else { continue };
        nodes.push(Node {
            threshold: thresholds[at],
            feature: feature(features[at])?,
            test,
            missing: missing.get(at).is_some_and(|missing| *missing != 0),
            yes: child(&trees[at], &yes[at])?,
            no: child(&trees[at], &no[at])?,
        });
    }
    let roots: Vec<Child> = roots.into_values().map(|at| children[at]).collect();
    let values = numbers(spec, names.values)?.unwrap_or_default();
    let of_trees = ints(names.trees, values.len())?;
    let of_nodes = ints(names.nodes, values.len())?;
    let of_targets = ints(names.targets, values.len())?;
    let mut weights = Vec::with_capacity(values.len());
    for (at, value) in values.into_iter().enumerate() {
        let place = places.get(&(&of_trees[at], &of_nodes[at])).copied().ok_or_else(|| {
            BuildError::invalid(format!(
                "there is a weight for node {} of tree {}, which is not there",
                of_nodes[at], of_trees[at]
            ))
        })?;
        let target = usize::try_from(of_targets[at])
            .map_err(|_| BuildError::invalid(format!("a weight is for {}", of_targets[at])))?;
        // Old files also give weights to nodes that are no leaves; no row ends there.
        if tests[place].is_none() {
            weights.push(Weight { leaf: children[place].at(), target, value });
        }
    }
    Forest::new(nodes, roots, Vec::new(), weights, leaves, targets)
}
