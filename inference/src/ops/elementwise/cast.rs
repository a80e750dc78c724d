//! Cast and CastLike: <https://onnx.ai/onnx/operators/onnx__Cast.html>
//!
//! What the specification leaves open: a float beyond an integer type becomes that type's nearest number and NaN
//! becomes 0; integers wrap; a string that is no number is an error of the run; booleans are written 1 and 0.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use num_traits::AsPrimitive;

use super::small_floats::{self, Mode, Rounding};
use crate::dtype::{DType, Element, for_dtype, for_number};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Cast {
    /// `None`: the type of the second operand.
    to: Option<DType>,
    rounding: Rounding,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let to = if spec.op() == "CastLike" { None } else { Some(target(spec)?) };
    let mode = match spec.text("round_mode", "up")? {
        "up" => Mode::Up,
        "down" => Mode::Down,
        "nearest" => Mode::Nearest,
        other => {
            return Err(BuildError::invalid(format!(
                "attribute \"round_mode\" is {other:?}, it should be \"up\", \"down\" or \"nearest\""
            )));
        }
    };
    let rounding = Rounding { saturate: spec.flag("saturate", true)?, mode };
    Ok(Box::new(Cast { to, rounding }))
}

fn target(spec: &NodeSpec<'_>) -> Result<DType, BuildError> {
    // Before version 6 the type was a name.
    if spec.version() < 6 {
        let name = spec.text_opt("to")?.unwrap_or_default();
        return named(name)
            .ok_or_else(|| BuildError::invalid(format!("there is no type {name:?}")));
    }
    let number =
        spec.int_opt("to")?.ok_or_else(|| BuildError::invalid("attribute \"to\" is missing"))?;
    let dtype = i32::try_from(number).ok().and_then(DType::from_onnx);
    dtype.ok_or_else(|| BuildError::unsupported(format!("a cast to element type {number}")))
}

fn named(name: &str) -> Option<DType> {
    Some(match name {
        "FLOAT" => DType::F32,
        "DOUBLE" => DType::F64,
        "FLOAT16" => DType::F16,
        "INT8" => DType::I8,
        "INT16" => DType::I16,
        "INT32" => DType::I32,
        "INT64" => DType::I64,
        "UINT8" => DType::U8,
        "UINT16" => DType::U16,
        "UINT32" => DType::U32,
        "UINT64" => DType::U64,
        "BOOL" => DType::Bool,
        "STRING" => DType::String,
        _ => return None,
    })
}

impl Operator for Cast {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let to = match self.to {
            Some(to) => to,
            None => inputs.tensor(1)?.dtype(),
        };
        Ok(vec![cast(tensor, to, self.rounding, context)?.into()])
    }
}

/// A tensor of the same values as another type, saturating where that type is a small float.
pub(crate) fn convert(tensor: Tensor, to: DType, context: &Context<'_>) -> Result<Tensor, OpError> {
    cast(tensor, to, Rounding { saturate: true, mode: Mode::Up }, context)
}

fn cast(
    tensor: Tensor,
    to: DType,
    rounding: Rounding,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    if tensor.dtype() == to {
        return Ok(tensor);
    }
    context.claim(tensor.shape(), to.bytes())?;
    if tensor.dtype() == DType::String {
        return from_strings(&tensor, to, rounding, context);
    }
    if let Some(decoded) = small_floats::decode(&tensor)? {
        return cast(decoded, to, rounding, context);
    }
    let shape = tensor.shape();
    match to {
        DType::String => to_strings(&tensor),
        DType::Bool => to_bools(&tensor),
        DType::I4 | DType::U4 => to_nibbles(&tensor, to),
        small if small_floats::is_small(small) => {
            let values = tensor.clone().retyped(plain(tensor.dtype())).to_f32s()?;
            small_floats::encode(&values, to, shape, rounding)
                .ok_or(OpError::Type { expected: "a small float type", found: to })
        }
        _ => to_numbers(&tensor, to),
    }
}

