//! What a model file says of itself, whether or not it can be run: operators, ports, weights, metadata.
//!
//! Everything here is read off the messages; nothing is checked but that they decode.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::dtype::DType;
use crate::error::LoadError;
use crate::graph::ValueType;
use crate::limits::Limits;
use crate::network::Port;
use crate::onnx::ModelFile;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::ops;
use crate::tensor::elements_of;

/// How often an operator stands in a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorUse {
    /// Nodes, those of subgraphs and of function bodies among them.
    pub nodes: usize,
    /// It is one of the model's own functions.
    pub is_function: bool,
    /// An operator of that name is implemented. Whether with these attributes, loading says.
    pub is_known: bool,
}

/// What a model file says of itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description {
    /// Bytes of the model file; external data is not counted.
    pub file_bytes: u64,
    /// Version of the file format.
    pub ir_version: i64,
    /// Versions of operator sets by domain; the default domain is empty.
    pub opsets: BTreeMap<String, i64>,
    /// Program that wrote it, and that program's version.
    pub producer: (String, String),
    /// The version that the author gave it.
    pub model_version: i64,
    /// Free text.
    pub doc: String,
    /// The graph's name.
    pub graph: String,
    /// The author's entries, key by key.
    pub metadata: Vec<(String, String)>,
    /// Inputs that have to be given.
    pub inputs: Vec<Port>,
    /// Outputs.
    pub outputs: Vec<Port>,
    /// Operators by name, with their domain where that is not the default one.
    pub operators: BTreeMap<String, OperatorUse>,
    /// Weights: tensors that the file holds or refers to.
    pub weights: usize,
    /// Bytes that they take in memory.
    pub weight_bytes: u64,
    /// The largest depth of graphs within graphs.
    pub depth: usize,
}

impl Description {
    /// Reads a model file.
    ///
    /// # Errors
    /// [`LoadError`] when it cannot be read or is no ONNX file.
    pub fn read(path: &Path, limits: &Limits) -> Result<Self, LoadError> {
        let file = ModelFile::open(path, limits)?;
        Ok(Self::of(&file.proto, file.mapping.bytes().len() as u64, limits))
    }

    fn of(model: &ModelProto, file_bytes: u64, limits: &Limits) -> Self {
        let empty = GraphProto::default();
        let graph = model.graph.as_ref().unwrap_or(&empty);
        // Before IR version 4 weights were listed as inputs too.
        let weights: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
        let is_given = |info: &&ValueInfoProto| !weights.contains(info.name());
        let opset = |import: &crate::onnx::proto::OperatorSetIdProto| {
            (plain(import.domain()).to_owned(), import.version())
        };
        let entry = |entry: &crate::onnx::proto::StringStringEntryProto| {
            (entry.key().to_owned(), entry.value().to_owned())
        };
        let mut this = Self {
            file_bytes,
            ir_version: model.ir_version(),
            opsets: model.opset_import.iter().map(opset).collect(),
            producer: (model.producer_name().to_owned(), model.producer_version().to_owned()),
            model_version: model.model_version(),
            doc: model.doc_string().to_owned(),
            graph: graph.name().to_owned(),
            metadata: model.metadata_props.iter().map(entry).collect(),
            inputs: graph.input.iter().filter(is_given).map(port).collect(),
            outputs: graph.output.iter().map(port).collect(),
            operators: BTreeMap::new(),
            weights: 0,
            weight_bytes: 0,
            depth: 0,
        };
        this.count_graph(graph, 1, limits);
        for function in &model.functions {
            this.count_nodes(&function.node, 1, limits);
        }
        for function in &model.functions {
            let name = full_name(function.domain(), function.name());
            if let Some(entry) = this.operators.get_mut(&name) {
                entry.is_function = true;
            }
        }
        this
    }

    fn count_graph(&mut self, graph: &GraphProto, depth: usize, limits: &Limits) {
        // What lies deeper is refused when it is loaded.
        if depth > limits.depth_max {
            return;
        }
        self.depth = self.depth.max(depth);
        graph.initializer.iter().for_each(|tensor| self.count_weight(tensor));
        self.count_nodes(&graph.node, depth, limits);
    }

    fn count_nodes(&mut self, nodes: &[NodeProto], depth: usize, limits: &Limits) {
        for node in nodes {
            let name = full_name(node.domain(), node.op_type());
            let entry = self.operators.entry(name).or_insert_with(|| OperatorUse {
                is_known: ops::find(plain(node.domain()), node.op_type()).is_some(),
                ..OperatorUse::default()
            });
            entry.nodes += 1;
            for attribute in &node.attribute {
                attribute.t.iter().chain(&attribute.tensors).for_each(|t| self.count_weight(t));
                let graphs = attribute.g.iter().chain(&attribute.graphs);
                graphs.for_each(|graph| self.count_graph(graph, depth + 1, limits));
            }
        }
    }

    fn count_weight(&mut self, tensor: &TensorProto) {
        let shape: Vec<usize> =
            tensor.dims.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
        let width = DType::from_onnx(tensor.data_type()).map_or(0, DType::bytes);
        let bytes = elements_of(&shape).and_then(|elements| elements.checked_mul(width));
        self.weights += 1;
        self.weight_bytes =
            self.weight_bytes.saturating_add(bytes.map_or(u64::MAX, |bytes| bytes as u64));
    }
}

fn port(info: &ValueInfoProto) -> Port {
    let value_type = info.r#type.as_ref().map_or(ValueType::Unknown, ValueType::read);
    Port { name: info.name().to_owned(), value_type }
}

/// The default domain has two spellings.
fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn full_name(domain: &str, op: &str) -> String {
    match plain(domain) {
        "" => op.to_owned(),
        domain => format!("{domain}.{op}"),
    }
}
