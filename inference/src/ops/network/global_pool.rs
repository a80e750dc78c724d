//! GlobalAveragePool, GlobalMaxPool, GlobalLpPool: <https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html>

use super::lanes::sum;
use super::layout::Layout;
use super::planes::for_chunks;
use super::pool::order;
use super::pooling::Ordered;
use super::precision::{Real, f64_of, for_real, narrowed, widened};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum GlobalPool {
    Average,
    Max,
    Norm { p: f64 },
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(match spec.op() {
        "GlobalAveragePool" => GlobalPool::Average,
        "GlobalMaxPool" => GlobalPool::Max,
        _ => GlobalPool::Norm { p: order(spec)? },
    }))
}

impl Operator for GlobalPool {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (input, dtype) = widened(inputs.take_tensor(0)?)?;
        let out = for_real!(input, T, { self.pooled::<T>(&input)? });
        Ok(vec![narrowed(out, dtype)?.into()])
    }
}

impl GlobalPool {
    fn pooled<T: Real + Ordered>(self, input: &Tensor) -> Result<Tensor, OpError> {
        let layout = Layout::of(input.shape(), 0)?;
        let plane = layout.plane();
        if plane == 0 && layout.planes() > 0 {
            return Err(OpError::shape(format!("{:?} has no elements to pool", input.shape())));
        }
        let shape = layout.with(layout.spatial.iter().map(|_| 1));
        let elements = input.as_slice::<T>()?;
        let mut out = vec![T::ZERO; layout.planes()];
        for_chunks(&mut out, 1, |number, out| {
            let elements = &elements[number * plane..][..plane];
            out[0] = match self {
                Self::Average => sum(elements) / T::of(f64_of(plane)),
                Self::Max => elements.iter().fold(T::LEAST, |one, other| one.larger(*other)),
                Self::Norm { p } => {
                    let power = |element: &T| element.abs().powf(T::of(p));
                    let sum = elements.iter().map(power).fold(T::ZERO, |sum, power| sum + power);
                    sum.powf(T::of(1.0 / p))
                }
            };
        });
        Ok(Tensor::new(shape, out))
    }
}
