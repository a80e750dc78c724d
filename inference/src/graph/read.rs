//! `ModelProto` to [`Graph`]. Everything that is wrong is collected; nothing ends the reading but a limit.

use std::collections::{HashMap, HashSet};

use prost::Message as _;

use super::sort::in_order;
use super::{Attribute, Attributes, Graph, Node, ValueId, ValueInfo, ValueType, function, types};
use crate::byte_count::ByteCount;
use crate::error::{PROBLEMS_MAX, Problem};
use crate::limits::Limits;
use crate::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, ValueInfoProto, attribute_proto::AttributeType,
};
use crate::onnx::{ExternalData, read_tensor};
use crate::ops::signature::{self, Count};

/// Reads a model's graph. Problems are appended; the graph is complete only when there are none.
pub(crate) fn read_model(
    model: &ModelProto,
    external: &mut ExternalData,
    limits: &Limits,
    problems: &mut Vec<Problem>,
) -> Graph {
    let mut reader = Reader {
        functions: HashMap::new(),
        opsets: vec![Opsets::read(&model.opset_import)],
        external,
        limits,
        problems,
        nodes: 0,
        calls: 0,
        body_bytes: 0,
        weight_bytes: 0,
        stopped: false,
        frames: Vec::new(),
        newer: HashSet::new(),
    };
    model.functions.iter().for_each(|function| reader.function(function));
    let empty = GraphProto::default();
    let graph = reader.graph(model.graph.as_ref().unwrap_or(&empty), 0, 0);
    graph.unwrap_or_default()
}

/// The default domain has two spellings.
fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// Versions of operator sets by domain.
struct Opsets<'a>(HashMap<&'a str, i64>);

impl<'a> Opsets<'a> {
    fn read(imports: &'a [OperatorSetIdProto]) -> Self {
        Self(imports.iter().map(|import| (plain(import.domain()), import.version())).collect())
    }
}

/// Bytes of function bodies, as the file has them, that may be put in place of calls.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A function of the model.
#[derive(Clone, Copy)]
struct Function<'a> {
    proto: &'a FunctionProto,
    /// Which operator sets it is written in: a place in [`Reader::opsets`].
    opsets: usize,
    bytes: usize,
}

/// A node with the bodies of functions in place of their calls.
struct Expanded {
    proto: NodeProto,
    /// The version of its operator set.
    version: i64,
    /// Which operator sets its subgraphs are written in.
    opsets: usize,
}

struct Reader<'a> {
    /// By domain, name and overload.
    functions: HashMap<(&'a str, &'a str, &'a str), Function<'a>>,
    /// The model's own operator sets, then those of its functions.
    opsets: Vec<Opsets<'a>>,
    external: &'a mut ExternalData,
    limits: &'a Limits,
    problems: &'a mut Vec<Problem>,
    nodes: usize,
    /// Function calls so far: makes names of bodies distinct.
    calls: usize,
    body_bytes: usize,
    weight_bytes: u64,
    /// A limit was met: nothing more is read.
    stopped: bool,
    /// The graphs that are being read, the outermost first.
    frames: Vec<Frame>,
    /// Operator sets that are newer than those known, by domain and version.
    newer: HashSet<(String, i64)>,
}

