//! Forms on burn's CPU backend: what the node tests of ONNX do not ask for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use prost::Message;

use super::operands::{Held, Operand, Operands};
use super::{REGISTRY, Target, form_of};
use crate::device::Device;
use crate::error::{LoadError, OpError};
use crate::graph::{Attribute, Attributes, Node, ValueId};
use crate::limits::Limits;
use crate::network::Network;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

fn flex() -> Device {
    Device::parse("flex").unwrap().with_host_elements_max(0)
}

fn target() -> Target {
    flex().open().unwrap().unwrap()
}

fn node(op: &str, version: i64, inputs: usize, attributes: &[(&str, Attribute)]) -> Node {
    let mut set = Attributes::default();
    for (name, value) in attributes {
        set.set(name, value.clone());
    }
    let ids =
        |count: usize| (0..count).map(|at| Some(ValueId(u32::try_from(at).unwrap()))).collect();
    Node {
        domain: String::new(),
        op: op.to_owned(),
        version,
        name: op.to_owned(),
        attributes: set,
        inputs: ids(inputs),
        outputs: ids(1),
        captured: Vec::new(),
    }
}

/// Runs a form. `None`: it is left to the host.
fn run(node: &Node, tensors: &[Tensor]) -> Result<Option<Vec<Tensor>>, OpError> {
    let (limits, target) = (Limits { run_bytes_max: 1 << 20, ..Limits::default() }, target());
    let Some(form) = form_of(node, &limits) else { return Ok(None) };
    let operand = |tensor: &Tensor| {
        let held = Held::from(Value::Tensor(tensor.clone()));
        Some(Operand { held, shared: false, moved: false })
    };
    let mut operands = Operands { all: tensors.iter().map(operand).collect(), target: &target };
    if !operands.are_worth_it() {
        return Ok(None);
    }
    let outputs = form.run(&mut operands, &Context::new(&limits, 0))?;
    let host = |held: Held| held.into_host()?.into_tensor();
    outputs.map(|outputs| outputs.into_iter().map(host).collect()).transpose()
}

fn floats(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let element = |at: usize| f32::from(u16::try_from(at % 7).unwrap()) - 3.0;
    Tensor::new(shape, (0..count).map(element).collect::<Vec<_>>())
}

#[test]
fn hostile_operands_are_refused_or_left_to_the_host() {
    let whole = |values: &[i64]| Tensor::new([values.len()], values.to_vec());
    let pool = [
        floats(&[]),
        floats(&[1]),
        floats(&[4]),
        floats(&[2, 3]),
        floats(&[3, 2]),
        floats(&[1, 4, 3, 3]),
        floats(&[4, 1, 3, 3]),
        floats(&[2, 4, 1, 1]),
        floats(&[0, 3]),
        Tensor::scalar(-1_i64),
        Tensor::scalar(i64::MAX),
        whole(&[0, -1]),
        whole(&[1, i64::MIN, i64::MAX, 3]),
        whole(&[1, 1, 2, 2]),
        Tensor::new([1, 4], vec![2.0_f64; 4]),
        Tensor::bools([2, 3], [true, false].into_iter().cycle().take(6)),
        Tensor::strings([1], vec!["a".to_owned()]),
    ];
    let ints = |values: &[i64]| Attribute::Ints(values.to_vec());
    let sets: [&[(&str, Attribute)]; 4] = [
        &[],
        &[("axis", Attribute::Int(-2)), ("kernel_shape", ints(&[2, 2])), ("to", Attribute::Int(1))],
        &[
            ("axis", Attribute::Int(9)),
            ("axes", ints(&[0, 7])),
            ("perm", ints(&[1, 0])),
            ("kernel_shape", ints(&[i64::MAX, 1])),
            ("pads", ints(&[0, 1, i64::MAX, 1])),
            ("to", Attribute::Int(9)),
        ],
        &[
            ("group", Attribute::Int(4)),
            ("kernel_shape", ints(&[3, 3])),
            ("pads", ints(&[5, 0, 1, 9])),
            ("strides", ints(&[7, 2])),
            ("dilations", ints(&[1, 3])),
            ("output_padding", ints(&[1, 40])),
            ("blocksize", Attribute::Int(2)),
            ("num_groups", Attribute::Int(3)),
        ],
    ];
    let mut context = 7_u64;
    let mut next = |below: usize| {
        context =
            context.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(context >> 33).unwrap() % below
    };
    let mut panicked = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    let mut names: Vec<&str> = REGISTRY.keys().copied().collect();
    names.sort_unstable();
    for name in names {
        for _ in 0..300 {
            let operands: Vec<Tensor> =
                (0..1 + next(4)).map(|_| pool[next(pool.len())].clone()).collect();
            let version = [7, 9, 11, 13, 21][next(5)];
            let node = node(name, version, operands.len(), sets[next(sets.len())]);
            if catch_unwind(AssertUnwindSafe(|| run(&node, &operands))).is_err() {
                let shapes: Vec<_> =
                    operands.iter().map(|one| (one.dtype(), one.shape())).collect();
                panicked.push(format!("{node:?} of {shapes:?}"));
            }
        }
    }
    let _ = std::panic::take_hook();
    assert!(panicked.is_empty(), "{} panics, {}", panicked.len(), panicked[0]);
}

