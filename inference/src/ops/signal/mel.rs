//! MelWeightMatrix: <https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html>
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "frequencies become bins, which are checked before they are used"
)]

use super::window::{converted, output_dtype, scalar_i64};
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct MelWeightMatrix {
    dtype: DType,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(MelWeightMatrix { dtype: output_dtype(spec)? }))
}

fn positive(tensor: &Tensor, what: &str) -> Result<usize, OpError> {
    let value = scalar_i64(tensor)?;
    usize::try_from(value)
        .ok()
        .filter(|value| (1..=u32::MAX as usize).contains(value))
        .ok_or_else(|| OpError::shape(format!("{what} is {value}, it should be positive")))
}

fn hertz(tensor: &Tensor) -> Result<f64, OpError> {
    match tensor.to_f32s()?.as_slice() {
        [one] if one.is_finite() && *one >= 0.0 => Ok(f64::from(*one)),
        other => Err(OpError::shape(format!("{other:?} where one frequency is wanted"))),
    }
}

impl Operator for MelWeightMatrix {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let mel_bins = positive(inputs.tensor(0)?, "the number of mel bins")?;
        let dft_length = positive(inputs.tensor(1)?, "the length of the transform")?;
        let sample_rate = positive(inputs.tensor(2)?, "the sample rate")?;
        let (low, high) = (hertz(inputs.tensor(3)?)?, hertz(inputs.tensor(4)?)?);
        let bins = dft_length / 2 + 1;
        let elements = context.claim(&[bins, mel_bins], size_of::<f64>())?;

        let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
        let step = (mel(high) - mel(low)) / (mel_bins + 2) as f64;
        let edge = |at: usize| -> Result<usize, OpError> {
            let hertz = 700.0 * (10_f64.powf((at as f64).mul_add(step, mel(low)) / 2595.0) - 1.0);
            let bin = ((dft_length + 1) as f64 * hertz / sample_rate as f64).floor();
            if bin >= 0.0 && bin < bins as f64 {
                Ok(bin as usize)
            } else {
                Err(OpError::shape(format!("{hertz} Hz is beyond half the sample rate")))
            }
        };
        let mut out = vec![0.0; elements];
        for column in 0..mel_bins {
            let (left, centre, right) = (edge(column)?, edge(column + 1)?, edge(column + 2)?);
            let mut set = |bin: usize, weight: f64| out[bin * mel_bins + column] = weight;
            if centre == left {
                set(centre, 1.0);
            }
            for bin in left..=centre {
                if centre > left {
                    set(bin, (bin - left) as f64 / (centre - left) as f64);
                }
            }
            for bin in centre..right {
                set(bin, (right - bin) as f64 / (right - centre) as f64);
            }
        }
        Ok(vec![converted(self.dtype, [bins, mel_bins], &out)?.into()])
    }
}
