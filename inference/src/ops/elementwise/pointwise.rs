//! A function of one float applied to every element, in place where nobody else holds the tensor.
//!
//! 16-bit floats are computed as f32, as most machines do it.

use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::maths::map_slice;
use crate::dtype::{DType, Element};
use crate::error::OpError;
use crate::ops::{Inputs, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

type OnSlice<T> = Box<dyn Fn(&mut [T]) + Send + Sync>;

/// A function for f32 and the same for f64.
pub(super) struct Pointwise {
    op: String,
    narrow: OnSlice<f32>,
    wide: OnSlice<f64>,
}

impl fmt::Debug for Pointwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pointwise").field(&self.op).finish()
    }
}

impl Pointwise {
    pub(super) fn boxed(
        op: &str,
        narrow: impl Fn(f32) -> f32 + Send + Sync + 'static,
        wide: impl Fn(f64) -> f64 + Send + Sync + 'static,
    ) -> Box<dyn Operator> {
        Box::new(Self {
            op: op.to_owned(),
            narrow: Box::new(move |values| map_slice(values, &narrow)),
            wide: Box::new(move |values| map_slice(values, &wide)),
        })
    }
}

impl Operator for Pointwise {
    fn run(&self, mut inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        Ok(vec![map_floats(tensor, &self.narrow, &self.wide)?.into()])
    }
}

/// Has every element of a float tensor replaced.
pub(super) fn map_floats(
    tensor: Tensor,
    narrow: &dyn Fn(&mut [f32]),
    wide: &dyn Fn(&mut [f64]),
) -> Result<Tensor, OpError> {
    match tensor.dtype() {
        DType::F32 => rewrite(tensor, narrow),
        DType::F64 => rewrite(tensor, wide),
        DType::F16 => rewrite::<f16>(tensor, |values| through_f32(values, narrow)),
        DType::Bf16 => rewrite::<bf16>(tensor, |values| through_f32(values, narrow)),
        found => Err(OpError::Type { expected: "a float type", found }),
    }
}

/// Hands the elements to `f` to be written on: those of the tensor itself, or of a copy if others hold it too.
pub(super) fn rewrite<T: Element>(
    mut tensor: Tensor,
    f: impl FnOnce(&mut [T]),
) -> Result<Tensor, OpError> {
    if let Some(elements) = tensor.make_mut::<T>() {
        f(elements);
        return Ok(tensor);
    }
    let mut elements = tensor.as_slice::<T>()?.to_vec();
    f(&mut elements);
    Ok(Tensor::with_dtype(tensor.dtype(), tensor.shape(), elements))
}

fn through_f32<T>(values: &mut [T], narrow: &dyn Fn(&mut [f32]))
where
    [T]: HalfFloatSliceExt,
{
    let mut buffer = [0.0_f32; 512];
    for chunk in values.chunks_mut(buffer.len()) {
        let wide = &mut buffer[..chunk.len()];
        chunk.convert_to_f32_slice(wide);
        narrow(wide);
        chunk.convert_from_f32_slice(wide);
    }
}
