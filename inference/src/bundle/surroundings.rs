//! What a manifest talks about: the model's inputs and outputs, and the files beside it.

use bytes::Bytes;

use super::folder::Folder;
use super::section::Section;
use crate::dtype::DType;
use crate::graph::{Dim, ValueType};
use crate::nearest::nearest;
use crate::network::{Network, Port};

/// The model and the folder that a manifest belongs to.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) network: &'a Network,
    pub(crate) folder: Option<&'a Folder>,
}

impl Surroundings<'_> {
    /// The place of the input that a key names; the only input, if the key is not there.
    pub(crate) fn input(&self, section: &Section<'_>, key: &'static str) -> Option<usize> {
        named_or_only(section, key, self.network.inputs(), "input")
    }

    /// The place of the output that a key names; the only output, if the key is not there.
    pub(crate) fn output(&self, section: &Section<'_>, key: &'static str) -> Option<usize> {
        named_or_only(section, key, self.network.outputs(), "output")
    }

    /// The place of the input that a key names, or else of the one called `default`, if there is one.
    pub(crate) fn input_or(
        &self,
        section: &Section<'_>,
        key: &'static str,
        default: &str,
    ) -> Option<usize> {
        if section.has(key) {
            return self.input(section, key);
        }
        self.network.inputs().iter().position(|port| port.name == default)
    }

    /// The bytes of a file that a key names.
    pub(crate) fn file(
        &self,
        section: &Section<'_>,
        key: &'static str,
        name: &str,
        bytes_max: u64,
    ) -> Option<Bytes> {
        let Some(folder) = self.folder else {
            let what = format!(
                "{name:?} cannot be read: a bare model has no folder; put both into one, with a model.toml"
            );
            section.problem(key, what);
            return None;
        };
        match folder.read(name, bytes_max) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                section
                    .problem(key, format!("cannot read {name:?} in the model's folder: {error}"));
                None
            }
        }
    }
}

fn named_or_only(
    section: &Section<'_>,
    key: &'static str,
    ports: &[Port],
    kind: &str,
) -> Option<usize> {
    let list = || {
        let names: Vec<String> = ports.iter().map(|port| format!("{:?}", port.name)).collect();
        names.join(", ")
    };
    if !section.has(key) {
        if ports.len() == 1 {
            return Some(0);
        }
        let what = format!("the model has {} {kind}s, say which one: {}", ports.len(), list());
        section.problem(key, what);
        return None;
    }
    let name = section.text(key)?;
    let found = ports.iter().position(|port| port.name == name);
    if found.is_none() {
        let near = nearest(&name, ports.iter().map(|port| port.name.as_str()));
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        section.problem(key, format!("the model has no {kind} {name:?}, only {}{hint}", list()));
    }
    found
}

/// What a port declares, if that is a tensor: its element type and its axes, as far as they are said.
pub(crate) fn declared(port: &Port) -> (Option<DType>, Option<&[Dim]>) {
    match &port.value_type {
        ValueType::Tensor { dtype, dims } => (*dtype, dims.as_deref()),
        _ => (None, None),
    }
}

/// The size of an axis, if it is always the same.
pub(crate) const fn fixed(dim: &Dim) -> Option<usize> {
    match dim {
        Dim::Size(size) => Some(*size),
        Dim::Named(_) | Dim::Any => None,
    }
}
