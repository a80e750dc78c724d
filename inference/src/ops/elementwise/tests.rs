//! What the ONNX node tests do not ask: old forms, wrong types, empty tensors, memory that is shared.

use super::FAMILY;
use crate::dtype::DType;
use crate::error::OpError;
use crate::graph::{Attribute, Attributes, Node, ValueId};
use crate::limits::Limits;
use crate::ops::{Build, BuildError, Inputs, NodeSpec, Operator, quantised, text};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Those of quantised numbers and of strings too: they are hardened here together.
fn families() -> impl Iterator<Item = &'static (&'static str, Build)> {
    [FAMILY, quantised::FAMILY, text::FAMILY].into_iter().flatten()
}

fn operator(
    op: &str,
    version: i64,
    attributes: &[(&str, Attribute)],
) -> Result<Box<dyn Operator>, BuildError> {
    let mut set = Attributes::default();
    for (name, attribute) in attributes {
        set.set(name, attribute.clone());
    }
    let node = Node {
        domain: String::new(),
        op: op.to_owned(),
        version,
        name: op.to_owned(),
        attributes: set,
        inputs: vec![Some(ValueId(0))],
        outputs: vec![Some(ValueId(1)), Some(ValueId(2))],
        captured: Vec::new(),
    };
    let build = families().find(|(name, _)| *name == op).unwrap().1;
    build(&NodeSpec { node: &node, limits: &Limits::default() })
}

fn run(operator: &dyn Operator, inputs: Vec<Tensor>) -> Result<Tensor, OpError> {
    let limits = Limits::default();
    let inputs = Inputs(inputs.into_iter().map(|tensor| Some(Value::from(tensor))).collect());
    operator.run(inputs, &mut Context::new(&limits, 0))?.remove(0).into_tensor()
}

fn apply(op: &str, inputs: Vec<Tensor>) -> Result<Tensor, OpError> {
    run(&*operator(op, 22, &[]).unwrap(), inputs)
}

#[test]
fn no_operator_panics_on_operands_of_any_type() {
    let odd = || {
        vec![
            Tensor::strings([1], vec!["x".to_owned()]),
            Tensor::bools([2], [true, false].into_iter()),
            Tensor::new([0, 3], vec![0.0_f32; 0]),
            Tensor::new([usize::MAX, 0, usize::MAX], vec![0_i64; 0]),
            Tensor::scalar(i64::MIN),
            Tensor::scalar(-1_i64),
            Tensor::scalar(f32::NAN),
            Tensor::with_dtype(DType::F8E5M2, [1], vec![0x7c_u8]),
            Tensor::with_dtype(DType::I4, [1], vec![-8_i8]),
        ]
    };
    let attributes = [
        ("direction", Attribute::Text("LEFT".to_owned())),
        ("shape", Attribute::Ints(vec![2])),
        ("to", Attribute::Int(1)),
        ("pattern", Attribute::Text("x+".to_owned())),
        ("mode", Attribute::Text("TFIDF".to_owned())),
        ("pool_int64s", Attribute::Ints(vec![-1])),
        ("ngram_counts", Attribute::Ints(vec![0])),
        ("ngram_indexes", Attribute::Ints(vec![0])),
        ("min_gram_length", Attribute::Int(1)),
        ("max_gram_length", Attribute::Int(1)),
        ("max_skip_count", Attribute::Int(i64::MAX)),
    ];
    for (op, _) in families() {
        let operator = operator(op, 22, &attributes).unwrap();
        assert!(!format!("{operator:?}").is_empty());
        let _ = run(&*operator, vec![]).is_ok();
        for first in odd() {
            let _ = run(&*operator, vec![first.clone()]).is_ok();
            for second in odd() {
                let pair = [first.clone(), second];
                for count in [2, 3, 9] {
                    let operands = pair.iter().cycle().take(count).cloned().collect();
                    let _ = run(&*operator, operands).is_ok();
                }
            }
        }
    }
}

