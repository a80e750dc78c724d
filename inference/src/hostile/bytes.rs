//! Bytes that are no model: cut off, flipped, or made to decode to far more than they are.

use std::path::Path;

use prost::Message as _;

use super::{graph, int, limits, model, node, subgraph, tensor, untyped, with};
use crate::error::LoadError;
use crate::network::Network;
use crate::onnx::proto::GraphProto;

/// A model with one of everything.
fn small() -> Vec<u8> {
    let branch = |op: &str| GraphProto {
        node: vec![node(op, &["g"], &["r"])],
        output: vec![untyped("r")],
        ..GraphProto::default()
    };
    let choice = with(node("If", &["c"], &["y"]), subgraph("then_branch", branch("Relu")));
    let mut graph = graph(vec![
        with(node("Gather", &["w", "at"], &["g"]), int("axis", 0)),
        with(choice, subgraph("else_branch", branch("Neg"))),
    ]);
    graph.initializer.push(tensor("w", 1, &[2, 2], vec![0; 16]));
    graph.initializer.push(super::i64s("at", &[0, 1]));
    graph.initializer.push(tensor("c", 9, &[], vec![1]));
    model(graph).encode_to_vec()
}

fn try_all(bytes: Vec<u8>) {
    let Ok(network) = Network::from_bytes(bytes.into(), Path::new("nowhere"), &limits()) else {
        return;
    };
    let limits = limits();
    let inputs = network
        .inputs()
        .iter()
        .map(|port| crate::made_up(port, &crate::Sizes::default(), crate::Fill::Zeros, &limits));
    let Ok(inputs) = inputs.collect() else { return };
    if let Err(error) = network.run(inputs) {
        assert!(!error.to_string().contains("panicked"), "{error}");
    }
}

#[test]
fn a_model_cut_off_anywhere() {
    let whole = small();
    Network::from_bytes(whole.clone().into(), Path::new("nowhere"), &limits()).unwrap();
    for len in 0..whole.len() {
        try_all(whole[..len].to_vec());
    }
}

#[test]
fn a_model_with_any_byte_changed() {
    let whole = small();
    for at in 0..whole.len() {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            try_all(bytes);
        }
    }
}

#[test]
fn what_is_no_onnx_file() {
    for bytes in [&b""[..], b"PK\x03\x04", b"{}", b"\0\0\0\0", &[0xff; 100]] {
        let error = Network::from_bytes(bytes.to_vec().into(), Path::new("nowhere"), &limits());
        assert!(matches!(error, Err(LoadError::NotOnnx { .. })), "{bytes:?}: {error:?}");
    }
}

#[test]
fn a_file_that_would_decode_to_a_hundred_times_its_size() {
    // Ten million empty nodes: 20 MB of file.
    let graph = [0x0a, 0].repeat(10_000_000);
    let mut file = vec![0x3a];
    prost::encoding::encode_varint(graph.len() as u64, &mut file);
    file.extend(graph);
    let error = Network::from_bytes(file.into(), Path::new("nowhere"), &limits()).unwrap_err();
    assert!(error.to_string().contains("decoding the file"), "{error}");
}

#[test]
fn a_larger_file_than_allowed() {
    let limits = crate::Limits { file_bytes_max: 10, ..limits() };
    let error = Network::from_bytes(small().into(), Path::new("nowhere"), &limits).unwrap_err();
    assert!(error.to_string().contains("may have 10"), "{error}");
}
