//! What follows a product or a convolution (a bias, a second tensor that is added, an activation) becomes part of it.
//!
//! Only where the weights are constant and f32, so that all that follows is f32 too. An addend whose shape turns out to be
//! another one than the output's is added as an Add would.

use super::formula::activation_behind;
use super::uses::{Uses, is, other_operand, scalar, sole_output};
use crate::graph::{Attribute, Graph, Node, ValueId, ValueInfo};
use crate::ops::{FUSED_DOMAIN, set_activation};
use crate::tensor::Tensor;
use embermq_kernels::Activation;

/// Fuses.
pub(super) fn fuse_tails(graph: &mut Graph) {
    let uses = Uses::of(graph);
    // Nodes that became part of a tail. What `uses` says of them is no longer so.
    let mut taken = vec![false; graph.nodes.len()];
    for at in 0..graph.nodes.len() {
        if taken[at] {
            continue;
        }
        if let Some(mut tail) = Tail::of(graph, at) {
            while tail.grow(graph, &uses, &taken) {}
            tail.nodes.iter().for_each(|node| taken[*node] = true);
            tail.replace(graph);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    Conv,
    Gemm,
    MatMul,
}

/// A product or convolution with what follows it, node by node.
#[derive(Debug)]
struct Tail {
    head: Head,
    head_at: usize,
    /// Columns or filters: what a bias has a number for.
    outputs: usize,
    /// Axes of the output; `None`: at least one.
    rank: Option<usize>,
    bias: Option<ValueId>,
    added: Option<ValueId>,
    activation: Activation,
    output: ValueId,
    /// What followed.
    nodes: Vec<usize>,
}

impl Tail {
    fn of(graph: &Graph, at: usize) -> Option<Self> {
        let node = graph.nodes.get(at)?;
        let head = match node.op.as_str() {
            "Conv" => Head::Conv,
            "Gemm" => Head::Gemm,
            "MatMul" => Head::MatMul,
            _ => return None,
        };
        if !is(node, &node.op) {
            return None;
        }
        let weights = graph.constant((*node.inputs.get(1)?)?)?;
        weights.get::<f32>()?;
        let turned =
            matches!(node.attributes.get("transB"), Some(Attribute::Int(flag)) if *flag != 0);
        let (outputs, rank) = match (head, weights.shape()) {
            (Head::Conv, [filters, ..]) => (*filters, Some(weights.rank())),
            (Head::Gemm, [rows, columns]) => (if turned { *rows } else { *columns }, Some(2)),
            (Head::MatMul, [_, columns]) => (*columns, None),
            _ => return None,
        };
        Some(Self {
            head,
            head_at: at,
            outputs,
            rank,
            bias: node.inputs.get(2).copied().flatten(),
            added: None,
            activation: Activation::None,
            output: sole_output(node)?,
            nodes: Vec::new(),
        })
    }

    /// Takes in what follows. `false`: nothing more fits.
    fn grow(&mut self, graph: &mut Graph, uses: &Uses, taken: &[bool]) -> bool {
        if self.activation != Activation::None {
            return false;
        }
        let alone = uses.only_reader(self.output).filter(|next| !taken[*next]);
        if let Some(next) = alone.filter(|next| is(&graph.nodes[*next], "Add")) {
            return self.take_add(graph, next);
        }
        let found = alone
            .and_then(|next| Some((activation_of(graph, &graph.nodes[next])?, vec![next])))
            .or_else(|| activation_behind(graph, uses, self.output));
        let Some((activation, nodes)) = found else { return false };
        let end = nodes.last().and_then(|end| sole_output(&graph.nodes[*end]));
        let Some(output) = end.filter(|_| !nodes.iter().any(|node| taken[*node])) else {
            return false;
        };
        (self.activation, self.output) = (activation, output);
        self.nodes.extend(nodes);
        true
    }

    fn take_add(&mut self, graph: &mut Graph, next: usize) -> bool {
        let node = &graph.nodes[next];
        let (Some(other), Some(output)) = (other_operand(node, self.output), sole_output(node))
        else {
            return false;
        };
        // Before version 7 an Add broadcasts by attributes.
        if node.version < 7 || self.added.is_some() {
            return false;
        }
        if graph.constant(other).is_some() {
            let Some(bias) = self.bias_of(graph, other).filter(|_| self.bias.is_none()) else {
                return false;
            };
            self.bias = Some(bias);
        } else if self.head == Head::Gemm {
            return false;
        } else {
            self.added = Some(other);
        }
        self.output = output;
        self.nodes.push(next);
        true
    }

    /// A constant as a bias: one number per output.
    fn bias_of(&self, graph: &mut Graph, id: ValueId) -> Option<ValueId> {
        let tensor = graph.constant(id)?;
        let fits = tensor.len() == self.outputs && tensor.get::<f32>().is_some();
        let shape = tensor.shape();
        let beta = graph.nodes.get(self.head_at)?.attributes.get("beta");
        let fits = fits
            && beta.is_none_or(|beta| matches!(beta, Attribute::Float(1.0)))
            && match self.head {
                Head::MatMul | Head::Gemm => shape.len() == 1,
                Head::Conv => {
                    let behind = self.rank?.checked_sub(2)?;
                    let lead = shape.len().checked_sub(behind + 1)?;
                    lead <= 1
                        && shape[..lead].iter().all(|size| *size == 1)
                        && shape[lead] == self.outputs
                }
            };
        let flat = tensor.clone().reshaped([self.outputs]).ok().filter(|_| fits)?;
        Some(constant(graph, flat))
    }

    fn replace(self, graph: &mut Graph) {
        let Some(last) = self.nodes.last().copied() else { return };
        let first = &graph.nodes[self.head_at];
        let mut attributes = first.attributes.clone();
        set_activation(&mut attributes, self.activation);
        let mut inputs = first.inputs.clone();
        inputs.resize(2, None);
        inputs.extend([self.bias, self.added]);
        let node = Node {
            domain: FUSED_DOMAIN.to_owned(),
            op: first.op.clone(),
            version: first.version,
            name: first.name.clone(),
            attributes,
            inputs,
            outputs: vec![Some(self.output)],
            captured: Vec::new(),
        };
        graph.nodes[last] = node;
        // What led here makes values that nobody reads now.
        graph.nodes[self.head_at].outputs = vec![None];
    }
}

/// Adds a constant to a graph.
pub(super) fn constant(graph: &mut Graph, tensor: Tensor) -> ValueId {
    graph.add_value(ValueInfo { constant: Some(tensor), ..ValueInfo::default() })
}

/// The activation that a node is.
fn activation_of(graph: &Graph, node: &Node) -> Option<Activation> {
    sole_output(node).filter(|_| node.domain.is_empty())?;
    let number = |name: &str, default: f32| match node.attributes.get(name) {
        None => Some(default),
        Some(Attribute::Float(value)) => Some(*value),
        Some(_) => None,
    };
    Some(match node.op.as_str() {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::Leaky { slope: number("alpha", 0.01)? },
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "HardSwish" => Activation::HardSwish,
        "HardSigmoid" => {
            Activation::HardSigmoid { alpha: number("alpha", 0.2)?, beta: number("beta", 0.5)? }
        }
        "Clip" => {
            let bound = |at: usize, name: &str, default: f32| match node.inputs.get(at) {
                None | Some(None) => number(name, default),
                Some(Some(id)) => scalar(graph, *id),
            };
            let (low, high) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
            Activation::Clip { low, high }
        }
        "Gelu" => match node.attributes.get("approximate") {
            None => Activation::Gelu,
            Some(Attribute::Text(text)) if text == "none" => Activation::Gelu,
            Some(Attribute::Text(text)) if text == "tanh" => Activation::GeluTanh,
            Some(_) => return None,
        },
        _ => return None,
    })
}
