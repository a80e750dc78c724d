//! Inputs made up from what a graph declares: for measuring, and for a first run without data.

use std::collections::BTreeMap;

use half::{bf16, f16};
use num_traits::AsPrimitive;

use crate::dtype::{DType, for_dtype};
use crate::error::OpError;
use crate::graph::{Dim, ValueType};
use crate::limits::Limits;
use crate::network::Port;
use crate::run::Context;
use crate::tensor::{Shape, Tensor};
use crate::value::Value;

/// What made-up elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// All zero.
    Zeros,
    /// Floats between 0 and 1, integers and booleans 0 or 1: small numbers are valid indices, token ids and masks nearly everywhere.
    Random(u64),
}

/// Sizes of axes for which a graph declares none.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// By the name that the graph gives an axis.
    pub named: BTreeMap<String, usize>,
    /// First axes that are not named above; 1 when it is not said. All others are 1.
    pub batch: Option<usize>,
}

/// A value for an input.
///
/// # Errors
/// [`OpError`] for what is no tensor, has no known type or number of axes, or would be too large.
pub fn made_up(port: &Port, sizes: &Sizes, fill: Fill, limits: &Limits) -> Result<Value, OpError> {
    let ValueType::Tensor { dtype: Some(dtype), dims: Some(dims) } = &port.value_type else {
        let what = format!(
            "input {:?} is declared as {}: no value can be made up",
            port.name, port.value_type
        );
        return Err(OpError::unsupported(what));
    };
    let size = |(axis, dim): (usize, &Dim)| {
        let named = match dim {
            Dim::Size(size) => Some(*size),
            Dim::Named(name) => sizes.named.get(name).copied(),
            Dim::Any => None,
        };
        named.or(sizes.batch.filter(|_| axis == 0)).unwrap_or(1)
    };
    let shape: Shape = dims.iter().enumerate().map(size).collect();
    let seed = if let Fill::Random(seed) = fill { seed } else { 0 };
    let mut context = Context::new(limits, seed);
    let elements = context.claim(&shape, dtype.bytes())?;
    Ok(Value::Tensor(tensor(*dtype, shape, elements, fill, &mut context)))
}

fn tensor(
    dtype: DType,
    shape: Shape,
    elements: usize,
    fill: Fill,
    context: &mut Context<'_>,
) -> Tensor {
    if dtype == DType::String {
        return Tensor::strings(shape, vec![String::new(); elements]);
    }
    let mut bit = || match fill {
        Fill::Zeros => 0,
        Fill::Random(_) => u8::from(context.next_random() >> 63 == 1),
    };
    for_dtype!(dtype, T in [i64, i32, i16, i8, u64, u32, u16, u8], {
        return Tensor::new::<T>(shape, (0..elements).map(|_| T::from(bit() == 1)).collect());
    }, else {});
    let mut unit = || match fill {
        Fill::Zeros => 0.0,
        // 24 bits: exact in f32.
        Fill::Random(_) => {
            f64::from(u32::try_from(context.next_random() >> 40).unwrap_or(0)) / f64::from(1 << 24)
        }
    };
    for_dtype!(dtype, T in [f32, f64, f16, bf16], {
        return Tensor::new::<T>(shape, (0..elements).map(|_| -> T { unit().as_() }).collect());
    }, else {});
    // Booleans, and types that are kept as bytes whose zero is zero.
    let is_bool = dtype == DType::Bool;
    let mut byte = || {
        if is_bool && fill != Fill::Zeros { u8::from(context.next_random() >> 63 == 1) } else { 0 }
    };
    if dtype == DType::I4 {
        return Tensor::with_dtype(dtype, shape, vec![0_i8; elements]);
    }
    Tensor::with_dtype(dtype, shape, (0..elements).map(|_| byte()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_can_be_made_up_and_no_size_is_too_large() {
        let named = BTreeMap::from([("n".to_owned(), 3)]);
        let sizes = Sizes { named, batch: Some(2) };
        for number in 0..30 {
            let Some(dtype) = DType::from_onnx(number) else { continue };
            let dims = vec![Dim::Any, Dim::Size(4), Dim::Named("n".to_owned()), Dim::Any];
            let value_type = ValueType::Tensor { dtype: Some(dtype), dims: Some(dims) };
            let port = Port { name: "x".to_owned(), value_type };
            for fill in [Fill::Zeros, Fill::Random(1)] {
                let value = made_up(&port, &sizes, fill, &Limits::default()).unwrap();
                assert_eq!(value.as_tensor().unwrap().shape(), [2, 4, 3, 1], "{dtype}");
            }
        }
        let huge = vec![Dim::Size(usize::MAX), Dim::Size(2)];
        let value_type = ValueType::Tensor { dtype: Some(DType::F32), dims: Some(huge) };
        let port = Port { name: "x".to_owned(), value_type };
        assert!(made_up(&port, &sizes, Fill::Zeros, &Limits::default()).is_err());
    }
}