/// The type whose arithmetic an unpacked type of a few bits has.
const fn plain(dtype: DType) -> DType {
    match dtype {
        DType::I4 => DType::I8,
        DType::U4 | DType::Bool => DType::U8,
        other => other,
    }
}

fn to_numbers(tensor: &Tensor, to: DType) -> Result<Tensor, OpError> {
    let shape = tensor.shape();
    match (tensor.dtype(), to) {
        (DType::F32, DType::F16) => {
            let mut out = vec![f16::ZERO; tensor.len()];
            out.convert_from_f32_slice(tensor.as_slice()?);
            return Ok(Tensor::new(shape, out));
        }
        (DType::F16, DType::F32) => {
            let mut out = vec![0.0; tensor.len()];
            tensor.as_slice::<f16>()?.convert_to_f32_slice(&mut out);
            return Ok(Tensor::new(shape, out));
        }
        _ => {}
    }
    for_number!(plain(tensor.dtype()), S, { numbers_of::<S>(tensor, to) }, else {
        Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() })
    })
}

fn numbers_of<S: Number>(tensor: &Tensor, to: DType) -> Result<Tensor, OpError> {
    let source = tensor.as_slice::<S>()?;
    for_number!(to, D, { Ok(Tensor::new(tensor.shape(), converted::<S, D>(source))) }, else {
        Err(OpError::Type { expected: "a numeric type", found: to })
    })
}

/// What converts to every numeric type.
trait Number:
    Element
    + AsPrimitive<f32>
    + AsPrimitive<f64>
    + AsPrimitive<f16>
    + AsPrimitive<bf16>
    + AsPrimitive<i8>
    + AsPrimitive<i16>
    + AsPrimitive<i32>
    + AsPrimitive<i64>
    + AsPrimitive<u8>
    + AsPrimitive<u16>
    + AsPrimitive<u32>
    + AsPrimitive<u64>
{
}

impl<T> Number for T where
    T: Element
        + AsPrimitive<f32>
        + AsPrimitive<f64>
        + AsPrimitive<f16>
        + AsPrimitive<bf16>
        + AsPrimitive<i8>
        + AsPrimitive<i16>
        + AsPrimitive<i32>
        + AsPrimitive<i64>
        + AsPrimitive<u8>
        + AsPrimitive<u16>
        + AsPrimitive<u32>
        + AsPrimitive<u64>
{
}

fn converted<S: Element + AsPrimitive<D>, D: Element>(source: &[S]) -> Vec<D> {
    super::maths::vectorised(|| source.iter().map(|value| (*value).as_()).collect())
}

fn to_bools(tensor: &Tensor) -> Result<Tensor, OpError> {
    for_number!(plain(tensor.dtype()), T, {
        let zero = <T as Element>::ZERO;
        let bits = tensor.as_slice::<T>()?.iter().map(|value| *value != zero);
        Ok(Tensor::bools(tensor.shape(), bits))
    }, else {
        Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() })
    })
}

/// The lowest four bits of the integer that a number is cut to.
fn to_nibbles(tensor: &Tensor, to: DType) -> Result<Tensor, OpError> {
    let numbers = to_numbers(tensor, DType::I64)?;
    let integers = numbers.as_slice::<i64>()?.iter();
    #[expect(clippy::cast_possible_truncation, reason = "of the four bits none is lost")]
    let cut = |shift: u32, value: i64| ((value << shift) >> shift) as i8;
    Ok(if to == DType::I4 {
        Tensor::with_dtype(to, tensor.shape(), integers.map(|value| cut(60, *value)).collect())
    } else {
        let bits = integers.map(|value| cut(0, value & 15).unsigned_abs()).collect();
        Tensor::with_dtype::<u8>(to, tensor.shape(), bits)
    })
}

