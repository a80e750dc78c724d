//! Every layer with attributes and operands drawn at random, valid or not: an answer or an error, never a panic.

use super::FAMILY;
use crate::graph::{Attribute, Attributes, Node, ValueId};
use crate::limits::Limits;
use crate::ops::{Inputs, NodeSpec};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

const NODES_PER_LAYER: usize = 400;

const INTS: [&str; 24] = [
    "ceil_mode",
    "count_include_pad",
    "storage_order",
    "axis",
    "p",
    "group",
    "offset_group",
    "num_groups",
    "size",
    "ignore_index",
    "output_height",
    "output_width",
    "sampling_ratio",
    "align_corners",
    "antialias",
    "exclude_outside",
    "center_point_box",
    "training_mode",
    "stash_type",
    "is_test",
    "spatial",
    "align_corners",
    "stash_type",
    "ceil_mode",
];
const LISTS: [&str; 8] = [
    "kernel_shape",
    "strides",
    "dilations",
    "pads",
    "output_padding",
    "output_shape",
    "axes",
    "pooled_shape",
];
const TEXTS: [(&str, &[&str]); 7] = [
    ("auto_pad", &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    ("mode", &["nearest", "linear", "cubic", "avg", "max"]),
    ("padding_mode", &["zeros", "border", "reflection"]),
    ("reduction", &["none", "sum", "mean"]),
    ("nearest_mode", &["floor", "ceil", "round_prefer_ceil"]),
    ("keep_aspect_ratio_policy", &["stretch", "not_larger", "not_smaller"]),
    (
        "coordinate_transformation_mode",
        &["half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize", "output_half_pixel"],
    ),
];

struct Dice<'a>(Context<'a>);

impl Dice<'_> {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_random() % end as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Small as a rule, so that many nodes are valid.
    fn number(&mut self) -> i64 {
        match self.below(40) {
            0 => self.one(&[i64::MAX, i64::MIN, 1 << 40, -1, 1 << 20, i64::MAX / 2]),
            _ => self.one(&[0, 1, 1, 1, 2, 2, 3]),
        }
    }

    fn tensor(&mut self, like: &[usize]) -> Tensor {
        let shape: Vec<usize> = match self.below(4) {
            0 => like.to_vec(),
            1 => vec![self.one(&[1, 2, 3, 4])],
            _ => (0..self.below(6)).map(|_| self.one(&[0, 1, 1, 2, 2, 3, 4, 6])).collect(),
        };
        let count = shape.iter().product::<usize>();
        match self.below(4) {
            0 => Tensor::new(shape, (0..count).map(|_| self.number()).collect()),
            1 => Tensor::new(shape, vec![7_u8; count]),
            _ => {
                let one = |dice: &mut Self| dice.one(&[0.5_f32, 1.0, 2.0, -1.0, 1e30, f32::NAN]);
                Tensor::new(shape, (0..count).map(|_| one(self)).collect())
            }
        }
    }

    fn attributes(&mut self) -> Attributes {
        let mut attributes = Attributes::default();
        let axes = 1 + self.below(3);
        for name in INTS {
            if self.below(2) == 0 {
                attributes.set(name, Attribute::Int(self.number()));
            }
        }
        for name in LISTS {
            if name == "kernel_shape" || name == "pooled_shape" || self.below(3) == 0 {
                let len = if name == "pads" { 2 * axes } else { axes };
                let numbers = (0..len).map(|_| self.number()).collect();
                attributes.set(name, Attribute::Ints(numbers));
            }
        }
        for (name, values) in TEXTS {
            if self.below(2) == 0 {
                attributes.set(name, Attribute::Text(self.one(values).to_owned()));
            }
        }
        attributes
    }
}

#[test]
fn no_layer_panics() {
    let limits = Limits { run_bytes_max: 1 << 20, ..Limits::default() };
    let mut dice = Dice(Context::new(&limits, 7));
    let mut answers = 0;
    for (name, build) in FAMILY {
        for _ in 0..NODES_PER_LAYER {
            let shape: Vec<usize> =
                (0..3 + dice.below(3)).map(|_| dice.one(&[1, 2, 4, 6])).collect();
            let count = shape.iter().product::<usize>();
            let first = Tensor::new(shape.clone(), vec![0.5_f32; count]);
            let mut operands = vec![Some(Value::from(first))];
            for _ in 0..dice.below(6) {
                let operand = dice.tensor(&shape);
                operands.push((dice.below(8) > 0).then(|| operand.into()));
            }
            let node = Node {
                domain: String::new(),
                op: (*name).to_owned(),
                version: dice.one(&[1, 7, 9, 10, 11, 13, 16, 18, 22]),
                name: String::new(),
                attributes: dice.attributes(),
                inputs: operands.iter().map(|_| Some(ValueId(0))).collect(),
                outputs: vec![Some(ValueId(0)); 1 + dice.below(2)],
                captured: Vec::new(),
            };
            let Ok(operator) = build(&NodeSpec { node: &node, limits: &limits }) else { continue };
            let told = format!("{node:?} with {operands:?}");
            let run = || operator.run(Inputs(operands), &mut Context::new(&limits, 0)).is_ok();
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
                Ok(answered) => answers += usize::from(answered),
                Err(_) => panic!("{told}"),
            }
        }
    }
    assert!(answers > NODES_PER_LAYER, "only {answers} nodes were valid");
}
