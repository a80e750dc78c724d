//! Adagrad, Adam, Momentum: <https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adam.html>
//!
//! All of them take a learning rate, the number of updates so far, and then groups of tensors of the same length: what is optimised,
//! its gradients, and one or two groups of state. They give back all groups but the gradients.

use num_traits::Float;

use crate::dtype::{Element, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Operands before the groups.
const LEADING: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Rule {
    Adagrad { decay_factor: f64, epsilon: f64 },
    Adam { alpha: f64, beta: f64, epsilon: f64, norm_coefficient_post: f64 },
    Momentum { alpha: f64, beta: f64, nesterov: bool },
}

#[derive(Debug)]
struct Optimiser {
    rule: Rule,
    norm_coefficient: f64,
}

impl Rule {
    /// Groups of state.
    const fn states(self) -> usize {
        match self {
            Self::Adam { .. } => 2,
            Self::Adagrad { .. } | Self::Momentum { .. } => 1,
        }
    }
}

fn build(spec: &NodeSpec<'_>, rule: Rule) -> Result<Box<dyn Operator>, BuildError> {
    let groups = LEADING + rule.states();
    let grouped = spec.input_count().saturating_sub(LEADING);
    if grouped == 0 || !grouped.is_multiple_of(groups) {
        return Err(BuildError::invalid(format!(
            "it has {} operands, it should have {LEADING} and a multiple of {groups}",
            spec.input_count()
        )));
    }
    let norm_coefficient = f64::from(spec.float("norm_coefficient", 0.0)?);
    Ok(Box::new(Optimiser { rule, norm_coefficient }))
}

fn required(spec: &NodeSpec<'_>, name: &str) -> Result<f64, BuildError> {
    let value = spec.float_opt(name)?;
    value
        .map(f64::from)
        .ok_or_else(|| BuildError::invalid(format!("attribute {name:?} is missing")))
}

pub(super) fn build_adagrad(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let decay_factor = f64::from(spec.float("decay_factor", 0.0)?);
    let epsilon = f64::from(spec.float("epsilon", 1e-6)?);
    build(spec, Rule::Adagrad { decay_factor, epsilon })
}

pub(super) fn build_adam(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let alpha = f64::from(spec.float("alpha", 0.9)?);
    let beta = f64::from(spec.float("beta", 0.999)?);
    // The specification's default and the one of its own test data are not the same.
    let Some(epsilon) = spec.float_opt("epsilon")?.map(f64::from) else {
        return Err(BuildError::unsupported("Adam without epsilon"));
    };
    let norm_coefficient_post = f64::from(spec.float("norm_coefficient_post", 0.0)?);
    build(spec, Rule::Adam { alpha, beta, epsilon, norm_coefficient_post })
}

pub(super) fn build_momentum(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let (alpha, beta) = (required(spec, "alpha")?, required(spec, "beta")?);
    let nesterov = match spec.text_opt("mode")? {
        Some("standard") => false,
        Some("nesterov") => true,
        Some(other) => {
            let what = format!("mode is {other:?}, it should be \"standard\" or \"nesterov\"");
            return Err(BuildError::invalid(what));
        }
        None => return Err(BuildError::invalid("attribute \"mode\" is missing")),
    };
    required(spec, "norm_coefficient")?;
    build(spec, Rule::Momentum { alpha, beta, nesterov })
}

impl Operator for Optimiser {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let rate = single(&inputs.tensor(0)?.to_f32s()?)?;
        let updates = single(&inputs.tensor(1)?.to_i64s()?)?;
        let states = self.rule.states();
        let members = inputs.len().saturating_sub(LEADING) / (LEADING + states);
        let mut groups: Vec<Vec<Value>> = vec![Vec::with_capacity(members); 1 + states];
        for member in 0..members {
            let at = |group: usize| inputs.tensor(LEADING + group * members + member);
            let operands = (0..2 + states).map(at).collect::<Result<Vec<_>, _>>()?;
            let shape = operands[0].shape();
            if operands.iter().any(|operand| operand.shape() != shape) {
                return Err(OpError::shape("what is optimised and its state differ in shape"));
            }
            let updated = for_dtype!(operands[0].dtype(), T in [f32, f64], {
                self.update::<T>(rate, updates, &operands)?
            }, else {
                return Err(OpError::Type { expected: "f32 or f64", found: operands[0].dtype() });
            });
            for (group, tensor) in groups.iter_mut().zip(updated) {
                group.push(tensor.into());
            }
        }
        Ok(groups.into_iter().flatten().collect())
    }
}