fn to_strings(tensor: &Tensor) -> Result<Tensor, OpError> {
    for_dtype!(tensor.dtype(), T in [f32, f64, f16, bf16], {
        let text = |value: &T| match value {
            value if value.is_nan() => "NaN".to_owned(),
            value if *value == T::INFINITY => "INF".to_owned(),
            value if *value == T::NEG_INFINITY => "-INF".to_owned(),
            value => value.to_string(),
        };
        let texts = tensor.as_slice::<T>()?.iter().map(text).collect();
        return Ok(Tensor::strings(tensor.shape(), texts));
    }, else {});
    for_dtype!(plain(tensor.dtype()), T in [i64, i32, i16, i8, u8, u16, u32, u64], {
        let texts = tensor.as_slice::<T>()?.iter().map(T::to_string).collect();
        Ok(Tensor::strings(tensor.shape(), texts))
    }, else {
        Err(OpError::Type { expected: "a numeric type", found: tensor.dtype() })
    })
}

fn from_strings(
    tensor: &Tensor,
    to: DType,
    rounding: Rounding,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    let texts = tensor.as_strings()?;
    let shape = tensor.shape();
    for_dtype!(to, T in [f32, f64], {
        let numbers = texts.iter().map(|text| parse::<T>(text)).collect::<Result<_, _>>()?;
        return Ok(Tensor::new::<T>(shape, numbers));
    }, else {});
    for_dtype!(to, T in [i64, u64], {
        // Not through floats, which hold no integer beyond 53 bits. "100.5" is 100.
        let number = |text: &String| {
            parse::<T>(text).or_else(|_| parse::<f64>(text).map(AsPrimitive::<T>::as_))
        };
        return Ok(Tensor::new(shape, texts.iter().map(number).collect::<Result<_, _>>()?));
    }, else {});
    let between = if to.is_float() || small_floats::is_small(to) { DType::F64 } else { DType::I64 };
    let numbers = from_strings(tensor, between, rounding, context)?;
    cast(numbers, to, rounding, context)
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, OpError> {
    text.trim().parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        OpError::shape(format!("{shown:?} is no number of the type that is wanted"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn of(tensor: Tensor, to: DType) -> Result<Tensor, OpError> {
        convert(tensor, to, &Context::new(&Limits::default(), 0))
    }

    #[test]
    fn strings_are_read_and_written() {
        let texts = ["1e-5", " +INF", "-inf", "nan", "100.5"].map(str::to_owned).to_vec();
        let numbers = of(Tensor::strings([5], texts), DType::F32).unwrap();
        let values = numbers.as_slice::<f32>().unwrap();
        assert_eq!(values[..3], [1e-5, f32::INFINITY, f32::NEG_INFINITY]);
        assert!(values[3].is_nan());
        let written = of(numbers, DType::String).unwrap();
        assert_eq!(written.as_strings().unwrap(), ["0.00001", "INF", "-INF", "NaN", "100.5"]);
        let integers = Tensor::strings([2], vec!["9007199254740993".to_owned(), "7.9".to_owned()]);
        let integers = of(integers, DType::I64).unwrap();
        assert_eq!(integers.as_slice::<i64>().unwrap(), [9_007_199_254_740_993, 7]);
        assert!(of(Tensor::strings([], vec!["seven".to_owned()]), DType::I8).is_err());
    }

    #[test]
    fn numbers_beyond_the_type_saturate_or_wrap() {
        let floats = Tensor::new([3], vec![300.0_f32, f32::NAN, -1.5]);
        let bytes = of(floats.clone(), DType::U8).unwrap();
        assert_eq!(bytes.as_slice::<u8>().unwrap(), [255, 0, 0]);
        assert_eq!(of(floats, DType::Bool).unwrap().raw(), [1, 1, 1]);
        let wrapped = of(Tensor::new([2], vec![257_i64, -1]), DType::U8).unwrap();
        assert_eq!(wrapped.as_slice::<u8>().unwrap(), [1, 255]);
        let nibbles = of(Tensor::new([3], vec![7_i64, 8, -9]), DType::I4).unwrap();
        assert_eq!(nibbles.as_slice::<i8>().unwrap(), [7, -8, 7]);
        let bits = of(Tensor::bools([2], [true, false].into_iter()), DType::F16).unwrap();
        assert_eq!(bits.as_slice::<f16>().unwrap(), [f16::ONE, f16::ZERO]);
    }
}