#[derive(Default)]
struct Frame {
    graph: Graph,
    names: HashMap<String, ValueId>,
    /// For each value that was captured, what it is in the frame around.
    captured: Vec<(ValueId, ValueId)>,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.stop(format!("there are more than {PROBLEMS_MAX} problems"));
        }
    }

    /// An operator of a version that is not known here may mean something else than those that are. Said once; sets that are only imported
    /// do no harm.
    fn check_version(&mut self, domain: &str, version: i64) {
        let Some(newest) = signature::newest(domain).filter(|newest| version > *newest) else {
            return;
        };
        if self.newer.insert((domain.to_owned(), version)) {
            let domain = domain.to_owned();
            self.problem(Problem::UnsupportedVersion { domain, version, newest });
        }
    }

    fn function(&mut self, proto: &'a FunctionProto) {
        let opsets = self.opsets.len();
        self.opsets.push(Opsets::read(&proto.opset_import));
        let key = (plain(proto.domain()), proto.name(), proto.overload());
        let function = Function { proto, opsets, bytes: proto.encoded_len() };
        if self.functions.insert(key, function).is_some() {
            let what = format!("two functions are called {:?}", proto.name());
            self.problem(Problem::InvalidGraph { what });
        }
    }

    fn graph(&mut self, proto: &GraphProto, opsets: usize, depth: usize) -> Option<Graph> {
        self.frames.push(Frame::default());
        for tensor in &proto.initializer {
            self.initializer(tensor);
        }
        for sparse in &proto.sparse_initializer {
            let tensor = sparse.values.as_ref().map(|values| values.name().to_owned());
            let what = "sparse initializers are not supported".to_owned();
            self.problem(Problem::InvalidTensor { tensor: tensor.unwrap_or_default(), what });
        }
        for info in &proto.input {
            self.input(info);
        }
        let mut protos = Vec::new();
        self.expand(&proto.node, opsets, depth, &mut protos);
        for node in &protos {
            for output in node.proto.output.iter().filter(|name| !name.is_empty()) {
                self.define(output, None);
            }
        }
        let mut nodes = Vec::with_capacity(protos.len());
        for node in &protos {
            if self.stopped {
                break;
            }
            nodes.push(self.node(node, depth));
        }
        for info in &proto.output {
            self.output(info);
        }
        let frame = self.frames.pop()?;
        let mut graph = frame.graph;
        match in_order(nodes) {
            Ok(nodes) => graph.nodes = nodes,
            Err(stuck) => {
                let names = stuck.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
                let what = format!("{} nodes wait for each other in a cycle: {names}", stuck.len());
                self.problem(Problem::InvalidGraph { what });
            }
        }
        if self.frames.is_empty() {
            return Some(graph);
        }
        // Captures are numbered by the node that holds the subgraph; until then by the value outside.
        graph.captured =
            frame.captured.iter().map(|(outer, inner)| (outer.index(), *inner)).collect();
        Some(graph)
    }

    fn frame(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn stop(&mut self, what: String) {
        if !self.stopped {
            self.stopped = true;
            self.problems.push(Problem::Limit { what });
        }
    }

    fn define(&mut self, name: &str, declared: Option<ValueType>) -> ValueId {
        let frame = self.frame();
        let info = ValueInfo { name: name.to_owned(), constant: None, declared };
        let id = frame.graph.add_value(info);
        if frame.names.insert(name.to_owned(), id).is_some() {
            let what = format!("two values are called {name:?}");
            self.problem(Problem::InvalidGraph { what });
        }
        id
    }

    fn initializer(&mut self, proto: &TensorProto) {
        let name = proto.name().to_owned();
        let tensor = self.tensor(proto, &name);
        let id = self.define(&name, None);
        self.frame().graph.values[id.index()].constant = tensor;
    }

    fn tensor(&mut self, proto: &TensorProto, name: &str) -> Option<crate::tensor::Tensor> {
        if self.stopped {
            return None;
        }
        match read_tensor(proto, self.external, self.limits) {
            Ok(tensor) => {
                self.weight_bytes += tensor.bytes() as u64;
                if self.weight_bytes > self.limits.weight_bytes_max {
                    self.stop(format!(
                        "the weights take more than {}",
                        ByteCount(self.limits.weight_bytes_max)
                    ));
                }
                Some(tensor)
            }
            Err(fault) => {
                let (tensor, what) = (name.to_owned(), fault.to_string());
                self.problem(Problem::InvalidTensor { tensor, what });
                None
            }
        }
    }

    fn input(&mut self, info: &ValueInfoProto) {
        // Before IR version 4 initializers were listed as inputs too.
        let known = self.frame().names.get(info.name()).copied();
        if known.is_some_and(|known| !self.frame().graph.inputs.contains(&known)) {
            return;
        }
        let declared = self.declared(info);
        let id = self.define(info.name(), declared);
        self.frame().graph.inputs.push(id);
    }

    /// What is said of an input's or output's type. One that nothing here computes with is a problem.
    fn declared(&mut self, info: &ValueInfoProto) -> Option<ValueType> {
        let proto = info.r#type.as_ref()?;
        if let Some(found) = types::unsupported_in(proto) {
            let value = info.name().to_owned();
            self.problem(Problem::UnsupportedType { value, found });
        }
        Some(ValueType::read(proto))
    }

    fn output(&mut self, info: &ValueInfoProto) {
        let level = self.frames.len().saturating_sub(1);
        let Some(id) = self.resolve(level, info.name()) else {
            let what = format!("output {:?} is made by no node", info.name());
            self.problem(Problem::InvalidGraph { what });
            return;
        };
        let declared = self.declared(info);
        let value = &mut self.frame().graph.values[id.index()];
        if value.declared.is_none() {
            value.declared = declared;
        }
        self.frame().graph.outputs.push(id);
    }

    /// The value of that name in the frame at `level`, captured from around it if need be.
    fn resolve(&mut self, level: usize, name: &str) -> Option<ValueId> {
        if let Some(id) = self.frames.get(level)?.names.get(name) {
            return Some(*id);
        }
        let outer = self.resolve(level.checked_sub(1)?, name)?;
        let frame = &mut self.frames[level];
        let id = frame.graph.add_value(ValueInfo { name: name.to_owned(), ..ValueInfo::default() });
        frame.names.insert(name.to_owned(), id);
        frame.captured.push((outer, id));
        Some(id)
    }

    /// Puts the bodies of functions in place of their calls, and finds each node's version.
    fn expand(
        &mut self,
        nodes: &[NodeProto],
        opsets: usize,
        depth: usize,
        out: &mut Vec<Expanded>,
    ) {
        if depth > self.limits.depth_max {
            return self
                .stop(format!("graphs lie deeper than {} in each other", self.limits.depth_max));
        }
        for node in nodes {
            if self.stopped {
                return;
            }
            let domain = plain(node.domain());
            let key = (domain, node.op_type(), node.overload());
            if let Some(function) = self.functions.get(&key).copied() {
                self.calls += 1;
                self.body_bytes = self.body_bytes.saturating_add(function.bytes);
                if self.calls > self.limits.nodes_max || self.body_bytes > BODY_BYTES_MAX {
                    return self.stop(format!(
                        "it calls functions {} times, with {} bytes of bodies; the limits are {} and {BODY_BYTES_MAX}",
                        self.calls, self.body_bytes, self.limits.nodes_max
                    ));
                }
                let body = function::expand(function.proto, node, self.calls);
                self.expand(&body, function.opsets, depth + 1, out);
                continue;
            }
            self.nodes += 1;
            if self.nodes > self.limits.nodes_max {
                return self.stop(format!("it has more than {} nodes", self.limits.nodes_max));
            }
            let version = self.opsets[opsets].0.get(domain).copied();
            if domain == crate::ops::FUSED_DOMAIN {
                let what = format!("{domain:?} is a domain of this planner's own");
                self.problem(Problem::InvalidGraph { what });
            } else if version.is_none() {
                let what = format!(
                    "{} is used of the domain {domain:?}, which the model does not import",
                    node.op_type()
                );
                self.problem(Problem::InvalidGraph { what });
            }
            let (proto, version) = (node.clone(), version.unwrap_or(1));
            self.check_version(domain, version);
            out.push(Expanded { proto, version, opsets });
        }
    }

    fn node(&mut self, node: &Expanded, depth: usize) -> Node {
        let Expanded { proto, version, opsets } = node;
        let level = self.frames.len().saturating_sub(1);
        let first = proto.output.iter().find(|name| !name.is_empty());
        let name = match proto.name() {
            "" => first.cloned().unwrap_or_default(),
            name => name.to_owned(),
        };
        let mut inputs = Vec::with_capacity(proto.input.len());
        for input in &proto.input {
            if self.stopped {
                break;
            }
            if input.is_empty() {
                inputs.push(None);
                continue;
            }
            let id = self.resolve(level, input);
            if id.is_none() {
                let what = format!("input {input:?} is made by no node");
                let op = proto.op_type().to_owned();
                self.problem(Problem::InvalidNode { op, node: name.clone(), what });
            }
            inputs.push(id);
        }
        let outputs =
            proto.output.iter().map(|output| self.frame().names.get(output).copied()).collect();
        let mut attributes = Attributes::default();
        for attribute in &proto.attribute {
            if let Some(read) = self.attribute(attribute, *opsets, depth) {
                attributes.0.insert(attribute.name().to_owned(), read);
            }
        }
        let count = |names: &[String]| {
            let used = names.iter().rposition(|one| !one.is_empty()).map_or(0, |last| last + 1);
            Count { listed: names.len(), used }
        };
        let faults = signature::faults(
            (plain(proto.domain()), proto.op_type(), *version),
            count(&proto.input),
            count(&proto.output),
            proto.attribute.iter().map(|attribute| attribute.name()),
        );
        for what in faults {
            let op = proto.op_type().to_owned();
            self.problem(Problem::InvalidNode { op, node: name.clone(), what });
        }
        let captured = number_captures(&mut attributes);
        Node {
            domain: plain(proto.domain()).to_owned(),
            op: proto.op_type().to_owned(),
            version: *version,
            name,
            attributes,
            inputs,
            outputs,
            captured,
        }
    }

    fn attribute(
        &mut self,
        proto: &AttributeProto,
        opsets: usize,
        depth: usize,
    ) -> Option<Attribute> {
        let text = |reader: &mut Self, bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec());
            if text.is_err() {
                let what = format!("attribute {:?} is no UTF-8 text", proto.name());
                reader.problem(Problem::InvalidGraph { what });
            }
            text.ok()
        };
        Some(match proto.r#type() {
            AttributeType::Int => Attribute::Int(proto.i()),
            AttributeType::Float => Attribute::Float(proto.f()),
            AttributeType::String => Attribute::Text(text(self, proto.s())?),
            AttributeType::Tensor => {
                Attribute::Tensor(self.tensor(proto.t.as_ref()?, proto.name())?)
            }
            AttributeType::Ints => Attribute::Ints(proto.ints.clone()),
            AttributeType::Floats => Attribute::Floats(proto.floats.clone()),
            AttributeType::Strings => Attribute::Texts(
                proto.strings.iter().map(|bytes| text(self, bytes)).collect::<Option<_>>()?,
            ),
            AttributeType::Tensors => {
                for tensor in &proto.tensors {
                    self.tensor(tensor, proto.name())?;
                }
                Attribute::Tensors
            }
            AttributeType::Graph => {
                Attribute::Graph(Box::new(self.subgraph(proto.g.as_ref()?, opsets, depth)?))
            }
            AttributeType::Graphs => Attribute::Graphs(
                proto
                    .graphs
                    .iter()
                    .map(|graph| self.subgraph(graph, opsets, depth))
                    .collect::<Option<_>>()?,
            ),
            AttributeType::TypeProto => Attribute::Type,
            AttributeType::Undefined
            | AttributeType::SparseTensor
            | AttributeType::SparseTensors
            | AttributeType::TypeProtos => {
                let what =
                    format!("attribute {:?} is of a kind that is not supported", proto.name());
                self.problem(Problem::InvalidGraph { what });
                return None;
            }
        })
    }

    fn subgraph(&mut self, proto: &GraphProto, opsets: usize, depth: usize) -> Option<Graph> {
        if depth >= self.limits.depth_max {
            self.stop(format!("graphs lie deeper than {} in each other", self.limits.depth_max));
            return None;
        }
        self.graph(proto, opsets, depth + 1)
    }
}

/// Gives the captures of a node's subgraphs their places, each value once; says which values they are.
fn number_captures(attributes: &mut Attributes) -> Vec<ValueId> {
    let mut values: Vec<usize> = Vec::new();
    let mut places: HashMap<usize, usize> = HashMap::new();
    for attribute in attributes.0.values_mut() {
        let graphs = match attribute {
            Attribute::Graph(graph) => std::slice::from_mut(&mut **graph),
            Attribute::Graphs(graphs) => graphs.as_mut_slice(),
            _ => continue,
        };
        for (place, _) in graphs.iter_mut().flat_map(|graph| &mut graph.captured) {
            let outer = *place;
            *place = *places.entry(outer).or_insert_with(|| {
                values.push(outer);
                values.len() - 1
            });
        }
    }
    let id = |outer: usize| ValueId(u32::try_from(outer).unwrap_or(u32::MAX));
    values.into_iter().map(id).collect()
}
