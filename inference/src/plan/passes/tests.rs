//! Each pass leaves a graph that computes the same, and leaves alone what it may not touch.

use crate::graph::{Attribute, Attributes, Graph, Node, ValueId, ValueInfo};
use crate::limits::Limits;
use crate::plan::Plan;
use crate::plan::compile::compile;
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// A graph in the making.
#[derive(Clone, Default)]
struct Sketch(Graph);

impl Sketch {
    fn input(&mut self) -> ValueId {
        let id = self.0.add_value(ValueInfo::default());
        self.0.inputs.push(id);
        id
    }

    fn numbers(&mut self, shape: &[usize], numbers: &[f32]) -> ValueId {
        super::tail::constant(&mut self.0, Tensor::new(shape, numbers.to_vec()))
    }

    fn weights(&mut self, shape: &[usize]) -> ValueId {
        let tensor = sample(shape, 3);
        super::tail::constant(&mut self.0, tensor)
    }

    fn node(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.node_with(op, inputs, &[])
    }

    fn node_with(&mut self, op: &str, inputs: &[ValueId], with: &[(&str, Attribute)]) -> ValueId {
        let output = self.0.add_value(ValueInfo::default());
        let mut attributes = Attributes::default();
        with.iter().for_each(|(name, value)| attributes.set(name, value.clone()));
        self.0.nodes.push(Node {
            domain: String::new(),
            op: op.to_owned(),
            version: 17,
            name: op.to_owned(),
            attributes,
            inputs: inputs.iter().map(|id| Some(*id)).collect(),
            outputs: vec![Some(output)],
            captured: Vec::new(),
        });
        output
    }

    /// The operators that are left, and whether both graphs compute the same of inputs of these shapes.
    fn improved(mut self, outputs: &[ValueId], shapes: &[&[usize]]) -> Vec<String> {
        self.0.outputs = outputs.to_vec();
        let (limits, mut problems) = (Limits::default(), Vec::new());
        let plain = compile(self.0.clone(), &[], &limits, &mut problems);
        let improved = Plan::of_model(self.0, &limits, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let (plain, improved) = (plain.unwrap(), improved.unwrap());
        let run = |plan: &Plan| -> Vec<Tensor> {
            let inputs = shapes.iter().map(|shape| Value::from(sample(shape, 1))).collect();
            let outputs = plan.run(inputs, &mut Context::new(&limits, 0)).unwrap();
            outputs.into_iter().map(|value| value.into_tensor().unwrap()).collect()
        };
        for (plain, improved) in run(&plain).iter().zip(run(&improved)) {
            assert_eq!(plain.shape(), improved.shape());
            let pairs =
                plain.as_slice::<f32>().unwrap().iter().zip(improved.as_slice::<f32>().unwrap());
            for (a, b) in pairs {
                assert!((a - b).abs() < 2e-5 * a.abs().max(1.0), "{a} {b}");
            }
        }
        improved.steps.iter().map(|step| step.op.clone()).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "small")]
fn sample(shape: &[usize], seed: usize) -> Tensor {
    let count = shape.iter().product();
    let number = |at: usize| ((at * 7919 + seed * 31) % 101) as f32 / 50.0 - 1.0;
    Tensor::new(shape, (0..count).map(number).collect::<Vec<f32>>())
}

const IMAGE: &[usize] = &[2, 3, 5, 5];

/// A convolution to four channels.
fn conv(sketch: &mut Sketch, x: ValueId) -> ValueId {
    let weights = sketch.weights(&[4, 3, 3, 3]);
    sketch.node("Conv", &[x, weights])
}

#[test]
fn batch_normalisation_bias_and_activation_go_into_a_convolution() {
    let mut sketch = Sketch::default();
    let x = sketch.input();
    let out = conv(&mut sketch, x);
    let norm = [0.5, 2.0, 0.1, 1.5].map(|value| sketch.numbers(&[4], &[value, 1.0, 0.3, 0.9]));
    let out = sketch.node("BatchNormalization", &[out, norm[0], norm[1], norm[2], norm[3]]);
    let (low, high) = (sketch.numbers(&[], &[0.0]), sketch.numbers(&[], &[1.5]));
    let out = sketch.node("Clip", &[out, low, high]);
    assert_eq!(sketch.improved(&[out], &[IMAGE]), ["embermq.Conv"]);

    let mut sketch = Sketch::default();
    let x = sketch.input();
    let out = conv(&mut sketch, x);
    let bias = sketch.weights(&[1, 4, 1, 1]);
    let out = sketch.node("Add", &[bias, out]);
    let out = sketch.node("Relu", &[out]);
    assert_eq!(sketch.improved(&[out], &[IMAGE]), ["embermq.Conv"]);
}

#[test]
fn two_branches_that_meet_take_one_addition_each_at_most() {
    let mut sketch = Sketch::default();
    let x = sketch.input();
    let (left, right) = (conv(&mut sketch, x), conv(&mut sketch, x));
    let weights = sketch.weights(&[4, 3, 3, 3]);
    let third = sketch.node("Conv", &[x, weights]);
    let sum = sketch.node("Add", &[left, right]);
    let sum = sketch.node("Relu", &[sum]);
    let sum = sketch.node("Add", &[third, sum]);
    let out = sketch.node("Relu", &[sum]);
    let ops = sketch.improved(&[out], &[IMAGE]);
    assert_eq!(ops.iter().filter(|op| *op == "Add").count(), 0, "{ops:?}");
}

#[test]
fn a_sum_of_two_is_an_addition() {
    let mut sketch = Sketch::default();
    let (x, y) = (sketch.input(), sketch.input());
    let out = conv(&mut sketch, x);
    let out = sketch.node("Sum", &[out, y]);
    let out = sketch.node("Relu", &[out]);
    assert_eq!(sketch.improved(&[out], &[IMAGE, &[1, 4, 1, 1]]), ["embermq.Conv"]);
    let mut sketch = Sketch::default();
    let (x, y, z) = (sketch.input(), sketch.input(), sketch.input());
    let out = sketch.node("Sum", &[x, y, z]);
    assert_eq!(sketch.improved(&[out], &[&[2], &[2], &[2]]), ["Sum"]);
}

#[test]
fn what_is_added_may_have_another_shape() {
    for shape in [&[1, 4, 1, 1][..], &[5, 1, 1, 1, 3]] {
        let mut sketch = Sketch::default();
        let (x, y) = (sketch.input(), sketch.input());
        let out = conv(&mut sketch, x);
        let out = sketch.node("Add", &[out, y]);
        let out = sketch.node("Relu", &[out]);
        assert_eq!(sketch.improved(&[out], &[IMAGE, shape]), ["embermq.Conv"]);

        let mut sketch = Sketch::default();
        let (x, y) = (sketch.input(), sketch.input());
        let weights = sketch.weights(&[5, 3]);
        let out = sketch.node("MatMul", &[x, weights]);
        let out = sketch.node("Add", &[out, y]);
        assert_eq!(sketch.improved(&[out], &[&[2, 4, 2, 5], shape]), ["embermq.MatMul"]);
    }
}

/// `x` times a matrix of six columns, plus a bias.
fn linear(sketch: &mut Sketch) -> ValueId {
    let x = sketch.input();
    let (weights, bias) = (sketch.weights(&[5, 6]), sketch.weights(&[6]));
    let out = sketch.node("MatMul", &[x, weights]);
    sketch.node("Add", &[out, bias])
}

#[test]
fn formulas_of_gelu_and_swish_go_into_a_product() {
    let mut sketch = Sketch::default();
    let x = linear(&mut sketch);
    let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|n| sketch.numbers(&[], &[n]));
    let out = sketch.node("Div", &[x, root]);
    let out = sketch.node("Erf", &[out]);
    let out = sketch.node("Add", &[out, one]);
    let out = sketch.node("Mul", &[half, out]);
    let out = sketch.node("Mul", &[x, out]);
    assert_eq!(sketch.improved(&[out], &[&[7, 5]]), ["embermq.MatMul"]);

