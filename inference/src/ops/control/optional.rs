//! Optional, OptionalHasElement, OptionalGetElement: <https://onnx.ai/onnx/operators/onnx__Optional.html>

use std::sync::Arc;

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
enum Optional {
    Make,
    Has,
    Get,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(match spec.op() {
        "Optional" => Optional::Make,
        "OptionalHasElement" => Optional::Has,
        _ => Optional::Get,
    }))
}

impl Operator for Optional {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let out = match self {
            Self::Make => {
                let value = inputs.take(0).ok();
                // As ONNX has it. One in another in a loop would lie so deep that letting go of it takes more stack than there is.
                if let Some(other @ (Value::Optional(_) | Value::Map(_))) = &value {
                    let expected = "a tensor or a sequence";
                    return Err(OpError::Kind { expected, found: other.kind() });
                }
                Value::Optional(value.map(Arc::new))
            }
            Self::Has => {
                let has = !matches!(inputs.get(0), None | Some(Value::Optional(None)));
                Tensor::bools([], std::iter::once(has)).into()
            }
            Self::Get => match inputs.take(0)? {
                Value::Optional(Some(value)) => Arc::unwrap_or_clone(value),
                Value::Optional(None) => {
                    return Err(OpError::shape("the value of an optional that has none"));
                }
                // Since version 18 it may be no optional at all.
                other => other,
            },
        };
        Ok(vec![out])
    }
}
