//! The operators: what they are called, and how one is made from a node.
//!
//! Each family is a file. It lists its operators by name with a function that reads a node's attributes, once, at load. What that
//! function refuses is a [`Problem`](crate::error::Problem) of the model; what [`Operator::run`] refuses is an error of that run.
//!
//! Semantics are those of the ONNX specification, <https://onnx.ai/onnx/operators/>; a comment says where we chose
//! among what it leaves open.

pub(crate) mod broadcast;
mod classic;
mod control;
pub(crate) mod elementwise;
mod linear;
mod network;
mod quantised;
mod reduction;
mod sequence;
mod shaping;
mod signal;
pub(crate) mod signature;
mod spec;
mod text;
mod training;

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

pub(crate) use linear::{Constant, Packs, set_activation};
pub(crate) use spec::{BuildError, NodeSpec};

use crate::error::OpError;
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// An operator with its attributes. Shared by all instances of a model, so it keeps nothing between runs.
pub(crate) trait Operator: fmt::Debug + Send + Sync {
    /// Computes the outputs, in order. Outputs at the end that nobody asked for may be left out.
    ///
    /// An operand that nobody uses later is moved in, so its memory can be written on ([`Tensor::make_mut`]).
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError>;

    /// A faster form for operands that are the same in every run: packed weights, say. It is run with the same operands,
    /// but for those that it leaves [unread](Self::unread).
    fn specialised(
        &self,
        _constants: &[Option<Constant>],
        _packs: &mut Packs,
    ) -> Option<Box<dyn Operator>> {
        None
    }

    /// Operands that it does not read, as a [specialised](Self::specialised) form has them already: they need not be kept for it.
    fn unread(&self) -> &'static [usize] {
        &[]
    }

    /// Whether equal operands always give equal outputs. Only such operators are run at load.
    fn is_pure(&self) -> bool {
        true
    }
}

/// Makes an operator from a node.
pub(crate) type Build = fn(&NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError>;

/// Operators of one domain by name.
pub(crate) type Family = &'static [(&'static str, Build)];

/// Families by domain.
const FAMILIES: &[(&str, Family)] = &[
    ("", control::FAMILY),
    ("", elementwise::FAMILY),
    ("", linear::FAMILY),
    ("", network::FAMILY),
    ("", quantised::FAMILY),
    ("", reduction::FAMILY),
    ("", sequence::FAMILY),
    ("", shaping::FAMILY),
    ("", signal::FAMILY),
    ("", text::FAMILY),
    ("ai.onnx.ml", classic::FAMILY),
    ("ai.onnx.preview.training", training::FAMILY),
    (FUSED_DOMAIN, linear::FUSED),
];

/// The domain of operators that the planner puts into a graph. No file may name it.
pub(crate) const FUSED_DOMAIN: &str = "embermq";

static REGISTRY: LazyLock<HashMap<(&'static str, &'static str), Build>> = LazyLock::new(|| {
    let mut registry = HashMap::new();
    for (domain, family) in FAMILIES {
        for (name, build) in *family {
            registry.insert((*domain, *name), *build);
        }
    }
    registry
});

/// How an operator is made. `None`: there is none of that name.
pub(crate) fn find(domain: &str, op: &str) -> Option<Build> {
    REGISTRY.get(&(domain, op)).copied()
}

/// The names of all operators, with their domains where that is not the default one, sorted.
pub(crate) fn names() -> Vec<String> {
    let name = |(domain, op): &(&str, &str)| {
        if domain.is_empty() { (*op).to_owned() } else { format!("{domain}.{op}") }
    };
    let public = REGISTRY.keys().filter(|(domain, _)| *domain != FUSED_DOMAIN);
    let mut names: Vec<String> = public.map(name).collect();
    names.sort_unstable();
    names
}

/// The operands of one run; `None` for those that were left out.
#[derive(Debug, Default)]
pub(crate) struct Inputs(pub(crate) Vec<Option<Value>>);

impl Inputs {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// An operand, if it was not left out.
    pub(crate) fn get(&self, at: usize) -> Option<&Value> {
        self.0.get(at)?.as_ref()
    }

    /// A tensor that must be there.
    pub(crate) fn tensor(&self, at: usize) -> Result<&Tensor, OpError> {
        self.get(at).ok_or(OpError::Missing(at))?.as_tensor()
    }

    /// A tensor that may be left out.
    pub(crate) fn optional(&self, at: usize) -> Result<Option<&Tensor>, OpError> {
        self.get(at).map(Value::as_tensor).transpose()
    }

    /// Takes an operand that must be there.
    pub(crate) fn take(&mut self, at: usize) -> Result<Value, OpError> {
        self.0.get_mut(at).and_then(Option::take).ok_or(OpError::Missing(at))
    }

    /// Takes a tensor that must be there.
    pub(crate) fn take_tensor(&mut self, at: usize) -> Result<Tensor, OpError> {
        self.take(at)?.into_tensor()
    }
}

/// The place of an axis that may be counted from the end.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, OpError> {
    let signed_rank = i64::try_from(rank).unwrap_or(i64::MAX);
    let at = if axis < 0 { axis.checked_add(signed_rank) } else { Some(axis) };
    at.and_then(|at| usize::try_from(at).ok())
        .filter(|at| *at < rank)
        .ok_or_else(|| OpError::shape(format!("axis {axis} is out of range for {rank} axes")))
}

/// Places of axes that may be counted from the end, sorted. Each may be named once.
pub(crate) fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut places = axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(OpError::shape(format!("an axis is named twice in {axes:?}")));
    }
    Ok(places)
}
