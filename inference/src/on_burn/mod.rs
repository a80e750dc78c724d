//! Operators on a device of burn: <https://burn.dev>
//!
//! A network on a device is the same plan as on the CPU, and in addition each step may have a [`Form`]: the operator in terms of burn's
//! rank-free primitives. A form covers what matters on GPUs and only where burn computes what ONNX asks for; for everything else it
//! gives way to the host's operator, so every model runs on every device with the same answers. Values are moved between host and
//! device when somebody needs them on the other side. Shapes, axes and indices stay on the host: integers are no reason to leave it.
//!
//! Families here are those of [`ops`](crate::ops), each operator by name with a function that reads the node, once, at load.

mod activation;
mod arithmetic;
mod comparison;
mod convolution;
mod form;
mod linear;
mod moving;
mod normalisation;
mod operands;
mod pooling;
mod reduction;
mod resize;
mod run;
mod shaping;
mod slicing;
mod target;
mod tensor;
#[cfg(test)]
mod tests;
mod window;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use form::Form;
pub(crate) use run::DevicePlan;
pub(crate) use target::Target;
pub(crate) use tensor::DeviceTensor;

use crate::graph::Node;
use crate::limits::Limits;
use crate::ops::NodeSpec;
use form::BuildForm;

type Family = &'static [(&'static str, BuildForm)];

const FAMILIES: &[Family] = &[
    activation::FAMILY,
    arithmetic::FAMILY,
    comparison::FAMILY,
    convolution::FAMILY,
    linear::FAMILY,
    moving::FAMILY,
    normalisation::FAMILY,
    pooling::FAMILY,
    reduction::FAMILY,
    resize::FAMILY,
    shaping::FAMILY,
    slicing::FAMILY,
];

static REGISTRY: LazyLock<HashMap<&'static str, BuildForm>> =
    LazyLock::new(|| FAMILIES.iter().flat_map(|family| family.iter().copied()).collect());

/// The form of a node on devices, if it has one.
pub(crate) fn form_of(node: &Node, limits: &Limits) -> Option<Form> {
    if !node.domain.is_empty() {
        return None;
    }
    REGISTRY.get(node.op.as_str())?(&NodeSpec { node, limits })
}