#[test]
fn a_lone_operand_is_written_over_and_a_shared_one_is_not() {
    let shared = Tensor::new([2], vec![-1.0_f32, 2.0]);
    for op in ["Relu", "Abs", "Neg", "Exp", "LeakyRelu", "Clip"] {
        let place = shared.raw().as_ptr();
        let out = apply(op, vec![shared.clone()]).unwrap();
        assert!(op == "Clip" || out.raw().as_ptr() != place, "{op}");
        assert_eq!(shared.as_slice::<f32>().unwrap(), [-1.0, 2.0]);
        let lone = Tensor::new([2], vec![-1.0_f32, 2.0]);
        let place = lone.raw().as_ptr();
        assert_eq!(apply(op, vec![lone]).unwrap().raw().as_ptr(), place, "{op}");
    }
}

#[test]
fn old_forms_mean_what_they_meant() {
    let clip = operator("Clip", 6, &[("max", Attribute::Float(1.0))]).unwrap();
    let out = run(&*clip, vec![Tensor::new([2], vec![-3.0_f32, 3.0])]).unwrap();
    assert_eq!(out.as_slice::<f32>().unwrap(), [-3.0, 1.0]);

    let by_axis = [("broadcast", Attribute::Int(1)), ("axis", Attribute::Int(0))];
    let add = operator("Add", 6, &by_axis).unwrap();
    let whole = || Tensor::new([2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]);
    let row = || Tensor::new([2], vec![10.0_f32, 20.0]);
    let out = run(&*add, vec![whole(), row()]).unwrap();
    assert_eq!(out.as_slice::<f32>().unwrap(), [11.0, 12.0, 23.0, 24.0]);
    assert!(run(&*add, vec![row(), whole()]).is_err());

    let cast = operator("Cast", 1, &[("to", Attribute::Text("INT32".to_owned()))]).unwrap();
    assert_eq!(run(&*cast, vec![row()]).unwrap().as_slice::<i32>().unwrap(), [10, 20]);

    let prelu = operator("PRelu", 6, &[]).unwrap();
    let image = Tensor::new([1, 2, 2], vec![-1.0_f32; 4]);
    let out = run(&*prelu, vec![image, row()]).unwrap();
    assert_eq!(out.as_slice::<f32>().unwrap(), [-10.0, -10.0, -20.0, -20.0]);
}

#[test]
fn integers_do_not_overflow() {
    let ints = |values: Vec<i64>| Tensor::new([values.len()], values);
    let found = |op, left, right| apply(op, vec![ints(left), ints(right)]);
    let numbers = |tensor: Tensor| tensor.as_slice::<i64>().unwrap().to_vec();
    let out = found("Mod", vec![-7, 7, -7, i64::MIN], vec![3, -3, -3, -1]).unwrap();
    assert_eq!(numbers(out), [2, -2, -1, 0]);
    assert!(found("Mod", vec![1], vec![0]).is_err());
    assert!(apply("Mod", vec![Tensor::scalar(1.0_f32), Tensor::scalar(1.0_f32)]).is_err());
    let out = found("Pow", vec![3, -1, -1, 2, i64::MAX], vec![3, -3, -2, -1, 2]).unwrap();
    assert_eq!(numbers(out), [27, -1, 1, 0, 1]);
    assert!(found("Pow", vec![0], vec![-1]).is_err());
    assert_eq!(numbers(apply("Abs", vec![ints(vec![i64::MIN])]).unwrap()), [i64::MIN]);
}

#[test]
fn powers_of_mixed_types_are_of_the_first() {
    let half = Tensor::scalar(0.5_f32);
    let squared = apply("Pow", vec![Tensor::new([2], vec![4_i32, 9]), half.clone()]).unwrap();
    assert_eq!(squared.as_slice::<i32>().unwrap(), [2, 3]);
    let roots = vec![4.0_f32, -0.0, f32::NEG_INFINITY];
    let roots = apply("Pow", vec![Tensor::new([3], roots), half]).unwrap();
    assert_eq!(roots.as_slice::<f32>().unwrap(), [2.0, 0.0, f32::INFINITY]);
}

#[test]
fn nan_is_the_extreme_of_all() {
    for op in ["Min", "Max"] {
        for pair in [[f32::NAN, 1.0], [1.0, f32::NAN]] {
            let out = apply(op, pair.map(Tensor::scalar).to_vec()).unwrap();
            assert!(out.as_slice::<f32>().unwrap()[0].is_nan(), "{op} {pair:?}");
        }
    }
}
