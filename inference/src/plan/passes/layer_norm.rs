//! A layer normalisation that a file writes out: `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias`.

use super::uses::{Uses, is, other_operand, scalar, sole_output};
use crate::graph::{Attribute, Attributes, Graph, Node, ValueId};

/// Version of the operator set that has LayerNormalization first.
const VERSION: i64 = 17;

/// Puts one LayerNormalization in place of each.
pub(super) fn fuse_layer_norms(graph: &mut Graph) {
    let uses = Uses::of(graph);
    for at in 0..graph.nodes.len() {
        let Some((node, last)) = matched(graph, &uses, at) else { continue };
        graph.nodes[last] = node;
    }
}

/// The node that stands for the formula that ends with the division at `at`, and its last node.
fn matched(graph: &Graph, uses: &Uses, at: usize) -> Option<(Node, usize)> {
    let division = graph.nodes.get(at).filter(|node| is(node, "Div"))?;
    let [Some(centred), Some(deviation)] = division.inputs[..] else { return None };
    let made = |id: ValueId, op: &str| {
        let maker = uses.maker(id)?;
        graph.nodes.get(maker).filter(|node| is(node, op)).map(|node| (node, maker))
    };
    let (subtraction, minus) = made(centred, "Sub")?;
    let [Some(x), Some(mean)] = subtraction.inputs[..] else { return None };
    let (averaging, average) = made(mean, "ReduceMean")?;
    let (root, square_root) = made(deviation, "Sqrt")?;
    let (sum, plus) = made(operand(root)?, "Add")?;
    let [Some(one), Some(other)] = sum.inputs[..] else { return None };
    let (variance, epsilon) = match (scalar(graph, one), scalar(graph, other)) {
        (None, Some(epsilon)) => (one, epsilon),
        (Some(epsilon), None) => (other, epsilon),
        _ => return None,
    };
    let (second, average_of_squares) = made(variance, "ReduceMean")?;
    let squares = operand(second)?;
    let square = uses.maker(squares)?;
    let is_square = match (&graph.nodes[square], &graph.nodes[square].inputs[..]) {
        (node, [Some(a), Some(b)]) if is(node, "Mul") => *a == centred && *b == centred,
        (node, [Some(a), Some(two)]) if is(node, "Pow") => {
            *a == centred && scalar(graph, *two) == Some(2.0)
        }
        _ => false,
    };
    if !is_square
        || operand(averaging) != Some(x)
        || !over_last(graph, averaging)
        || !over_last(graph, second)
    {
        return None;
    }
    let quotient = sole_output(division)?;
    let multiply = uses.only_reader(quotient)?;
    let product = graph.nodes.get(multiply).filter(|node| is(node, "Mul"))?;
    let scale = vector(graph, other_operand(product, quotient)?)?;
    let scaled = sole_output(product)?;
    let shift = uses.only_reader(scaled).filter(|next| is(&graph.nodes[*next], "Add"));
    let bias = shift.and_then(|next| vector(graph, other_operand(&graph.nodes[next], scaled)?));
    let bias = bias.filter(|bias| {
        graph.constant(*bias).map(|t| t.len()) == graph.constant(scale).map(|t| t.len())
    });
    let last = if bias.is_some() { shift? } else { multiply };
    let nodes = [average, minus, square, average_of_squares, plus, square_root, at];
    let inner = [mean, centred, squares, variance, sole_output(sum)?, deviation];
    if !inner.iter().all(|id| uses.stays_within(*id, &nodes)) || product.version < 7 {
        return None;
    }
    let mut attributes = Attributes::default();
    attributes.set("axis", Attribute::Int(-1));
    attributes.set("epsilon", Attribute::Float(epsilon));
    let node = Node {
        domain: String::new(),
        op: "LayerNormalization".to_owned(),
        version: VERSION,
        name: graph.nodes[average].name.clone(),
        attributes,
        inputs: vec![Some(x), Some(scale), bias],
        outputs: graph.nodes[last].outputs.clone(),
        captured: Vec::new(),
    };
    Some((node, last))
}

/// The first operand.
fn operand(node: &Node) -> Option<ValueId> {
    node.inputs.first().copied().flatten()
}

/// A constant of one axis. Anything else could be spread over more than the last axis.
fn vector(graph: &Graph, id: ValueId) -> Option<ValueId> {
    let tensor = graph.constant(id)?;
    // A vector of one element is spread, which LayerNormalization does not do to its input.
    (tensor.rank() == 1 && tensor.len() > 1 && tensor.get::<f32>().is_some()).then_some(id)
}

/// Whether a ReduceMean goes over the last axis and keeps it.
fn over_last(graph: &Graph, node: &Node) -> bool {
    let keeps = match node.attributes.get("keepdims") {
        None => true,
        Some(Attribute::Int(keep)) => *keep != 0,
        Some(_) => false,
    };
    let axes = match (node.attributes.get("axes"), node.inputs.get(1).copied().flatten()) {
        (Some(Attribute::Ints(axes)), None) => Some(axes.clone()),
        (None, Some(id)) => graph.constant(id).and_then(|tensor| tensor.to_i64s().ok()),
        _ => None,
    };
    keeps && axes.is_some_and(|axes| axes == [-1])
}
