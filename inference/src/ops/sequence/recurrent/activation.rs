//! The functions that gates go through.

use super::cell::Cell;
use crate::ops::sequence::product::Real;
use crate::ops::{BuildError, NodeSpec};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Activation {
    Relu,
    Tanh,
    Sigmoid,
    Affine { alpha: f32, beta: f32 },
    LeakyRelu { alpha: f32 },
    ThresholdedRelu { alpha: f32 },
    ScaledTanh { alpha: f32, beta: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
    Elu { alpha: f32 },
    Softsign,
    Softplus,
}

/// Parameters that are used up in the order of the functions that take them.
struct Parameters<'a> {
    name: &'static str,
    left: &'a [f32],
}

impl Parameters<'_> {
    fn next(&mut self, default: Option<f32>) -> Result<f32, BuildError> {
        if let Some((first, rest)) = self.left.split_first() {
            self.left = rest;
            return Ok(*first);
        }
        default.ok_or_else(|| {
            BuildError::unsupported(format!("an activation without its {}", self.name))
        })
    }
}

/// The activations of each direction.
pub(super) fn read(
    spec: &NodeSpec<'_>,
    cell: Cell,
    directions: usize,
) -> Result<Vec<Vec<Activation>>, BuildError> {
    let defaults = cell.activations();
    let wanted = defaults.len() * directions;
    let Some(names) = spec.texts_opt("activations")?.filter(|names| !names.is_empty()) else {
        return Ok(vec![defaults.to_vec(); directions]);
    };
    // Files for one direction sometimes name those for two.
    if names.len() != wanted && names.len() != 2 * defaults.len() {
        return Err(BuildError::invalid(format!(
            "it has {} activations, it should have {wanted}",
            names.len()
        )));
    }
    let mut alphas = Parameters {
        name: "activation_alpha",
        left: spec.floats_opt("activation_alpha")?.unwrap_or_default(),
    };
    let mut betas = Parameters {
        name: "activation_beta",
        left: spec.floats_opt("activation_beta")?.unwrap_or_default(),
    };
    let read = names
        .iter()
        .take(wanted)
        .map(|name| one(name, &mut alphas, &mut betas))
        .collect::<Result<Vec<_>, _>>()?;
    // Then they were not meant in the order of those that take them, and it is anybody's guess how.
    if names.len() == wanted && !(alphas.left.is_empty() && betas.left.is_empty()) {
        return Err(BuildError::unsupported("parameters for activations that take none"));
    }
    Ok(read.chunks(defaults.len()).map(<[Activation]>::to_vec).collect())
}

fn one(
    name: &str,
    alphas: &mut Parameters<'_>,
    betas: &mut Parameters<'_>,
) -> Result<Activation, BuildError> {
    use Activation as A;
    Ok(match name.to_ascii_lowercase().as_str() {
        "relu" => A::Relu,
        "tanh" => A::Tanh,
        "sigmoid" => A::Sigmoid,
        "affine" => A::Affine { alpha: alphas.next(None)?, beta: betas.next(None)? },
        "leakyrelu" => A::LeakyRelu { alpha: alphas.next(Some(0.01))? },
        "thresholdedrelu" => A::ThresholdedRelu { alpha: alphas.next(Some(1.0))? },
        "scaledtanh" => A::ScaledTanh { alpha: alphas.next(None)?, beta: betas.next(None)? },
        "hardsigmoid" => {
            A::HardSigmoid { alpha: alphas.next(Some(0.2))?, beta: betas.next(Some(0.5))? }
        }
        "elu" => A::Elu { alpha: alphas.next(Some(1.0))? },
        "softsign" => A::Softsign,
        "softplus" => A::Softplus,
        _ => return Err(BuildError::unsupported(format!("the activation {name:?}"))),
    })
}

impl Activation {
    /// Applies it to all elements, first bounded by `clip`.
    pub(super) fn apply<T: Real>(self, elements: &mut [T], clip: Option<f32>) {
        if let Some(clip) = clip {
            let clip = T::of(f64::from(clip));
            elements.iter_mut().for_each(|x| *x = x.max(-clip).min(clip));
        }
        let of = |value: f32| T::of(f64::from(value));
        let one = T::ONE;
        let zero = T::ZERO;
        match self {
            Self::Relu => each(elements, |x| x.max(zero)),
            Self::Tanh => each(elements, T::tanh),
            Self::Sigmoid => each(elements, sigmoid),
            Self::Affine { alpha, beta } => each(elements, |x| of(alpha) * x + of(beta)),
            Self::LeakyRelu { alpha } => {
                each(elements, |x| if x >= zero { x } else { of(alpha) * x });
            }
            Self::ThresholdedRelu { alpha } => {
                each(elements, |x| if x > of(alpha) { x } else { zero });
            }
            Self::ScaledTanh { alpha, beta } => {
                each(elements, |x| of(alpha) * (of(beta) * x).tanh());
            }
            Self::HardSigmoid { alpha, beta } => {
                each(elements, |x| (of(alpha) * x + of(beta)).max(zero).min(one));
            }
            Self::Elu { alpha } => {
                each(elements, |x| if x >= zero { x } else { of(alpha) * x.exp_m1() });
            }
            Self::Softsign => each(elements, |x| x / (one + x.abs())),
            Self::Softplus => each(elements, |x| x.max(zero) + (-x.abs()).exp().ln_1p()),
        }
    }
}

fn each<T: Real>(elements: &mut [T], f: impl Fn(T) -> T) {
    elements.iter_mut().for_each(|x| *x = f(*x));
}

fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}