    let mut sketch = Sketch::default();
    let x = linear(&mut sketch);
    let [three, factor, root, one, half] =
        [3.0, 0.044_715, 0.797_884_6, 1.0, 0.5].map(|n| sketch.numbers(&[], &[n]));
    let cube = sketch.node("Pow", &[x, three]);
    let out = sketch.node("Mul", &[cube, factor]);
    let out = sketch.node("Add", &[x, out]);
    let out = sketch.node("Mul", &[out, root]);
    let out = sketch.node("Tanh", &[out]);
    let out = sketch.node("Add", &[out, one]);
    let out = sketch.node("Mul", &[x, out]);
    let out = sketch.node("Mul", &[out, half]);
    assert_eq!(sketch.improved(&[out], &[&[7, 5]]), ["embermq.MatMul"]);

    let mut sketch = Sketch::default();
    let x = linear(&mut sketch);
    let gate = sketch.node("Sigmoid", &[x]);
    let out = sketch.node("Mul", &[x, gate]);
    assert_eq!(sketch.improved(&[out], &[&[7, 5]]), ["embermq.MatMul"]);
}

#[test]
fn formulas_that_are_something_else_stay() {
    let mut sketch = Sketch::default();
    let x = linear(&mut sketch);
    let steep = sketch.numbers(&[], &[1.702]);
    let out = sketch.node("Mul", &[x, steep]);
    let gate = sketch.node("Sigmoid", &[out]);
    let out = sketch.node("Mul", &[x, gate]);
    assert_eq!(sketch.improved(&[out], &[&[7, 5]]).len(), 4);

    // The gate is wanted too.
    let mut sketch = Sketch::default();
    let x = linear(&mut sketch);
    let gate = sketch.node("Sigmoid", &[x]);
    let out = sketch.node("Mul", &[x, gate]);
    assert_eq!(sketch.improved(&[out, gate], &[&[7, 5]]).len(), 3);
}

