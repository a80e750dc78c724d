//! From a graph to steps.

use std::collections::{HashMap, HashSet};

use super::{Arg, Plan, Step};
use crate::error::{PROBLEMS_MAX, Problem};
use crate::graph::{Graph, Node, ValueId};
use crate::limits::Limits;
use crate::ops::{self, BuildError, Constant, NodeSpec, Operator, Packs};
use crate::tensor::Tensor;

/// Makes an operator of a node, or says what is wrong with it.
pub(super) fn operator_of(
    node: &Node,
    limits: &Limits,
    problems: &mut Vec<Problem>,
) -> Option<Box<dyn Operator>> {
    let (op, name) = (node.full_name(), node.name.clone());
    let Some(build) = ops::find(&node.domain, &node.op) else {
        problems.push(Problem::UnsupportedOperator { op, version: node.version, node: name });
        return None;
    };
    match build(&NodeSpec { node, limits }) {
        Ok(operator) => return Some(operator),
        Err(BuildError::Unsupported(what)) => {
            problems.push(Problem::UnsupportedUse { op, node: name, what });
        }
        Err(BuildError::Invalid(what)) => {
            problems.push(Problem::InvalidNode { op, node: name, what });
        }
        Err(BuildError::Subgraph(inner)) => problems.extend(inner),
    }
    None
}

/// Makes the steps. `None`: there are problems, which were appended. `on_host`: which nodes are worth preparing for their constants,
/// as they are always computed here.
pub(super) fn compile(
    mut graph: Graph,
    on_host: &[bool],
    limits: &Limits,
    problems: &mut Vec<Problem>,
) -> Option<Plan> {
    let before = problems.len();
    let mut operators = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        operators.push(operator_of(node, limits, problems));
        if problems.len() > PROBLEMS_MAX {
            break;
        }
    }
    if problems.len() > before {
        return None;
    }
    let mut placing = Placing::new(&mut graph);
    let mut packs = Packs::new(limits.weight_bytes_max);
    let inputs = graph.inputs.iter().map(|id| placing.input(*id)).collect();
    let mut steps = Vec::with_capacity(graph.nodes.len());
    for (at, (node, operator)) in graph.nodes.iter().zip(operators).enumerate() {
        let operator = operator?;
        let constants: Vec<Option<Constant>> =
            node.operands().map(|operand| placing.constant(operand?)).collect();
        let operator = match on_host.get(at) {
            Some(true) => operator.specialised(&constants, &mut packs).unwrap_or(operator),
            _ => operator,
        };
        let unread = operator.unread();
        let read = |(place, operand)| match unread.contains(&place) {
            true => Arg::Left,
            false => placing.read(operand, at),
        };
        let inputs = node.operands().enumerate().map(read).collect();
        placing.free_behind(at);
        let outputs = node.outputs.iter().map(|output| placing.write(*output, at)).collect();
        let (op, node) = (node.full_name(), node.name.clone());
        steps.push(Step { operator, op, node, inputs, outputs });
    }
    let end = graph.nodes.len();
    let outputs = graph.outputs.iter().map(|id| placing.read_output(*id, end)).collect();
    let Placing { constants, constant_places, known, slots, .. } = placing;
    drop(known);
    let packed_bytes = packs.bytes(|id| constant_places.contains_key(&id));
    let constants = constants.into_iter().map(Tensor::settled).collect();
    let packed_bytes = usize::try_from(packed_bytes).unwrap_or(usize::MAX);
    Some(Plan { steps, constants, inputs, outputs, slots, packed_bytes })
}

/// Gives values their slots.
struct Placing {
    /// Values that are the same in every run, until the last step that reads them has been made: a weight that is packed then need
    /// not wait beside its packed form for those of all others.
    known: Vec<Option<Tensor>>,
    /// The step that reads a value last; the number of steps for outputs.
    last_use: HashMap<ValueId, usize>,
    place: HashMap<ValueId, usize>,
    /// Values that the node which reads them last reads more than once.
    read_twice: HashSet<ValueId>,
    /// Values whose slots are free behind a step.
    ending: HashMap<usize, Vec<ValueId>>,
    free: Vec<usize>,
    slots: usize,
    constants: Vec<Tensor>,
    constant_places: HashMap<ValueId, usize>,
}

impl Placing {
    fn new(graph: &mut Graph) -> Self {
        let known = graph.values.iter_mut().map(|value| value.constant.take()).collect();
        let mut last_use = HashMap::new();
        let mut read_twice = HashSet::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            for id in node.operands().flatten() {
                if last_use.insert(id, at) == Some(at) {
                    read_twice.insert(id);
                } else {
                    read_twice.remove(&id);
                }
            }
        }
        for id in &graph.outputs {
            last_use.insert(*id, graph.nodes.len());
        }
        let mut ending: HashMap<usize, Vec<ValueId>> = HashMap::new();
        for (id, at) in &last_use {
            ending.entry(*at).or_default().push(*id);
        }
        Self {
            known,
            last_use,
            place: HashMap::new(),
            read_twice,
            ending,
            free: Vec::new(),
            slots: 0,
            constants: Vec::new(),
            constant_places: HashMap::new(),
        }
    }

    fn constant(&self, id: ValueId) -> Option<Constant> {
        let tensor = self.known.get(id.index())?.clone()?;
        Some(Constant { id, tensor })
    }

    fn slot(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        })
    }

    fn input(&mut self, id: ValueId) -> Option<usize> {
        self.last_use.contains_key(&id).then(|| {
            let slot = self.slot();
            self.place.insert(id, slot);
            slot
        })
    }

    fn read(&mut self, operand: Option<ValueId>, at: usize) -> Arg {
        let Some(id) = operand else { return Arg::Left };
        if let Some(Some(tensor)) = self.known.get(id.index()) {
            let constants = &mut self.constants;
            let place = *self.constant_places.entry(id).or_insert_with(|| {
                constants.push(tensor.clone());
                constants.len() - 1
            });
            return Arg::Constant(place);
        }
        let Some(slot) = self.place.get(&id).copied() else { return Arg::Left };
        // A node that reads a value twice moves it nowhere: the second read would find nothing.
        let last = self.last_use.get(&id) == Some(&at) && !self.read_twice.contains(&id);
        Arg::Slot { slot, last }
    }

    fn read_output(&mut self, id: ValueId, end: usize) -> Arg {
        match self.read(Some(id), end) {
            // The same value may be two outputs.
            Arg::Slot { slot, .. } => Arg::Slot { slot, last: false },
            other => other,
        }
    }

    fn free_behind(&mut self, at: usize) {
        for id in self.ending.remove(&at).unwrap_or_default() {
            self.free.extend(self.place.remove(&id));
            self.known[id.index()] = None;
        }
    }

    fn write(&mut self, output: Option<ValueId>, at: usize) -> Option<usize> {
        let id = output?;
        let used = self.last_use.get(&id).is_some_and(|last| *last > at);
        used.then(|| {
            let slot = self.slot();
            self.place.insert(id, slot);
            slot
        })
    }
}