#[test]
fn indices_beyond_the_end_never_reach_the_device() {
    let gather = node("Gather", 13, 2, &[]);
    let refused = run(&gather, &[floats(&[2, 3]), Tensor::new([2], vec![0_i64, 2])]);
    assert!(refused.unwrap_err().to_string().contains("index 2"));
    let taken = run(&gather, &[floats(&[2, 3]), Tensor::scalar(-1_i64)]).unwrap().unwrap();
    assert_eq!(taken[0].as_slice::<f32>().unwrap(), [0.0, 1.0, 2.0]);
    assert_eq!(taken[0].shape(), [3]);
}

#[test]
fn scalars_stay_scalars() {
    let sum = run(&node("Add", 14, 2, &[]), &[Tensor::scalar(1.5_f32), Tensor::scalar(2.0_f32)]);
    let sum = sum.unwrap().unwrap();
    assert_eq!((sum[0].shape(), sum[0].as_slice::<f32>().unwrap()), (&[][..], &[3.5][..]));
    let total = run(
        &node("ReduceSum", 13, 1, &[("keepdims", Attribute::Int(0))]),
        &[Tensor::new([2, 2], vec![1.0_f32; 4])],
    );
    let total = total.unwrap().unwrap();
    assert_eq!((total[0].shape(), total[0].as_slice::<f32>().unwrap()), (&[][..], &[4.0][..]));
}

#[test]
fn not_a_number_stays_one() {
    for op in ["Max", "Min", "Relu", "Clip"] {
        let pair = [Tensor::new([2], vec![f32::NAN, 1.0]), Tensor::new([2], vec![1.0, f32::NAN])];
        let operands = if matches!(op, "Max" | "Min") { &pair[..] } else { &pair[..1] };
        let found = run(&node(op, 13, operands.len(), &[]), operands).unwrap().unwrap();
        let found = found[0].as_slice::<f32>().unwrap();
        assert!(found[0].is_nan() && found[1].is_nan() == (operands.len() == 2), "{op} {found:?}");
    }
}

/// `y = x * x + x` on the device, `z = y * e` with an empty `e` on the host, `n = i + i` of integers on the host.
fn mixed_model() -> Vec<u8> {
    let node = |op: &str, inputs: [&str; 2], output: &str| NodeProto {
        op_type: Some(op.to_owned()),
        input: inputs.map(str::to_owned).to_vec(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let port =
        |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() };
    let graph = GraphProto {
        node: vec![
            node("Mul", ["x", "x"], "s"),
            node("Add", ["s", "x"], "y"),
            node("Mul", ["y", "e"], "z"),
            node("Add", ["i", "i"], "n"),
        ],
        input: ["x", "e", "i"].map(port).to_vec(),
        output: ["y", "z", "n", "x"].map(port).to_vec(),
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { version: Some(14), ..OperatorSetIdProto::default() };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

#[test]
fn what_a_device_cannot_compute_is_computed_on_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, mixed_model()).unwrap();
    let run_on = |device: &Device| {
        let network = Network::open_on(&file, &Limits::default(), device).unwrap();
        let (x, e) = (floats(&[1, 3]), Tensor::new([0, 1], Vec::<f32>::new()));
        let i = Tensor::new([2], vec![i64::MAX, 3]);
        network.run(vec![x.into(), e.into(), i.into()]).unwrap()
    };
    let (here, there) = (run_on(&Device::cpu()), run_on(&flex()));
    for (here, there) in here.into_iter().zip(there) {
        let (here, there) = (here.into_tensor().unwrap(), there.into_tensor().unwrap());
        assert_eq!((here.shape(), here.dtype()), (there.shape(), there.dtype()));
        assert_eq!(here.raw(), there.raw());
    }
}

#[test]
fn a_failing_step_is_an_error_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, mixed_model()).unwrap();
    let network = Network::open_on(&file, &Limits::default(), &flex()).unwrap();
    let (x, e) = (floats(&[1, 3]), Tensor::new([2], vec![1.0_f32; 2]));
    let failed = network.run(vec![x.into(), e.into(), Tensor::scalar(1_i64).into()]).unwrap_err();
    assert!(failed.to_string().contains("do not broadcast"), "{failed}");
}

#[test]
fn a_device_that_is_not_there_is_an_error_of_opening() {
    #[cfg(not(feature = "cuda"))]
    assert!(Device::parse("cuda").is_err());
    let missing = Network::open_on(Path::new("nothing.onnx"), &Limits::default(), &flex());
    assert!(matches!(missing, Err(LoadError::Io { .. })));
}
