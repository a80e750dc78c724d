//! Dropout: <https://onnx.ai/onnx/operators/onnx__Dropout.html>

use half::{bf16, f16};
use num_traits::AsPrimitive;

use super::pointwise::rewrite;
use super::twister::Draws;
use crate::dtype::{DType, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Dropout {
    /// Before version 12 the ratio was an attribute, and before 7 whether to train too.
    ratio: f32,
    old_training: bool,
    seed: Option<u32>,
    wants_mask: bool,
    /// Before version 10 the mask was of the operand's type.
    mask_of_operand: bool,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "any number is a seed, as long as it is always the same"
)]
pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let version = spec.version();
    Ok(Box::new(Dropout {
        ratio: if version < 12 { spec.float("ratio", 0.5)? } else { 0.5 },
        old_training: version < 7 && !spec.flag("is_test", false)?,
        seed: spec.int_opt("seed")?.map(|seed| seed as u32),
        wants_mask: spec.wants_output(1),
        mask_of_operand: version < 10,
    }))
}

impl Operator for Dropout {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let ratio = match inputs.optional(1)? {
            None => self.ratio,
            Some(ratio) => match ratio.to_f32s()?.as_slice() {
                [ratio] => *ratio,
                _ => return Err(OpError::shape("the ratio should be a scalar")),
            },
        };
        let training = match inputs.optional(2)? {
            None => self.old_training,
            Some(training) => training.dtype() == DType::Bool && training.raw().contains(&1),
        };
        if training && !(0.0..1.0).contains(&ratio) {
            return Err(OpError::shape(format!(
                "the ratio is {ratio}, it should be from 0 up to 1"
            )));
        }
        let keep = if training && ratio > 0.0 {
            let mut draws = Draws::new(self.seed, context);
            Some((0..tensor.len()).map(|_| draws.unit() >= f64::from(ratio)).collect::<Vec<_>>())
        } else {
            None
        };
        let mask = self.wants_mask.then(|| {
            let shape = tensor.shape();
            match &keep {
                Some(keep) => Tensor::bools(shape, keep.iter().copied()),
                None => Tensor::bools(shape, std::iter::repeat_n(true, tensor.len())),
            }
        });
        let dtype = tensor.dtype();
        let out = match keep {
            Some(keep) => dropped(tensor, &keep, ratio)?,
            None => tensor,
        };
        let mask = match mask {
            Some(mask) if self.mask_of_operand => Some(super::cast::convert(mask, dtype, context)?),
            other => other,
        };
        Ok(std::iter::once(out).chain(mask).map(Value::from).collect())
    }

    fn is_pure(&self) -> bool {
        false
    }
}

/// Zeros where an element is not kept; the others grow so that the sum stays about the same.
fn dropped(tensor: Tensor, keep: &[bool], ratio: f32) -> Result<Tensor, OpError> {
    for_dtype!(tensor.dtype(), T in [f32, f64, f16, bf16], {
        let scale: T = (1.0 / (1.0 - f64::from(ratio))).as_();
        let zero = <T as crate::dtype::Element>::ZERO;
        rewrite::<T>(tensor, |values| {
            for (value, keep) in values.iter_mut().zip(keep) {
                *value = if *keep { *value * scale } else { zero };
            }
        })
    }, else {
        Err(OpError::Type { expected: "a float type", found: tensor.dtype() })
    })
}
