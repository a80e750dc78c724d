//! Weights that are not what they say.

use super::{fails, graph, i64s, load, model, node, refused, tensor, value};
use crate::onnx::proto::{ModelProto, TensorProto};

/// A model that adds this tensor, called `w`, to its input.
fn adding(weight: TensorProto) -> ModelProto {
    let mut graph = graph(vec![node("Add", &["x", "w"], &["y"])]);
    graph.initializer.push(weight);
    model(graph)
}

#[test]
fn the_model_that_is_spoilt_here_works() {
    load(&adding(tensor("w", 1, &[2], vec![0; 8]))).unwrap();
}

#[test]
fn a_claim_of_four_gib_in_a_small_file() {
    refused(&adding(tensor("w", 1, &[1 << 30], vec![0; 64])), &["\"w\"", "1073741824"]);
    // Within the limit, and not there.
    refused(&adding(tensor("w", 1, &[1 << 22], vec![0; 64])), &["\"w\"", "16777216", "64"]);
    let typed = TensorProto { raw_data: None, ..tensor("w", 1, &[1 << 22], Vec::new()) };
    refused(&adding(typed), &["\"w\"", "4194304"]);
}

#[test]
fn sizes_whose_product_overflows() {
    for dims in [&[i64::MAX, 2][..], &[1 << 32, 1 << 32], &[i64::MAX, i64::MAX, 4]] {
        refused(&adding(tensor("w", 1, dims, vec![0; 8])), &["\"w\"", "more than"]);
    }
    refused(&adding(tensor("w", 1, &[1; 100], vec![0; 4])), &["\"w\"", "100 axes"]);
}

#[test]
fn negative_sizes() {
    refused(&adding(tensor("w", 1, &[-1], vec![0; 8])), &["\"w\"", "-1"]);
    refused(&adding(tensor("w", 1, &[i64::MIN, 0], Vec::new())), &["\"w\"", "size -9"]);
}

#[test]
fn truncated_weights_and_too_many() {
    for len in [0, 1, 7, 9, 16] {
        refused(&adding(tensor("w", 1, &[2], vec![0; len])), &["\"w\"", "8 bytes"]);
    }
    let mut typed = TensorProto { raw_data: None, ..tensor("w", 1, &[2], Vec::new()) };
    typed.float_data = vec![1.0; 3];
    refused(&adding(typed), &["\"w\"", "2 elements", "3"]);
}

#[test]
fn types_that_are_wrong_or_unknown() {
    for number in [0, 14, 15, 99, -1, i32::MAX] {
        let says = number.to_string();
        refused(&adding(tensor("w", number, &[2], vec![0; 8])), &["\"w\"", &says]);
    }
    // Right in itself, and not what the operator takes with the other.
    fails(&adding(i64s("w", &[1, 2])), &["Add", "f32"]);
    // Strings have no raw form.
    refused(&adding(tensor("w", 8, &[2], vec![0; 2])), &["\"w\""]);
    let mut text = TensorProto { raw_data: None, ..tensor("w", 8, &[1], Vec::new()) };
    text.string_data = vec![vec![0xff, 0xfe].into()];
    refused(&adding(text), &["\"w\"", "UTF-8"]);
}

#[test]
fn two_weights_of_one_name() {
    let mut twice = adding(tensor("w", 1, &[2], vec![0; 8]));
    let graph = twice.graph.as_mut().unwrap();
    graph.initializer.push(tensor("w", 1, &[2], vec![0; 8]));
    refused(&twice, &["two values", "\"w\""]);
}

#[test]
fn a_weight_whose_name_is_an_output_of_a_node() {
    let mut clash = adding(tensor("w", 1, &[2], vec![0; 8]));
    let graph = clash.graph.as_mut().unwrap();
    graph.initializer.push(tensor("y", 1, &[2], vec![0; 8]));
    refused(&clash, &["two values", "\"y\""]);
}

#[test]
fn declared_sizes_that_no_input_can_have() {
    let mut huge = adding(tensor("w", 1, &[2], vec![0; 8]));
    huge.graph.as_mut().unwrap().input = vec![value("x", &[i64::MAX, i64::MAX])];
    let network = load(&huge).unwrap();
    let sizes = crate::Sizes::default();
    let limits = crate::Limits::default();
    assert!(crate::made_up(&network.inputs()[0], &sizes, crate::Fill::Zeros, &limits).is_err());
}

#[test]
fn more_weights_than_a_model_may_have() {
    let mut many = adding(tensor("w", 1, &[2], vec![0; 8]));
    let graph = many.graph.as_mut().unwrap();
    for number in 0..20 {
        let weight = tensor(&format!("w{number}"), 1, &[1 << 20], vec![0; 4 << 20]);
        graph.initializer.push(weight);
    }
    refused(&many, &["the weights take more than 64 MiB"]);
}
