//! Functions of a model, put in place of the nodes that call them.
//!
//! Names within a body get a prefix that no name of a file has; references to the function's attributes get the
//! values of the call.

use std::collections::HashMap;

use crate::onnx::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};

/// Not a character of names in practice, and never the first of one here.
const SEPARATOR: char = '\u{1f}';

/// The nodes of a function's body as they stand in for one call.
pub(super) fn expand(function: &FunctionProto, call: &NodeProto, number: usize) -> Vec<NodeProto> {
    let prefix = format!("{SEPARATOR}{number}{SEPARATOR}");
    let mut names: HashMap<&str, String> = HashMap::new();
    for (formals, actuals) in [(&function.input, &call.input), (&function.output, &call.output)] {
        for (at, formal) in formals.iter().enumerate() {
            // What the call leaves out is left out within.
            let actual = actuals.get(at).cloned().unwrap_or_default();
            let unused_output = actual.is_empty() && std::ptr::eq(formals, &function.output);
            let name = if unused_output { format!("{prefix}{formal}") } else { actual };
            names.insert(formal, name);
        }
    }
    let mut attributes: HashMap<&str, &AttributeProto> =
        function.attribute_proto.iter().map(|proto| (proto.name(), proto)).collect();
    attributes.extend(call.attribute.iter().map(|proto| (proto.name(), proto)));
    let body = Body { prefix: &prefix, names: &names, attributes: &attributes };
    function.node.iter().map(|node| body.node(node)).collect()
}

struct Body<'a> {
    prefix: &'a str,
    names: &'a HashMap<&'a str, String>,
    attributes: &'a HashMap<&'a str, &'a AttributeProto>,
}

impl Body<'_> {
    fn name(&self, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        self.names.get(name).cloned().unwrap_or_else(|| format!("{}{name}", self.prefix))
    }

    fn node(&self, node: &NodeProto) -> NodeProto {
        let mut node = node.clone();
        node.input = node.input.iter().map(|name| self.name(name)).collect();
        node.output = node.output.iter().map(|name| self.name(name)).collect();
        node.attribute = node.attribute.iter().filter_map(|proto| self.attribute(proto)).collect();
        node
    }

    /// `None`: it refers to an attribute that the call does not set and that has no default.
    fn attribute(&self, proto: &AttributeProto) -> Option<AttributeProto> {
        let mut attribute = match proto.ref_attr_name() {
            "" => proto.clone(),
            outer => {
                let mut value = (*self.attributes.get(outer)?).clone();
                value.name = proto.name.clone();
                return Some(value);
            }
        };
        if let Some(graph) = &mut attribute.g {
            self.graph(graph);
        }
        attribute.graphs.iter_mut().for_each(|graph| self.graph(graph));
        Some(attribute)
    }

    /// Renames everything within, so that nothing is met by accident.
    fn graph(&self, graph: &mut GraphProto) {
        graph.node = graph.node.iter().map(|node| self.node(node)).collect();
        for info in graph.input.iter_mut().chain(&mut graph.output) {
            info.name = info.name.as_ref().map(|name| self.name(name));
        }
        for tensor in &mut graph.initializer {
            tensor.name = tensor.name.as_ref().map(|name| self.name(name));
        }
    }
}
