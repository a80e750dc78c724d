//! What each operator of a run took. Only on the CPU: other devices work on while the next operator is asked for.

use std::time::Duration;

use crate::clock::Clock;
use crate::plan::Step;
use crate::tensor::Shape;
use crate::value::Value;

/// One operator of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// The operator, as the planner left it.
    pub op: String,
    /// The node's name in the file.
    pub node: String,
    /// Of the first output, if that is a tensor.
    pub shape: Option<Shape>,
    /// Operators of a subgraph are within their node's time, and listed too, before it.
    pub took: Duration,
}

/// A run's operators in the order in which they ended.
#[derive(Debug)]
pub(crate) struct Profile<'a> {
    clock: &'a dyn Clock,
    pub(crate) steps: Vec<StepTime>,
}

impl<'a> Profile<'a> {
    pub(crate) const fn new(clock: &'a dyn Clock) -> Self {
        Self { clock, steps: Vec::new() }
    }

    pub(crate) fn begin(&self) -> Duration {
        self.clock.elapsed()
    }

    pub(crate) fn end(&mut self, step: &Step, begun: Duration, outputs: &[Value]) {
        let took = self.clock.elapsed().saturating_sub(begun);
        let shape = outputs.first().and_then(|output| match output {
            Value::Tensor(tensor) => Some(tensor.shape().to_vec()),
            _ => None,
        });
        self.steps.push(StepTime { op: step.op.clone(), node: step.node.clone(), shape, took });
    }
}
