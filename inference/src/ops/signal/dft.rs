//! DFT: <https://onnx.ai/onnx/operators/onnx__DFT.html>
//!
//! `onesided` together with `inverse` makes a real signal of half a spectrum, as the specification says since its version 1.20; older
//! files that mean something else by it are not known.

use super::fourier::{Complex, Fourier};
use super::window::{converted, scalar_i64};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Dft {
    /// Before version 20 an attribute, from then on an operand.
    axis: Option<i64>,
    inverse: bool,
    onesided: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let axis = if spec.version() < 20 { Some(spec.int("axis", 1)?) } else { None };
    let (inverse, onesided) = (spec.flag("inverse", false)?, spec.flag("onesided", false)?);
    Ok(Box::new(Dft { axis, inverse, onesided }))
}

/// The real and imaginary parts of a signal whose last axis has one or both, as f64.
pub(super) fn complex_of(tensor: &Tensor, parts: usize) -> Result<Vec<Complex>, OpError> {
    use num_traits::AsPrimitive;
    crate::dtype::for_dtype!(tensor.dtype(), T in [f32, f64, half::f16, half::bf16], {
        let elements = tensor.as_slice::<T>()?;
        Ok(match parts {
            1 => elements.iter().map(|real| [(*real).as_(), 0.0]).collect(),
            _ => elements.chunks_exact(2).map(|pair| [pair[0].as_(), pair[1].as_()]).collect(),
        })
    }, else {
        Err(OpError::Type { expected: "a float type", found: tensor.dtype() })
    })
}

/// The length that an operand asks for, if it is there.
pub(super) fn length_of(tensor: Option<&Tensor>) -> Result<Option<usize>, OpError> {
    let Some(tensor) = tensor else { return Ok(None) };
    let length = scalar_i64(tensor)?;
    match usize::try_from(length) {
        Ok(length) if length > 0 => Ok(Some(length)),
        _ => Err(OpError::shape(format!("the length is {length}, it should be positive"))),
    }
}

/// Makes the second half of a spectrum from the first: that of a real signal.
fn complete(row: &mut [Complex]) {
    let length = row.len();
    row[0][1] = 0.0;
    if length.is_multiple_of(2) {
        row[length / 2][1] = 0.0;
    }
    for at in 1..length.div_ceil(2) {
        row[length - at] = [row[at][0], -row[at][1]];
    }
}

impl Operator for Dft {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let signal = inputs.tensor(0)?;
        let Some((parts @ (1 | 2), outer)) = signal.shape().split_last() else {
            return Err(OpError::shape(format!(
                "{:?} does not end with an axis of real and imaginary parts",
                signal.shape()
            )));
        };
        if self.onesided && (*parts == 2) != self.inverse {
            return Err(OpError::unsupported(
                "a one-sided transform of complex numbers, or one back from real numbers",
            ));
        }
        let axis = match self.axis {
            Some(axis) => axis,
            None => inputs.optional(2)?.map_or(Ok(-2), scalar_i64)?,
        };
        let axis = axis_of(axis, signal.rank())?;
        if axis >= outer.len() {
            return Err(OpError::shape("the axis of real and imaginary parts is transformed"));
        }
        let found = outer[axis];
        let from_half = self.onesided && self.inverse;
        let default = if from_half { found.saturating_sub(1).saturating_mul(2) } else { found };
        let length = length_of(inputs.optional(1)?)?.unwrap_or(default);
        let kept = if self.onesided && !self.inverse { length / 2 + 1 } else { length };
        let parts_out = if from_half { 1 } else { 2 };
        let mut shape = signal.shape().to_vec();
        shape[axis] = kept;
        shape[outer.len()] = parts_out;
        let elements = context.claim(&shape, size_of::<f64>())?;
        let working = Fourier::elements(length).unwrap_or(usize::MAX);
        context.claim(&[working], size_of::<Complex>())?;
        if elements == 0 {
            return Ok(vec![converted(signal.dtype(), shape, &[])?.into()]);
        }
        if length == 0 {
            return Err(OpError::shape("there is nothing to transform"));
        }

        let values = complex_of(signal, *parts)?;
        let rows_outer: usize = outer[..axis].iter().product();
        let rows_inner: usize = outer[axis + 1..].iter().product();
        let mut out = vec![0.0; elements];
        let mut row: Vec<Complex> = vec![[0.0; 2]; length];
        let mut fourier = Fourier::new(length, self.inverse);
        for before in 0..rows_outer {
            for behind in 0..rows_inner {
                row.fill([0.0; 2]);
                for (at, value) in row.iter_mut().enumerate().take(found) {
                    *value = values[(before * found + at) * rows_inner + behind];
                }
                if from_half {
                    complete(&mut row);
                }
                fourier.transform(&mut row);
                for (at, value) in row.iter().enumerate().take(kept) {
                    let place = ((before * kept + at) * rows_inner + behind) * parts_out;
                    out[place..place + parts_out].copy_from_slice(&value[..parts_out]);
                }
            }
        }
        Ok(vec![converted(signal.dtype(), shape, &out)?.into()])
    }
}
