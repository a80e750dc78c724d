//! If: <https://onnx.ai/onnx/operators/onnx__If.html>

use super::condition::truth;
use crate::error::OpError;
use crate::ops::spec::Subgraph;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

#[derive(Debug)]
struct If {
    then: Subgraph,
    otherwise: Subgraph,
    /// The number of the node's own operands: the condition.
    own: usize,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let (then, otherwise) = (spec.subgraph("then_branch")?, spec.subgraph("else_branch")?);
    for branch in [&then, &otherwise] {
        if branch.input_count() > 0 || branch.output_count() < spec.output_count() {
            return Err(BuildError::invalid(format!(
                "a branch has {} inputs and {} outputs, none and {} are wanted",
                branch.input_count(),
                branch.output_count(),
                spec.output_count()
            )));
        }
    }
    Ok(Box::new(If { then, otherwise, own: spec.input_count() }))
}

impl Operator for If {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let branch = if truth(inputs.tensor(0)?)? { &self.then } else { &self.otherwise };
        branch.run(Vec::new(), inputs.0.get(self.own..).unwrap_or_default(), context)
    }

    fn is_pure(&self) -> bool {
        self.then.is_pure() && self.otherwise.is_pure()
    }
}
