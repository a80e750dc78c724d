//! A graph made ready to run: operators in order, with the slots that they read and write.
//!
//! What is done to the graph before: see [`passes`]. A value's slot is free again behind its last use, and is then used for another.

mod compile;
mod passes;

use crate::error::{OpError, Problem, RunError};
use crate::graph::Graph;
use crate::limits::Limits;
use crate::on_burn::{self, DevicePlan, Target};
use crate::ops::Operator;
use crate::tensor::Tensor;

/// Where an operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    /// It was left out.
    Left,
    /// [`Plan::constants`].
    Constant(usize),
    /// A slot; `last`: nobody reads this value later.
    Slot { slot: usize, last: bool },
}

/// One operator, and where its operands come from and its outputs go.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) operator: Box<dyn Operator>,
    /// The operator's name, for messages.
    pub(crate) op: String,
    pub(crate) node: String,
    pub(crate) inputs: Vec<Arg>,
    pub(crate) outputs: Vec<Option<usize>>,
}

impl Step {
    pub(crate) fn failed(&self, source: OpError) -> RunError {
        RunError::Op { op: self.op.clone(), node: self.node.clone(), source }
    }
}

/// A graph that can be run, by any number of threads at once.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) constants: Vec<Tensor>,
    /// A slot per input; `None`: nobody uses it.
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Arg>,
    pub(crate) slots: usize,
    /// Bytes of what operators keep for operands that they leave [unread](Operator::unread).
    pub(crate) packed_bytes: usize,
}

impl Plan {
    /// Plans a model's graph. `None`: there are problems, which were appended.
    pub(crate) fn of_model(
        mut graph: Graph,
        limits: &Limits,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        passes::improve(&mut graph, limits);
        passes::fuse(&mut graph);
        let on_host = vec![true; graph.nodes.len()];
        compile::compile(graph, &on_host, limits, problems)
    }

    /// Plans a model's graph for a device.
    pub(crate) fn of_model_on(
        target: Target,
        mut graph: Graph,
        limits: &Limits,
        problems: &mut Vec<Problem>,
    ) -> Option<DevicePlan> {
        passes::improve(&mut graph, limits);
        let forms: Vec<_> = graph.nodes.iter().map(|node| on_burn::form_of(node, limits)).collect();
        let on_host: Vec<bool> = forms.iter().map(Option::is_none).collect();
        let plan = compile::compile(graph, &on_host, limits, problems)?;
        match DevicePlan::new(plan, forms, target) {
            Ok(plan) => Some(plan),
            Err(what) => {
                problems
                    .push(Problem::Limit { what: format!("the weights on the device: {what}") });
                None
            }
        }
    }

    /// Plans a subgraph: its inputs, then what it captures, are the plan's inputs.
    pub(crate) fn of_subgraph(
        mut graph: Graph,
        limits: &Limits,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let captured: Vec<_> = graph.captured.drain(..).map(|(_, id)| id).collect();
        graph.inputs.extend(captured);
        Self::of_model(graph, limits, problems)
    }

    pub(crate) fn input_count(&self) -> usize {
        self.inputs.len()
    }

    pub(crate) fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// Bytes of everything that is the same in every run.
    pub(crate) fn constant_bytes(&self) -> usize {
        self.packed_bytes + self.constants.iter().map(Tensor::bytes).sum::<usize>()
    }
}
