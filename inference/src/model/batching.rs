//! Which payloads may run together.
//!
//! Without a word in the manifest, a model batches along axis 0 if the file says that it can: every input and every output declares that
//! axis as varying, under one name. Models with `DynamicQuantizeLinear` take their scales from the whole batch, so that payloads
//! change each other's answers: they run one by one unless `batch.max` says otherwise.

use crate::bundle::{Section, Surroundings, declared};
use crate::graph::Dim;
use crate::network::Port;

/// Payloads that run together, where nobody says otherwise: more gains little on a CPU.
const BATCH_MAX: usize = 8;

/// No manifest asks for more, and no model of fixed size is filled up to more.
pub(super) const BATCH_LIMIT: usize = 1 << 16;

/// The operator whose result depends on everything in the batch.
const BATCH_SCALED: &str = "DynamicQuantizeLinear";

/// What may run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batching {
    /// The axis of the inputs and outputs along which payloads lie. `None`: they have none.
    pub(crate) axis: Option<usize>,
    pub(crate) size: Size,
}

/// How many rows a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// 1 to this many.
    UpTo(usize),
    /// Always this many; what is missing is filled with copies.
    Exactly(usize),
}

impl Batching {
    /// Reads `[batch]`.
    pub(super) fn read(section: Section<'_>, around: &Surroundings<'_>) -> Option<Self> {
        let asked_axis = section.count("axis", 0..=31);
        let asked_max = section.count("max", 1..=BATCH_LIMIT);
        section.finish();
        let axis = asked_axis.unwrap_or(0);
        let (inputs, outputs) = (around.network.inputs(), around.network.outputs());
        let alone = Self { axis: None, size: Size::UpTo(1) };
        match sizes(inputs, axis) {
            Along::Varies => {
                let scaled = around.network.operators().contains_key(BATCH_SCALED);
                let sure = one_name(inputs, outputs, axis) && !scaled;
                let max = asked_max.unwrap_or(if sure { BATCH_MAX } else { 1 });
                Some(Self { axis: Some(axis), size: Size::UpTo(max) })
            }
            Along::Always(1) => {
                if asked_max.is_some_and(|max| max > 1) {
                    section.problem("max", format!("the model takes one row along axis {axis}"));
                    return None;
                }
                Some(Self { axis: Some(axis), size: Size::UpTo(1) })
            }
            Along::Always(size) if asked_axis.is_some() && size > BATCH_LIMIT => {
                let what = format!(
                    "the model takes {size} rows along axis {axis}, the limit is {BATCH_LIMIT}; leave batch.axis out if they are one payload"
                );
                section.problem("axis", what);
                None
            }
            // A first axis of fixed size is as likely to be one of the payload's own.
            Along::Always(size) if asked_axis.is_some() => {
                if asked_max.is_some_and(|max| max != size) {
                    section
                        .problem("max", format!("the model takes {size} rows along axis {axis}"));
                    return None;
                }
                if let Some(without) = outputs.iter().find(|port| is_without(port, axis)) {
                    let what = format!(
                        "the output {:?} has no axis {axis}; leave batch.axis out if the {size} rows are one payload",
                        without.name
                    );
                    section.problem("axis", what);
                    return None;
                }
                Some(Self { axis: Some(axis), size: Size::Exactly(size) })
            }
            Along::Always(_) | Along::Nothing if asked_axis.is_none() => {
                if asked_max.is_some_and(|max| max > 1) {
                    let what = "the model's inputs have no first axis that varies; say batch.axis";
                    section.problem("max", what);
                    return None;
                }
                Some(alone)
            }
            _ => {
                let what = format!("not every input has an axis {axis} that varies or is the same");
                section.problem("axis", what);
                None
            }
        }
    }

    /// The most rows of a run.
    pub(super) const fn max(&self) -> usize {
        match self.size {
            Size::UpTo(max) | Size::Exactly(max) => max,
        }
    }
}

/// What inputs declare along an axis.
enum Along {
    Varies,
    Always(usize),
    /// Not all have it, or they do not agree.
    Nothing,
}

/// Whether a port declares fewer axes.
fn is_without(port: &Port, axis: usize) -> bool {
    declared(port).1.is_some_and(|dims| dims.len() <= axis)
}

fn sizes(inputs: &[Port], axis: usize) -> Along {
    let dims: Option<Vec<&Dim>> =
        inputs.iter().map(|port| declared(port).1.and_then(|dims| dims.get(axis))).collect();
    let Some(dims) = dims.filter(|dims| !dims.is_empty()) else { return Along::Nothing };
    match dims[0] {
        Dim::Size(size) if *size > 0 && dims.iter().all(|dim| *dim == dims[0]) => {
            Along::Always(*size)
        }
        _ if dims.iter().all(|dim| !matches!(dim, Dim::Size(_))) => Along::Varies,
        _ => Along::Nothing,
    }
}

/// Whether inputs and outputs say the same of an axis that varies.
fn one_name(inputs: &[Port], outputs: &[Port], axis: usize) -> bool {
    let mut dims =
        inputs.iter().chain(outputs).map(|port| declared(port).1.and_then(|dims| dims.get(axis)));
    let Some(Some(first)) = dims.next() else { return false };
    dims.all(|dim| dim == Some(first))
}
