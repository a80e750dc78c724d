//! A node as an operator's builder sees it.

use crate::graph::{Attribute, Graph, Node};
use crate::limits::Limits;
use crate::plan::Plan;
use crate::tensor::Tensor;

/// Why no operator was made of a node.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// Valid, and not implemented.
    #[error("{0}")]
    Unsupported(String),
    /// Against the specification.
    #[error("{0}")]
    Invalid(String),
    /// Problems within a subgraph.
    #[error("its subgraph has problems")]
    Subgraph(Vec<crate::error::Problem>),
}

impl BuildError {
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }
}

/// A node, and what its model may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeSpec<'a> {
    pub(crate) node: &'a Node,
    pub(crate) limits: &'a Limits,
}

impl<'a> NodeSpec<'a> {
    /// The operator's name.
    pub(crate) fn op(&self) -> &'a str {
        &self.node.op
    }

    /// The version of its operator set.
    pub(crate) const fn version(&self) -> i64 {
        self.node.version
    }

    /// The number of operands, those that were left out before others included.
    pub(crate) fn input_count(&self) -> usize {
        self.node.inputs.len()
    }

    /// Whether an operand is there.
    pub(crate) fn has_input(&self, at: usize) -> bool {
        matches!(self.node.inputs.get(at), Some(Some(_)))
    }

    /// The number of outputs, those that nobody wants included.
    pub(crate) fn output_count(&self) -> usize {
        self.node.outputs.len()
    }

    /// Whether somebody wants an output.
    pub(crate) fn wants_output(&self, at: usize) -> bool {
        matches!(self.node.outputs.get(at), Some(Some(_)))
    }

    fn wrong(name: &str, expected: &str, found: &Attribute) -> BuildError {
        BuildError::Invalid(format!(
            "attribute {name:?} is {}, it should be {expected}",
            found.kind()
        ))
    }

    fn missing(name: &str) -> BuildError {
        BuildError::Invalid(format!("attribute {name:?} is missing"))
    }

    /// Whether an attribute is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.node.attributes.get(name).is_some()
    }

    /// An integer that may be left out.
    pub(crate) fn int_opt(&self, name: &str) -> Result<Option<i64>, BuildError> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Int(value)) => Ok(Some(*value)),
            Some(other) => Err(Self::wrong(name, "an integer", other)),
        }
    }

    /// An integer with a default.
    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, BuildError> {
        Ok(self.int_opt(name)?.unwrap_or(default))
    }

    /// A flag: an integer, 0 for no.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, BuildError> {
        Ok(self.int_opt(name)?.map_or(default, |value| value != 0))
    }

    /// A float that may be left out.
    pub(crate) fn float_opt(&self, name: &str) -> Result<Option<f32>, BuildError> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Float(value)) => Ok(Some(*value)),
            Some(other) => Err(Self::wrong(name, "a float", other)),
        }
    }

    /// A float with a default.
    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32, BuildError> {
        Ok(self.float_opt(name)?.unwrap_or(default))
    }

    /// A string that may be left out.
    pub(crate) fn text_opt(&self, name: &str) -> Result<Option<&'a str>, BuildError> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Text(value)) => Ok(Some(value)),
            Some(other) => Err(Self::wrong(name, "a string", other)),
        }
    }

    /// A string with a default.
    pub(crate) fn text(&self, name: &str, default: &'a str) -> Result<&'a str, BuildError> {
        Ok(self.text_opt(name)?.unwrap_or(default))
    }

    /// Integers that may be left out.
    pub(crate) fn ints_opt(&self, name: &str) -> Result<Option<&'a [i64]>, BuildError> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            Some(other) => Err(Self::wrong(name, "integers", other)),
        }
    }

    /// Floats that may be left out.
    pub(crate) fn floats_opt(&self, name: &str) -> Result<Option<&'a [f32]>, BuildError> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Floats(values)) => Ok(Some(values)),
            Some(other) => Err(Self::wrong(name, "floats", other)),
        }
    }

    /// Strings that may be left out.
    pub(crate) fn texts_opt(&self, name: &str) -> Result<Option<&'a [String]>, BuildError> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Texts(values)) => Ok(Some(values)),
            Some(other) => Err(Self::wrong(name, "strings", other)),
        }
    }

    /// A tensor that may be left out.
    pub(crate) fn tensor_opt(&self, name: &str) -> Result<Option<&'a Tensor>, BuildError> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(Attribute::Tensor(value)) => Ok(Some(value)),
            Some(other) => Err(Self::wrong(name, "a tensor", other)),
        }
    }

    fn graph(&self, name: &str) -> Result<&'a Graph, BuildError> {
        match self.node.attributes.get(name) {
            None => Err(Self::missing(name)),
            Some(Attribute::Graph(graph)) => Ok(graph),
            Some(other) => Err(Self::wrong(name, "a graph", other)),
        }
    }

    /// A subgraph, ready to run.
    pub(crate) fn subgraph(&self, name: &str) -> Result<Subgraph, BuildError> {
        let graph = self.graph(name)?;
        let captured = graph.captured.iter().map(|(place, _)| *place).collect();
        let mut problems = Vec::new();
        match Plan::of_subgraph(graph.clone(), self.limits, &mut problems) {
            Some(plan) => Ok(Subgraph { plan, captured }),
            None => Err(BuildError::Subgraph(problems)),
        }
    }
}

/// A subgraph with the places, among the operands that its node captures, of those that it uses.
#[derive(Debug)]
pub(crate) struct Subgraph {
    plan: Plan,
    captured: Vec<usize>,
}

impl Subgraph {
    /// The number of its own inputs.
    pub(crate) fn input_count(&self) -> usize {
        self.plan.input_count() - self.captured.len()
    }

    /// The number of its outputs.
    pub(crate) fn output_count(&self) -> usize {
        self.plan.output_count()
    }

    /// Whether all its operators are pure.
    pub(crate) fn is_pure(&self) -> bool {
        self.plan.steps.iter().all(|step| step.operator.is_pure())
    }

    /// Runs it. `captured`: what its node captures, behind the node's own operands.
    pub(crate) fn run(
        &self,
        mut inputs: Vec<crate::value::Value>,
        captured: &[Option<crate::value::Value>],
        context: &mut crate::run::Context<'_>,
    ) -> Result<Vec<crate::value::Value>, crate::error::OpError> {
        use crate::error::OpError;
        let own = inputs.len();
        for place in &self.captured {
            let value = captured.get(*place).and_then(Option::as_ref);
            inputs.push(value.cloned().ok_or(OpError::Missing(*place))?);
        }
        // A body may have no nodes.
        let ran = context.go_on().and_then(|()| self.plan.run_body(inputs, own, context));
        ran.map_err(|error| OpError::Inner(Box::new(error)))
    }
}