fn single<T: Copy>(elements: &[T]) -> Result<T, OpError> {
    match elements {
        [one] => Ok(*one),
        many => Err(OpError::shape(format!("{} elements where one is wanted", many.len()))),
    }
}

impl Optimiser {
    /// One tensor: its new value, then its new state.
    fn update<T: Element + Float>(
        &self,
        rate: f32,
        updates: i64,
        operands: &[&Tensor],
    ) -> Result<Vec<Tensor>, OpError> {
        let float = |value: f64| T::from(value).unwrap_or_else(T::nan);
        let slices = operands
            .iter()
            .map(|operand| operand.as_slice::<T>())
            .collect::<Result<Vec<_>, _>>()?;
        let shape = operands.first().map(|first| first.shape()).unwrap_or_default();
        let [x, gradients, states @ ..] = slices.as_slice() else {
            return Err(OpError::Missing(LEADING));
        };
        let norm = float(self.norm_coefficient);
        let regularised = x.iter().zip(*gradients).map(|(x, g)| (*x, norm * *x + *g));
        let rate = f64::from(rate);
        #[expect(clippy::cast_precision_loss, reason = "so the specification reads it")]
        let count = updates as f64;
        match (self.rule, states) {
            (Rule::Adagrad { decay_factor, epsilon }, [h]) => {
                let (rate, epsilon) = (float(rate / (1.0 + count * decay_factor)), float(epsilon));
                let step = regularised.zip(*h).map(|((x, g), h)| {
                    let h = *h + g * g;
                    (x - rate * g / (h.sqrt() + epsilon), h)
                });
                let (x, h): (Vec<T>, Vec<T>) = step.unzip();
                Ok(vec![Tensor::new(shape, x), Tensor::new(shape, h)])
            }
            (Rule::Momentum { alpha, beta, nesterov }, [v]) => {
                let (rate, alpha) = (float(rate), float(alpha));
                let beta = float(if updates > 0 { beta } else { 1.0 });
                let step = regularised.zip(*v).map(|((x, g), v)| {
                    let v = alpha * *v + beta * g;
                    (x - rate * if nesterov { g + alpha * v } else { v }, v)
                });
                let (x, v): (Vec<T>, Vec<T>) = step.unzip();
                Ok(vec![Tensor::new(shape, x), Tensor::new(shape, v)])
            }
            (Rule::Adam { alpha, beta, epsilon, norm_coefficient_post }, [v, h]) => {
                let corrected = if updates > 0 {
                    rate * (1.0 - beta.powf(count)).sqrt() / (1.0 - alpha.powf(count))
                } else {
                    rate
                };
                let (rate, epsilon) = (float(corrected), float(epsilon));
                let (alpha, beta) = (float(alpha), float(beta));
                let kept = T::one() - float(norm_coefficient_post);
                let mut out = [Vec::new(), Vec::new(), Vec::new()];
                for (((x, g), v), h) in regularised.zip(*v).zip(*h) {
                    let v = alpha * *v + (T::one() - alpha) * g;
                    let h = beta * *h + (T::one() - beta) * (g * g);
                    out[0].push(kept * (x - rate * (v / (h.sqrt() + epsilon))));
                    out[1].push(v);
                    out[2].push(h);
                }
                Ok(out.into_iter().map(|elements| Tensor::new(shape, elements)).collect())
            }
            _ => Err(OpError::Missing(LEADING)),
        }
    }
}
