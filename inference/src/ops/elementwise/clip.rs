//! Clip: <https://onnx.ai/onnx/operators/onnx__Clip.html>
//!
//! Where the bounds contradict each other the upper one counts. NaN stays.

use half::{bf16, f16};

use super::maths::map_slice;
use super::pointwise::rewrite;
use crate::dtype::{Element, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
enum Clip {
    /// Before version 11: bounds as attributes.
    Attributes {
        low: f32,
        high: f32,
    },
    Operands,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(if spec.version() < 11 {
        Clip::Attributes { low: spec.float("min", f32::MIN)?, high: spec.float("max", f32::MAX)? }
    } else {
        Clip::Operands
    }))
}

impl Operator for Clip {
    fn run(&self, mut inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        use num_traits::AsPrimitive;
        let tensor = inputs.take_tensor(0)?;
        let out = match self {
            Self::Attributes { low, high } => {
                for_dtype!(tensor.dtype(), T in [f32, f64, f16, bf16], {
                    clip::<T>(tensor, Some((*low).as_()), Some((*high).as_()))
                }, else {
                    Err(OpError::Type { expected: "a float type", found: tensor.dtype() })
                })
            }
            Self::Operands => crate::dtype::for_number!(tensor.dtype(), T, {
                let low = bound::<T>(&inputs, 1, &tensor)?;
                let high = bound::<T>(&inputs, 2, &tensor)?;
                clip::<T>(tensor, low, high)
            }, else {
                Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() })
            }),
        };
        Ok(vec![out?.into()])
    }
}

fn bound<T: Element>(inputs: &Inputs, at: usize, tensor: &Tensor) -> Result<Option<T>, OpError> {
    let Some(bound) = inputs.optional(at)? else { return Ok(None) };
    super::pairs::same_type(tensor, bound)?;
    match bound.as_slice::<T>()? {
        [bound] => Ok(Some(*bound)),
        _ => Err(OpError::shape(format!(
            "a bound has shape {:?}, it should be a scalar",
            bound.shape()
        ))),
    }
}

fn clip<T: Element>(tensor: Tensor, low: Option<T>, high: Option<T>) -> Result<Tensor, OpError> {
    match (low, high) {
        (None, None) => Ok(tensor),
        (Some(low), None) => {
            rewrite::<T>(tensor, |values| map_slice(values, |x| if x < low { low } else { x }))
        }
        (None, Some(high)) => {
            rewrite::<T>(tensor, |values| map_slice(values, |x| if x > high { high } else { x }))
        }
        (Some(low), Some(high)) => rewrite::<T>(tensor, |values| {
            map_slice(values, |x| {
                let x = if x < low { low } else { x };
                if x > high { high } else { x }
            });
        }),
    }
}
