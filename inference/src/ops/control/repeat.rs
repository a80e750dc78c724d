//! Loop: <https://onnx.ai/onnx/operators/onnx__Loop.html>
//!
//! A loop ends with an error after [`Limits::iterations_max`](crate::Limits) iterations.

use super::condition::truth;
use super::stack::{Stack, declared_outputs};
use crate::error::OpError;
use crate::graph::ValueType;
use crate::ops::shaping::numbers::single;
use crate::ops::spec::Subgraph;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Loop {
    body: Subgraph,
    /// The number of the node's own operands: the number of trips, the condition, the state.
    own: usize,
    /// What the body says of the tensors that are gathered.
    gathered: Vec<Option<ValueType>>,
}

/// Operands before the state, and inputs of the body before it.
const BEFORE_STATE: usize = 2;

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let body = spec.subgraph("body")?;
    let own = spec.input_count();
    let state = own.saturating_sub(BEFORE_STATE);
    if body.input_count() != state + BEFORE_STATE
        || body.output_count() < state + 1
        || spec.output_count() > body.output_count() - 1
    {
        return Err(BuildError::invalid(format!(
            "the body has {} inputs and {} outputs; the node has {own} inputs and {} outputs",
            body.input_count(),
            body.output_count(),
            spec.output_count()
        )));
    }
    let gathered = declared_outputs(spec, "body").into_iter().skip(1 + state).collect();
    Ok(Box::new(Loop { body, own, gathered }))
}

impl Operator for Loop {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let captured = inputs.0.split_off(self.own.min(inputs.len()));
        let trips = match inputs.optional(0)? {
            Some(_) => Some(single(&inputs, 0)?),
            None => None,
        };
        let mut goes_on = inputs.optional(1)?.map_or(Ok(true), truth)?;
        let mut state: Vec<Value> =
            (BEFORE_STATE..self.own).map(|at| inputs.take(at)).collect::<Result<_, _>>()?;
        let mut stacks: Vec<Stack> = self.gathered.iter().map(|_| Stack::default()).collect();
        let mut trip = 0_i64;
        while goes_on && trips.is_none_or(|trips| trip < trips) {
            if trip.unsigned_abs() >= context.limits.iterations_max {
                return Err(OpError::unsupported(format!(
                    "a loop of more than {} iterations",
                    context.limits.iterations_max
                )));
            }
            let mut operands = Vec::with_capacity(BEFORE_STATE + state.len());
            operands.push(Value::Tensor(Tensor::scalar(trip)));
            operands.push(Value::Tensor(Tensor::bools([], std::iter::once(true))));
            operands.append(&mut state);
            let mut outputs = self.body.run(operands, &captured, context)?.into_iter();
            goes_on = truth(outputs.next().ok_or(OpError::Missing(0))?.as_tensor()?)?;
            state.extend(outputs.by_ref().take(self.own.saturating_sub(BEFORE_STATE)));
            for (stack, output) in stacks.iter_mut().zip(outputs) {
                stack.push(output.into_tensor()?, context)?;
            }
            trip += 1;
        }
        for (stack, declared) in stacks.into_iter().zip(&self.gathered) {
            state.push(stack.finish(0, false, declared.as_ref(), context)?.into());
        }
        Ok(state)
    }

    /// It may take any time, so never at load.
    fn is_pure(&self) -> bool {
        false
    }
}
