//! CumSum and CumProd: <https://onnx.ai/onnx/operators/onnx__CumSum.html>
//!
//! Integers wrap; halves are summed up in f32.

use half::{bf16, f16};

use super::lines::{Extent, for_each_mut};
use crate::dtype::{Element, for_dtype};
use crate::error::OpError;
use crate::ops::shaping::numbers::single;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Cumulative {
    product: bool,
    /// Whether an element's own value is left out.
    exclusive: bool,
    reverse: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Cumulative {
        product: spec.op() == "CumProd",
        exclusive: spec.flag("exclusive", false)?,
        reverse: spec.flag("reverse", false)?,
    }))
}

impl Cumulative {
    fn along<T: Element>(&self, line: &mut [T], first: T, join: impl Fn(T, T) -> T) {
        if self.reverse {
            line.reverse();
        }
        let mut total = first;
        for place in line.iter_mut() {
            let joined = join(total, *place);
            *place = if self.exclusive { total } else { joined };
            total = joined;
        }
        if self.reverse {
            line.reverse();
        }
    }
}

impl Operator for Cumulative {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let axis = axis_of(single(&inputs, 1)?, tensor.rank())?;
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        let extent = Extent::of(&shape, axis);
        for_dtype!(dtype, T in [f32, f64], {
            let (first, join): (T, fn(T, T) -> T) =
                if self.product { (1.0, |a, b| a * b) } else { (0.0, |a, b| a + b) };
            let mut data = tensor.into_vec::<T>()?;
            for_each_mut(&mut data, extent, |line| self.along(line, first, join));
            return Ok(vec![Tensor::new(shape, data).into()]);
        }, else {});
        for_dtype!(dtype, T in [f16, bf16], {
            let (first, join): (f32, fn(f32, f32) -> f32) =
                if self.product { (1.0, |a, b| a * b) } else { (0.0, |a, b| a + b) };
            let mut data: Vec<f32> = tensor.as_slice::<T>()?.iter().map(|x| x.to_f32()).collect();
            for_each_mut(&mut data, extent, |line| self.along(line, first, join));
            let halves: Vec<T> = data.into_iter().map(T::from_f32).collect();
            return Ok(vec![Tensor::new(shape, halves).into()]);
        }, else {});
        for_dtype!(dtype, T in [i32, i64, u32, u64], {
            let (first, join): (T, fn(T, T) -> T) =
                if self.product { (1, T::wrapping_mul) } else { (0, T::wrapping_add) };
            let mut data = tensor.into_vec::<T>()?;
            for_each_mut(&mut data, extent, |line| self.along(line, first, join));
            Ok(vec![Tensor::new(shape, data).into()])
        }, else {
            Err(OpError::Type { expected: "a float type, i32, i64, u32 or u64", found: dtype })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_in_both_directions() {
        let run = |product, exclusive, reverse| {
            let mut line = [2_i64, 3, 4];
            let (first, join): (i64, fn(i64, i64) -> i64) =
                if product { (1, i64::wrapping_mul) } else { (0, i64::wrapping_add) };
            Cumulative { product, exclusive, reverse }.along(&mut line, first, join);
            line
        };
        assert_eq!(run(false, false, false), [2, 5, 9]);
        assert_eq!(run(false, true, true), [7, 4, 0]);
        assert_eq!(run(true, false, true), [24, 12, 4]);
        assert_eq!(run(true, true, false), [1, 2, 6]);
    }
}
