//! What the planner puts behind a product or a convolution, written as attributes of the fused node.

use crate::error::OpError;
use crate::graph::{Attribute, Attributes};
use crate::ops::elementwise::pairs::pairwise;
use crate::ops::{BuildError, NodeSpec};
use crate::run::Context;
use crate::tensor::Tensor;
use embermq_kernels::Activation;

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

/// What is added to an output of another shape, as an Add does it; and the activation behind it.
pub(super) fn add_spread(
    out: &Tensor,
    added: &Tensor,
    activation: Activation,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    let sum = pairwise(out, added, context, |a: f32, b: f32| a + b)?;
    let shape = sum.shape().to_vec();
    let mut elements = sum.into_vec::<f32>()?;
    activation.apply_to(&mut elements);
    Ok(Tensor::new(shape, elements))
}
