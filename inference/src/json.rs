//! Tensors as JSON: nested arrays of numbers, booleans or strings; a number alone for a tensor without axes.
//!
//! What JSON cannot say (NaN, infinities) is `null` on the way out and refused on the way in. 64-bit integers keep all digits.

use half::{bf16, f16};
use num_traits::AsPrimitive;
use serde_json::{Number, Value as Json};

use crate::dtype::{DType, for_dtype};
use crate::error::OpError;
use crate::tensor::{Shape, Tensor};

/// How deep arrays may lie in each other.
const DEPTH_MAX: usize = 32;

impl Tensor {
    /// The elements as nested arrays. Types without a number of their own in Rust (8-bit floats) are given as their bits.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let elements = self.json_elements(usize::MAX);
        nest(self.shape(), &mut elements.into_iter())
    }

    /// The first elements, in row-major order.
    #[must_use]
    pub fn json_elements(&self, at_most: usize) -> Vec<Json> {
        if let Ok(strings) = self.as_strings() {
            return strings.iter().take(at_most).map(|text| Json::from(text.as_str())).collect();
        }
        if self.dtype() == DType::Bool {
            return self.raw().iter().take(at_most).map(|bit| Json::from(*bit != 0)).collect();
        }
        for_dtype!(self.dtype(), T in [f32, f64, f16, bf16], {
            return self.get::<T>().unwrap_or_default().iter().take(at_most).map(|v| float(*v)).collect();
        }, else {});
        for_dtype!(self.dtype(), T in [i64, i32, i16, i8, u64, u32, u16, u8], {
            return self.get::<T>().unwrap_or_default().iter().take(at_most).map(|v| Json::from(*v)).collect();
        }, else {});
        let bits = self.raw().iter().take(at_most);
        if self.dtype() == DType::I4 {
            return bits.map(|byte| Json::from(byte.cast_signed())).collect();
        }
        bits.map(|byte| Json::from(*byte)).collect()
    }

    /// A tensor of nested arrays that are all as long as their neighbours.
    ///
    /// # Errors
    /// [`OpError::Shape`] when they are not, or an element is not of the type that is wanted.
    pub fn from_json(json: &Json, dtype: DType) -> Result<Self, OpError> {
        let mut shape = Shape::new();
        let mut inner = json;
        while let Json::Array(members) = inner {
            if shape.len() >= DEPTH_MAX {
                return Err(OpError::shape(format!("arrays lie deeper than {DEPTH_MAX}")));
            }
            shape.push(members.len());
            let Some(first) = members.first() else { break };
            inner = first;
        }
        let mut leaves = Vec::new();
        collect(json, &shape, &mut leaves)?;
        if dtype == DType::String {
            let text = |leaf: &&Json| leaf.as_str().map(str::to_owned);
            return Ok(Self::strings(shape, all(&leaves, dtype, text)?));
        }
        if dtype == DType::Bool {
            let bit = |leaf: &&Json| leaf.as_bool().map(u8::from);
            return Ok(Self::with_dtype(dtype, shape, all(&leaves, dtype, bit)?));
        }
        for_dtype!(dtype, T in [f32, f64, f16, bf16], {
            let value = |leaf: &&Json| leaf.as_f64().map(|value| -> T { value.as_() });
            return Ok(Self::new::<T>(shape, all(&leaves, dtype, value)?));
        }, else {});
        for_dtype!(dtype, T in [i64, i32, i16, i8, u64, u32, u16, u8], {
            let value = |leaf: &&Json| {
                let wide = leaf.as_i64().map(i128::from).or_else(|| leaf.as_u64().map(i128::from));
                wide.and_then(|value| T::try_from(value).ok())
            };
            return Ok(Self::new::<T>(shape, all(&leaves, dtype, value)?));
        }, else {});
        Err(OpError::unsupported(format!("{dtype} from JSON")))
    }
}

/// Not through f64 for f32: 0.1 is to stay 0.1.
fn float<T: AsPrimitive<f64> + std::fmt::Display>(value: T) -> Json {
    let shortest = value.to_string().parse::<f64>().unwrap_or_else(|_| value.as_());
    Number::from_f64(shortest).map_or(Json::Null, Json::Number)
}

fn nest(shape: &[usize], elements: &mut impl Iterator<Item = Json>) -> Json {
    match shape {
        [] => elements.next().unwrap_or(Json::Null),
        // The outermost sizes of an empty tensor may be huge.
        _ if shape.contains(&0) => Json::Array(Vec::new()),
        [size, inner @ ..] => Json::Array((0..*size).map(|_| nest(inner, elements)).collect()),
    }
}

fn collect<'a>(json: &'a Json, shape: &[usize], leaves: &mut Vec<&'a Json>) -> Result<(), OpError> {
    match (json, shape) {
        (Json::Array(members), [size, inner @ ..]) if members.len() == *size => {
            members.iter().try_for_each(|member| collect(member, inner, leaves))
        }
        (Json::Array(members), [size, ..]) => Err(OpError::shape(format!(
            "an array has {} members, those before it have {size}",
            members.len()
        ))),
        (Json::Array(_), []) | (_, [_, ..]) => {
            Err(OpError::shape("arrays lie in each other to different depths"))
        }
        (leaf, []) => {
            leaves.push(leaf);
            Ok(())
        }
    }
}

fn all<T>(
    leaves: &[&Json],
    dtype: DType,
    value: impl Fn(&&Json) -> Option<T>,
) -> Result<Vec<T>, OpError> {
    let wrong = |leaf: &&Json| OpError::shape(format!("{leaf} is not of the type {dtype}"));
    leaves.iter().map(|leaf| value(leaf).ok_or_else(|| wrong(leaf))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arrays_become_tensors_and_come_back() {
        for (value, dtype) in [
            (json!([[0.1, 2.0, 3.5], [4.0, 5.0, -6.25]]), DType::F32),
            (json!([[1.0], [0.5]]), DType::F16),
            (json!([i64::MIN, i64::MAX]), DType::I64),
            (json!([u64::MAX]), DType::U64),
            (json!([[true], [false]]), DType::Bool),
            (json!(["a", "ü"]), DType::String),
            (json!(7), DType::U8),
            (json!([]), DType::F32),
        ] {
            assert_eq!(Tensor::from_json(&value, dtype).unwrap().to_json(), value, "{dtype}");
        }
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        for (value, dtype) in [
            (json!([[1, 2], [3]]), DType::I64),
            (json!([[1], 2]), DType::I64),
            (json!([1, [2]]), DType::I64),
            (json!([300]), DType::U8),
            (json!([-1]), DType::U64),
            (json!([1.5]), DType::I32),
            (json!(["a"]), DType::F32),
            (json!([null]), DType::F32),
            (json!({}), DType::F32),
        ] {
            assert!(Tensor::from_json(&value, dtype).is_err(), "{value} {dtype}");
        }
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        assert!(Tensor::from_json(&deep, DType::F32).is_err());
    }
}