#[test]
fn what_leaves_the_graph_or_is_read_elsewhere_stays() {
    let mut sketch = Sketch::default();
    let x = sketch.input();
    let out = conv(&mut sketch, x);
    let active = sketch.node("Relu", &[out]);
    assert_eq!(sketch.clone().improved(&[active, out], &[IMAGE]), ["Conv", "Relu"]);
    let other = sketch.node("Tanh", &[out]);
    assert_eq!(sketch.improved(&[active, other], &[IMAGE]), ["Conv", "Relu", "Tanh"]);
}

#[test]
fn a_gemm_keeps_its_factors() {
    let mut sketch = Sketch::default();
    let x = sketch.input();
    let (weights, bias) = (sketch.weights(&[6, 5]), sketch.weights(&[6]));
    let with = [("transB", Attribute::Int(1)), ("beta", Attribute::Float(0.5))];
    let out = sketch.node_with("Gemm", &[x, weights], &with);
    let out = sketch.node("Add", &[out, bias]);
    assert_eq!(sketch.improved(&[out], &[&[3, 5]]), ["Gemm", "Add"]);

    let mut sketch = Sketch::default();
    let x = sketch.input();
    let (weights, bias) = (sketch.weights(&[6, 5]), sketch.weights(&[6]));
    let with = [("transB", Attribute::Int(1)), ("alpha", Attribute::Float(0.5))];
    let out = sketch.node_with("Gemm", &[x, weights, bias], &with);
    let out = sketch.node("Relu", &[out]);
    assert_eq!(sketch.improved(&[out], &[&[3, 5]]), ["embermq.Gemm"]);
}

#[test]
fn a_layer_normalisation_that_is_written_out_becomes_one() {
    let sketch_of = |axis: i64| {
        let mut sketch = Sketch::default();
        let x = sketch.input();
        let axes = [("axes", Attribute::Ints(vec![axis]))];
        let [two, epsilon] = [2.0, 1e-5].map(|n| sketch.numbers(&[], &[n]));
        let (scale, bias) = (sketch.weights(&[6]), sketch.weights(&[6]));
        let mean = sketch.node_with("ReduceMean", &[x], &axes);
        let centred = sketch.node("Sub", &[x, mean]);
        let squares = sketch.node("Pow", &[centred, two]);
        let variance = sketch.node_with("ReduceMean", &[squares], &axes);
        let sum = sketch.node("Add", &[variance, epsilon]);
        let deviation = sketch.node("Sqrt", &[sum]);
        let out = sketch.node("Div", &[centred, deviation]);
        let out = sketch.node("Mul", &[out, scale]);
        let out = sketch.node("Add", &[out, bias]);
        sketch.improved(&[out], &[&[3, 2, 6]])
    };
    assert_eq!(sketch_of(-1), ["LayerNormalization"]);
    assert_eq!(sketch_of(1).len(), 9);
}

#[test]
fn equal_nodes_become_one_and_guards_against_nan_too() {
    let mut sketch = Sketch::default();
    let x = sketch.input();
    let (zero, one) = (sketch.numbers(&[], &[0.0]), sketch.numbers(&[], &[1.0]));
    let (left, right) = (sketch.node("Add", &[x, one]), sketch.node("Add", &[x, one]));
    let soft = sketch.node("Softmax", &[left]);
    let test = sketch.node("IsNaN", &[soft]);
    let guarded = sketch.node("Where", &[test, zero, soft]);
    let out = sketch.node("Mul", &[guarded, right]);
    let ops = sketch.improved(&[out], &[&[2, 3]]);
    assert_eq!(ops, ["Add", "Softmax", "embermq.ReplaceNan", "Mul"]);
}

#[test]
fn equal_draws_stay_two() {
    let mut sketch = Sketch::default();
    let x = sketch.input();
    let (left, right) =
        (sketch.node("RandomNormalLike", &[x]), sketch.node("RandomNormalLike", &[x]));
    let out = sketch.node("Sub", &[left, right]);
    sketch.0.outputs = vec![out];
    let (limits, mut problems) = (Limits::default(), Vec::new());
    let plan = Plan::of_model(sketch.0, &limits, &mut problems).unwrap();
    assert_eq!(plan.steps.len(), 3);
}

#[test]
fn a_weight_that_many_nodes_read_is_packed_once() {
    let mut sketch = Sketch::default();
    let x = sketch.input();
    let weights = sketch.weights(&[64, 64]);
    let (mut first, mut tenth) = (x, x);
    for at in 0..10 {
        tenth = sketch.node("MatMul", &[tenth, weights]);
        if at == 0 {
            first = tenth;
        }
    }
    let constant_bytes = |output, limits: &Limits| {
        let mut graph = sketch.0.clone();
        graph.outputs = vec![output];
        Plan::of_model(graph, limits, &mut Vec::new()).unwrap().constant_bytes()
    };
    let limits = Limits::default();
    assert_eq!(constant_bytes(first, &limits), constant_bytes(tenth, &limits));
    let little = Limits { weight_bytes_max: 1024, ..limits };
    assert_eq!(constant_bytes(tenth, &little), 64 * 64 * 4);
}
