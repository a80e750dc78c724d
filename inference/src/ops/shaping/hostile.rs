//! Whatever a model asks of the operators that move, reduce or steer: they answer or refuse, they never panic.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "any number will do as an element"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use half::f16;

use crate::dtype::DType;
use crate::graph::{Attribute, Attributes, Node, ValueId};
use crate::limits::Limits;
use crate::ops::{Inputs, NodeSpec, control, reduction, shaping};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

const ROUNDS: usize = 60_000;

const NUMBERS: &[&str] = &[
    "axis",
    "keepdims",
    "noop_with_empty_axes",
    "allowzero",
    "blocksize",
    "batch_dims",
    "k",
    "start",
    "end",
    "largest",
    "sorted",
    "upper",
    "exclusive",
    "reverse",
    "to",
    "dtype",
    "num_outputs",
    "new_axis",
    "select_last_index",
    "time_axis",
    "batch_axis",
    "value_int",
];

const LISTS: &[&str] = &["axes", "perm", "pads", "starts", "ends", "split", "shape", "value_ints"];

const MODES: &[(&str, &str)] = &[
    ("mode", "reflect"),
    ("mode", "edge"),
    ("mode", "wrap"),
    ("mode", "CRD"),
    ("mode", "circular"),
    ("mode", "other"),
    ("reduction", "add"),
    ("reduction", "max"),
];

/// Draws what a hostile model may hold.
struct Draw<'a> {
    context: Context<'a>,
    /// The type and shape that operands of this round have if nothing else is drawn.
    habit: (usize, Vec<usize>),
}

impl Draw<'_> {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.context.next_random() % end as u64).unwrap()
    }

    fn number(&mut self) -> i64 {
        match self.below(12) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => 1 << 40,
            3 => -(1 << 33),
            _ => i64::try_from(self.below(8)).unwrap() - 3,
        }
    }

    fn numbers(&mut self) -> Vec<i64> {
        (0..self.below(5)).map(|_| self.number()).collect()
    }

    fn shape(&mut self) -> Vec<usize> {
        let huge = self.below(20) == 0;
        let mut shape: Vec<usize> = (0..self.below(5)).map(|_| self.below(4)).collect();
        if huge && shape.contains(&0) {
            let at = self.below(shape.len());
            shape[at] = 1 << 62;
            shape.push(0);
        }
        shape
    }

    fn tensor(&mut self) -> Tensor {
        let shape = match self.below(6) {
            0 => vec![self.below(5)],
            1 => Vec::new(),
            2 => self.shape(),
            _ => self.habit.1.clone(),
        };
        let count = elements_of(&shape).unwrap();
        let numbers: Vec<i64> = (0..count).map(|_| self.number()).collect();
        let floats = numbers.iter().map(|number| *number as f32);
        let dtype = if self.below(3) == 0 { self.below(9) } else { self.habit.0 };
        match dtype {
            0 => Tensor::strings(shape, numbers.iter().map(i64::to_string).collect()),
            1 => Tensor::bools(shape, numbers.iter().map(|number| *number > 0)),
            2 => Tensor::new(shape, floats.map(f16::from_f32).collect::<Vec<_>>()),
            3 => Tensor::new(
                shape,
                floats.map(|float| if float == 2.0 { f32::NAN } else { float }).collect(),
            ),
            4 => Tensor::new(shape, numbers.iter().map(|number| *number as u8).collect()),
            5 => Tensor::new(shape, numbers.iter().map(|number| *number as i32).collect()),
            6 => Tensor::with_dtype(
                DType::I4,
                shape,
                numbers.iter().map(|n| (*n % 8) as i8).collect(),
            ),
            _ => Tensor::new(shape, numbers),
        }
    }

    fn value(&mut self) -> Option<Value> {
        match self.below(16) {
            0 => None,
            1 => Some(Value::Optional(None)),
            2 => {
                let members = (0..self.below(3)).map(|_| self.tensor().into()).collect();
                Some(Value::Sequence(Arc::new(members)))
            }
            _ => Some(self.tensor().into()),
        }
    }

    fn attributes(&mut self) -> Attributes {
        let mut attributes = Attributes::default();
        for _ in 0..self.below(4) {
            match self.below(5) {
                0 | 1 => {
                    let name = NUMBERS[self.below(NUMBERS.len())];
                    attributes.set(name, Attribute::Int(self.number()));
                }
                2 | 3 => {
                    let name = LISTS[self.below(LISTS.len())];
                    attributes.set(name, Attribute::Ints(self.numbers()));
                }
                _ => {
                    let (name, mode) = MODES[self.below(MODES.len())];
                    attributes.set(name, Attribute::Text(mode.to_owned()));
                }
            }
        }
        attributes
    }
}

#[test]
fn nothing_panics() {
    let limits = Limits { run_bytes_max: 1 << 20, ..Limits::default() };
    let families = [shaping::FAMILY, reduction::FAMILY, control::FAMILY];
    let operators: Vec<_> = families.into_iter().flatten().collect();
    let mut draw = Draw { context: Context::new(&limits, 7), habit: (0, Vec::new()) };
    let mut answered = vec![0_usize; operators.len()];
    for round in 0..ROUNDS {
        let which = round % operators.len();
        let (op, build) = operators[which];
        draw.habit = (draw.below(9), draw.shape());
        let operands: Vec<Option<Value>> = (0..draw.below(5)).map(|_| draw.value()).collect();
        let place = |at: usize| Some(ValueId(u32::try_from(at).unwrap()));
        let node = Node {
            domain: String::new(),
            op: (*op).to_owned(),
            version: [1, 7, 11, 13, 18, 24][draw.below(6)],
            name: String::new(),
            attributes: draw.attributes(),
            inputs: operands
                .iter()
                .enumerate()
                .map(|(at, one)| one.as_ref().and(place(at)))
                .collect(),
            outputs: (0..=draw.below(3)).map(|at| place(10 + at)).collect(),
            captured: Vec::new(),
        };
        let told = format!("round {round}: {node:?} with {operands:?}");
        let outputs = catch_unwind(AssertUnwindSafe(|| {
            let operator = build(&NodeSpec { node: &node, limits: &limits }).ok()?;
            operator.run(Inputs(operands), &mut Context::new(&limits, 0)).ok()
        }));
        let Ok(outputs) = outputs else { panic!("{told}") };
        answered[which] += usize::from(outputs.is_some());
    }
    let silent: Vec<_> =
        operators.iter().zip(answered).filter(|(_, n)| *n == 0).map(|(o, _)| o.0).collect();
    // Some want attributes that are never drawn, or a subgraph.
    assert!(silent.len() <= 12, "never got to run: {silent:?}");
}
