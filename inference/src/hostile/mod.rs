//! Files that are made to do harm. Each must give an error that names the thing, soon, in little memory, and never a panic.

mod bytes;
mod endless;
mod external;
mod functions;
mod graphs;
mod tensors;

use std::path::Path;

use prost::Message as _;

use crate::error::LoadError;
use crate::limits::Limits;
use crate::network::Network;
use crate::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

/// A node of the default domain.
fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        op_type: Some(op.to_owned()),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
    node.attribute.push(attribute);
    node
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind.into()),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(graph), ..attribute(name, AttributeType::Graph) }
}

/// A value of f32 with these sizes.
fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |size: &i64| Dimension {
        value: Some(dimension::Value::DimValue(*size)),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value, ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

/// An output of which nothing is said.
fn untyped(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() }
}

/// A tensor of raw bytes.
fn tensor(name: &str, data_type: i32, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    }
}

fn i64s(name: &str, values: &[i64]) -> TensorProto {
    let dims = [i64::try_from(values.len()).unwrap()];
    TensorProto {
        int64_data: values.to_vec(),
        raw_data: None,
        ..tensor(name, 7, &dims, Vec::new())
    }
}

/// A graph with the input `x` of two f32 and the output `y`.
fn graph(nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        node: nodes,
        input: vec![value("x", &[2])],
        output: vec![untyped("y")],
        ..GraphProto::default()
    }
}

fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { version: Some(21), ..OperatorSetIdProto::default() };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// Small enough that what goes beyond them would be noticed.
fn limits() -> Limits {
    Limits {
        weight_bytes_max: 64 << 20,
        run_bytes_max: 16 << 20,
        live_bytes_max: 64 << 20,
        folded_bytes_max: 1 << 20,
        nodes_max: 10_000,
        iterations_max: 1000,
        ..Limits::default()
    }
}

fn load_in(folder: &Path, model: &ModelProto) -> Result<Network, LoadError> {
    Network::from_bytes(model.encode_to_vec().into(), folder, &limits())
}

fn load(model: &ModelProto) -> Result<Network, LoadError> {
    load_in(Path::new("nowhere"), model)
}

/// The model is refused, and the message says all of this.
#[track_caller]
fn refused(model: &ModelProto, says: &[&str]) {
    refused_in(Path::new("nowhere"), model, says);
}

#[track_caller]
fn refused_in(folder: &Path, model: &ModelProto, says: &[&str]) {
    let message = load_in(folder, model).expect_err("it should be refused").to_string();
    for part in says {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
    assert!(message.len() < 100_000, "a message of {} bytes", message.len());
}

/// The model loads; running it on two ones fails, and the message says all of this.
#[track_caller]
fn fails(model: &ModelProto, says: &[&str]) {
    let network = load(model).expect("it should load");
    let ones = crate::tensor::Tensor::new([2], vec![1.0_f32, 1.0]);
    let message = network.run(vec![ones.into()]).expect_err("it should fail").to_string();
    for part in says {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}
