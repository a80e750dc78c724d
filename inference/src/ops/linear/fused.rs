//! What the planner puts behind a product or a convolution, written as attributes of the fused node.

use crate::graph::{Attribute, Attributes};
use crate::kernels::Activation;
use crate::ops::{BuildError, NodeSpec};

const NAME: &str = "activation";
const NUMBERS: &str = "activation_numbers";

/// Writes an activation.
pub(crate) fn set_activation(attributes: &mut Attributes, activation: Activation) {
    let (name, numbers) = match activation {
        Activation::None => return,
        Activation::Relu => ("Relu", vec![]),
        Activation::Clip { low, high } => ("Clip", vec![low, high]),
        Activation::Leaky { slope } => ("Leaky", vec![slope]),
        Activation::HardSwish => ("HardSwish", vec![]),
        Activation::HardSigmoid { alpha, beta } => ("HardSigmoid", vec![alpha, beta]),
        Activation::Sigmoid => ("Sigmoid", vec![]),
        Activation::Swish => ("Swish", vec![]),
        Activation::Tanh => ("Tanh", vec![]),
        Activation::Gelu => ("Gelu", vec![]),
        Activation::GeluTanh => ("GeluTanh", vec![]),
    };
    attributes.set(NAME, Attribute::Text(name.to_owned()));
    attributes.set(NUMBERS, Attribute::Floats(numbers));
}

/// Reads what [`set_activation`] wrote.
pub(super) fn activation_of(spec: &NodeSpec<'_>) -> Result<Activation, BuildError> {
    let numbers = spec.floats_opt(NUMBERS)?.unwrap_or(&[]);
    Ok(match (spec.text(NAME, "")?, numbers) {
        ("", _) => Activation::None,
        ("Relu", _) => Activation::Relu,
        ("Clip", [low, high]) => Activation::Clip { low: *low, high: *high },
        ("Leaky", [slope]) => Activation::Leaky { slope: *slope },
        ("HardSwish", _) => Activation::HardSwish,
        ("HardSigmoid", [alpha, beta]) => Activation::HardSigmoid { alpha: *alpha, beta: *beta },
        ("Sigmoid", _) => Activation::Sigmoid,
        ("Swish", _) => Activation::Swish,
        ("Tanh", _) => Activation::Tanh,
        ("Gelu", _) => Activation::Gelu,
        ("GeluTanh", _) => Activation::GeluTanh,
        (other, _) => {
            return Err(BuildError::invalid(format!("no activation is called {other:?}")));
        }
    })
}
