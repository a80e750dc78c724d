//! Activations that files write out as formulas (GELU by erf or by tanh, SiLU, hard swish), recognised by what they compute.
//!
//! A formula has many forms, and exporters use all of them. So the nodes between a value and the end of a formula are
//! evaluated at points over the range where activations differ from straight lines; equal there, they are the same.

use std::collections::HashMap;

use super::uses::{Uses, scalar, sole_output};
use crate::graph::{Graph, Node, ValueId};
use embermq_kernels::Activation;

/// Nodes of the longest form.
const NODES_MAX: usize = 12;
/// How far apart, in the order of nodes, they are looked for.
const REACH: usize = 256;
/// Points on both sides of zero, and how far they lie apart.
const POINTS: i32 = 96;
const STEP: f64 = 0.125;

/// The activation that is computed of a value that nothing else reads, and its nodes, in order.
pub(super) fn activation_behind(
    graph: &Graph,
    uses: &Uses,
    value: ValueId,
) -> Option<(Activation, Vec<usize>)> {
    let first = *uses.readers(value).first()?;
    let mut region: Vec<usize> = Vec::new();
    let mut known = vec![value];
    for at in first..graph.nodes.len().min(first + REACH) {
        let node = &graph.nodes[at];
        let inner = |id: &Option<ValueId>| id.is_some_and(|id| known.contains(&id));
        let fits =
            |id: &Option<ValueId>| inner(id) || id.is_some_and(|id| scalar(graph, id).is_some());
        if !node.inputs.iter().any(inner) {
            continue;
        }
        let output = sole_output(node)?;
        if !is_formula(node) || !node.inputs.iter().all(fits) || region.len() == NODES_MAX {
            return None;
        }
        region.push(at);
        let closed = known.iter().all(|id| uses.stays_within(*id, &region));
        known.push(output);
        if closed
            && region.len() > 1
            && let Some(activation) = recognised(graph, value, &region, output)
        {
            return Some((activation, region));
        }
    }
    None
}

fn is_formula(node: &Node) -> bool {
    const OPS: [&str; 11] =
        ["Add", "Sub", "Mul", "Div", "Pow", "Erf", "Tanh", "Sigmoid", "HardSigmoid", "Sqrt", "Neg"];
    node.domain.is_empty() && node.version >= 7 && OPS.contains(&node.op.as_str())
}

/// A function of one number.
type Curve = fn(f64) -> f64;

fn recognised(
    graph: &Graph,
    value: ValueId,
    region: &[usize],
    output: ValueId,
) -> Option<Activation> {
    let candidates: [(Activation, Curve); 4] = [
        (Activation::Gelu, |x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))),
        (Activation::GeluTanh, |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }),
        (Activation::Swish, |x| x / (1.0 + (-x).exp())),
        (Activation::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    ];
    let mut seen = Vec::new();
    for point in -POINTS..=POINTS {
        let x = f64::from(point) * STEP;
        seen.push((x, evaluate(graph, value, region, output, x)?));
    }
    let same =
        |f: fn(f64) -> f64| seen.iter().all(|(x, y)| (f(*x) - y).abs() <= 2e-6 * x.abs().max(1.0));
    candidates.into_iter().find(|(_, f)| same(*f)).map(|(activation, _)| activation)
}

fn evaluate(
    graph: &Graph,
    value: ValueId,
    region: &[usize],
    output: ValueId,
    x: f64,
) -> Option<f64> {
    let mut values = HashMap::from([(value, x)]);
    for at in region {
        let node = graph.nodes.get(*at)?;
        let operand = |at: usize| -> Option<f64> {
            let id = (*node.inputs.get(at)?)?;
            values.get(&id).copied().or_else(|| scalar(graph, id).map(f64::from))
        };
        let a = operand(0)?;
        let result = match node.op.as_str() {
            "Add" => a + operand(1)?,
            "Sub" => a - operand(1)?,
            "Mul" => a * operand(1)?,
            "Div" => a / operand(1)?,
            "Pow" => a.powf(operand(1)?),
            "Erf" => erf(a),
            "Tanh" => a.tanh(),
            "Sigmoid" => 1.0 / (1.0 + (-a).exp()),
            "HardSigmoid" => {
                let number = |name: &str, default| match node.attributes.get(name) {
                    None => Some(default),
                    Some(crate::graph::Attribute::Float(value)) => Some(f64::from(*value)),
                    Some(_) => None,
                };
                (number("alpha", f64::from(0.2_f32))? * a + number("beta", 0.5)?).clamp(0.0, 1.0)
            }
            "Sqrt" => a.sqrt(),
            "Neg" => -a,
            _ => return None,
        };
        values.insert(sole_output(node)?, result);
    }
    values.get(&output).copied()
}

/// To 1.5e-7 (Abramowitz and Stegun, 7.1.26).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let p = ((((1.061_405_429 * t - 1.453_152_027) * t + 1.421_413_741) * t - 0.284_496_736) * t
        + 0.254_829_592)
        * t;
    (1.0 - p * (-x * x).exp()).copysign(x)
}
