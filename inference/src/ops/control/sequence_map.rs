//! SequenceMap: <https://onnx.ai/onnx/operators/onnx__SequenceMap.html>

use std::sync::Arc;

use super::sequence::require_bounded;
use crate::error::OpError;
use crate::ops::spec::Subgraph;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

#[derive(Debug)]
struct SequenceMap {
    body: Subgraph,
    /// The number of the node's own operands.
    own: usize,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let (body, own) = (spec.subgraph("body")?, spec.input_count());
    if own == 0 || body.input_count() != own || body.output_count() < spec.output_count() {
        return Err(BuildError::invalid(format!(
            "the body has {} inputs and {} outputs; the node has {own} and {}",
            body.input_count(),
            body.output_count(),
            spec.output_count()
        )));
    }
    Ok(Box::new(SequenceMap { body, own }))
}

impl Operator for SequenceMap {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let captured = inputs.0.split_off(self.own.min(inputs.len()));
        let operands: Vec<Value> =
            (0..self.own).map(|at| inputs.take(at)).collect::<Result<_, _>>()?;
        let first = operands.first().ok_or(OpError::Missing(0))?;
        let length = first.as_sequence()?.len();
        for operand in &operands {
            if let Value::Sequence(members) = operand
                && members.len() != length
            {
                return Err(OpError::shape(format!(
                    "a sequence of {} members beside one of {length}",
                    members.len()
                )));
            }
        }
        let mut held_bytes = 0;
        let mut outputs: Vec<Vec<Value>> = vec![Vec::new(); self.body.output_count()];
        for at in 0..length {
            // Of sequences the members in this place, all else as it is.
            let member = |operand: &Value| match operand {
                Value::Sequence(members) => members[at].clone(),
                other => other.clone(),
            };
            let results =
                self.body.run(operands.iter().map(member).collect(), &captured, context)?;
            for (members, result) in outputs.iter_mut().zip(results) {
                // Not a sequence: one in another in a loop would lie so deep that letting go of it takes more stack than there is.
                let tensor = result.into_tensor()?;
                let bytes = tensor.bytes().saturating_add(size_of::<Value>());
                context.hold(bytes)?;
                held_bytes += bytes;
                members.push(tensor.into());
            }
        }
        context.let_go(held_bytes);
        for members in &outputs {
            require_bounded(members, context)?;
        }
        Ok(outputs.into_iter().map(|members| Value::Sequence(Arc::new(members))).collect())
    }

    /// It may take any time, so never at load.
    fn is_pure(&self) -> bool {
        false
    }
}
