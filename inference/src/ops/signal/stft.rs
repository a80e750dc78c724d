//! STFT: <https://onnx.ai/onnx/operators/onnx__STFT.html>

use super::dft::{complex_of, length_of};
use super::fourier::{Complex, Fourier};
use super::window::converted;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

#[derive(Debug)]
struct Stft {
    onesided: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Stft { onesided: spec.flag("onesided", true)? }))
}

impl Operator for Stft {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let signal = inputs.tensor(0)?;
        let (batch, samples, parts) = match signal.shape() {
            [batch, samples] => (*batch, *samples, 1),
            [batch, samples, parts @ (1 | 2)] => (*batch, *samples, *parts),
            other => {
                return Err(OpError::shape(format!(
                    "the signal is {other:?}, it should be batch, samples and one or two parts"
                )));
            }
        };
        if self.onesided && parts == 2 {
            return Err(OpError::unsupported("a one-sided transform of complex numbers"));
        }
        let step = length_of(Some(inputs.tensor(1)?))?.unwrap_or(1);
        let window = inputs.optional(2)?;
        let length = match (length_of(inputs.optional(3)?)?, window) {
            (Some(length), _) => length,
            (None, Some(window)) => window.len(),
            (None, None) => samples,
        };
        let window = window.map(|window| complex_of(window, 1)).transpose()?;
        if window.as_ref().is_some_and(|window| window.len() != length) {
            return Err(OpError::shape("the window has another length than the frames"));
        }
        if length == 0 || length > samples {
            return Err(OpError::shape(format!("frames of {length} in {samples} samples")));
        }
        let frames = 1 + (samples - length) / step;
        let kept = if self.onesided { length / 2 + 1 } else { length };
        let shape = [batch, frames, kept, 2];
        let elements = context.claim(&shape, size_of::<f64>())?;
        let working = Fourier::elements(length).unwrap_or(usize::MAX);
        context.claim(&[working], size_of::<Complex>())?;

        let values = complex_of(signal, parts)?;
        let mut out = Vec::with_capacity(elements);
        let mut row: Vec<Complex> = vec![[0.0; 2]; length];
        let mut fourier = Fourier::new(length, false);
        for signal in values.chunks_exact(samples) {
            for frame in 0..frames {
                let begin = frame * step;
                row.copy_from_slice(&signal[begin..begin + length]);
                for (value, [weight, _]) in row.iter_mut().zip(window.iter().flatten()) {
                    *value = [value[0] * weight, value[1] * weight];
                }
                fourier.transform(&mut row);
                out.extend(row[..kept].iter().flatten());
            }
        }
        Ok(vec![converted(signal.dtype(), shape, &out)?.into()])
    }
}
