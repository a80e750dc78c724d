//! PRelu: <https://onnx.ai/onnx/operators/onnx__PRelu.html>

use half::{bf16, f16};

use super::pairs::{pairwise_over, same_type};
use crate::dtype::for_dtype;
use crate::error::OpError;
use crate::ops::broadcast::joint_shape;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

#[derive(Debug)]
struct PRelu {
    /// Before version 7 the slopes are those of the second axis.
    by_channel: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(PRelu { by_channel: spec.version() < 7 }))
}

impl Operator for PRelu {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (tensor, mut slope) = (inputs.take_tensor(0)?, inputs.take_tensor(1)?);
        same_type(&tensor, &slope)?;
        if self.by_channel && slope.rank() == 1 && tensor.rank() > 2 {
            let mut shape = slope.shape().to_vec();
            shape.resize(tensor.rank() - 1, 1);
            slope = slope.reshaped(shape)?;
        }
        if joint_shape(tensor.shape(), slope.shape())? != tensor.shape() {
            return Err(OpError::shape(format!(
                "slopes of shape {:?} do not broadcast to {:?}",
                slope.shape(),
                tensor.shape()
            )));
        }
        for_dtype!(tensor.dtype(), T in [f32, f64, f16, bf16], {
            let zero = <T as crate::dtype::Element>::ZERO;
            let f = |x: T, slope: T| if x < zero { slope * x } else { x };
            return Ok(vec![pairwise_over(tensor, slope, context, f)?.into()]);
        }, else {});
        for_dtype!(tensor.dtype(), T in [i32, i64], {
            let f = |x: T, slope: T| if x < 0 { slope.wrapping_mul(x) } else { x };
            return Ok(vec![pairwise_over(tensor, slope, context, f)?.into()]);
        }, else {});
        for_dtype!(tensor.dtype(), T in [u32, u64], {
            tensor.as_slice::<T>()?;
            Ok(vec![tensor.into()])
        }, else {
            Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() })
        })
    }
}
