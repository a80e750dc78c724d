//! JSON values as tensors: a number, lists within lists, or `{"shape": [...], "data": [...]}`.

use half::{bf16, f16};
use num_traits::AsPrimitive;
use serde_json::Value as Json;

use super::PayloadError;
use crate::dtype::DType;
use crate::tensor::{Tensor, elements_of};

/// Axes of a tensor that JSON may bring.
const RANK_MAX: usize = 32;

/// A tensor of a type, from JSON.
pub(super) fn tensor_of(json: &Json, dtype: DType, name: &str) -> Result<Tensor, PayloadError> {
    let mut leaves = Vec::new();
    let shape = match json {
        Json::Object(fields) => {
            let (Some(Json::Array(sizes)), Some(data)) = (fields.get("shape"), fields.get("data"))
            else {
                let what = format!("{name:?} is an object without a list \"shape\" and \"data\"");
                return Err(PayloadError(what));
            };
            flatten(data, 0, &mut Vec::new(), &mut leaves, name)?;
            let size = |size: &Json| size.as_u64().and_then(|size| usize::try_from(size).ok());
            let shape: Option<Vec<usize>> = sizes.iter().map(size).collect();
            let shape = shape.filter(|shape| shape.len() <= RANK_MAX).ok_or_else(|| {
                PayloadError(format!("the shape of {name:?} is no list of sizes"))
            })?;
            if elements_of(&shape) != Some(leaves.len()) {
                let what =
                    format!("{name:?} has the shape {shape:?} and {} elements", leaves.len());
                return Err(PayloadError(what));
            }
            shape
        }
        other => {
            let mut shape = Vec::new();
            flatten(other, 0, &mut shape, &mut leaves, name)?;
            shape
        }
    };
    if elements_of(&shape) != Some(leaves.len()) {
        return Err(PayloadError(format!("the lists of {name:?} are of different lengths")));
    }
    convert(shape, &leaves, dtype, name)
}

/// Collects the leaves; `shape` is that of the first path down, which all others must have.
fn flatten<'j>(
    json: &'j Json,
    depth: usize,
    shape: &mut Vec<usize>,
    leaves: &mut Vec<&'j Json>,
    name: &str,
) -> Result<(), PayloadError> {
    let ragged = || PayloadError(format!("the lists of {name:?} are of different lengths"));
    let Json::Array(items) = json else {
        if depth != shape.len() {
            return Err(ragged());
        }
        leaves.push(json);
        return Ok(());
    };
    if depth >= RANK_MAX {
        return Err(PayloadError(format!("{name:?} has more than {RANK_MAX} axes")));
    }
    if shape.len() == depth {
        if !leaves.is_empty() {
            return Err(ragged());
        }
        shape.push(items.len());
    } else if shape.get(depth) != Some(&items.len()) {
        return Err(ragged());
    }
    for item in items {
        flatten(item, depth + 1, shape, leaves, name)?;
    }
    Ok(())
}

fn convert(
    shape: Vec<usize>,
    leaves: &[&Json],
    dtype: DType,
    name: &str,
) -> Result<Tensor, PayloadError> {
    let wrong = |leaf: &Json| {
        let mut found = leaf.to_string();
        found.truncate(found.char_indices().nth(40).map_or(found.len(), |(at, _)| at));
        PayloadError(format!("{name:?} takes {dtype}, found {found}"))
    };
    macro_rules! all {
        ($take:expr) => {
            Tensor::new(
                shape,
                leaves
                    .iter()
                    .map(|leaf| $take(*leaf).ok_or_else(|| wrong(leaf)))
                    .collect::<Result<Vec<_>, _>>()?,
            )
        };
    }
    Ok(match dtype {
        DType::F32 => all!(float::<f32>),
        DType::F64 => all!(float::<f64>),
        DType::F16 => all!(float::<f16>),
        DType::Bf16 => all!(float::<bf16>),
        DType::I8 => all!(integer::<i8>),
        DType::I16 => all!(integer::<i16>),
        DType::I32 => all!(integer::<i32>),
        DType::I64 => all!(integer::<i64>),
        DType::U8 => all!(integer::<u8>),
        DType::U16 => all!(integer::<u16>),
        DType::U32 => all!(integer::<u32>),
        DType::U64 => all!(Json::as_u64),
        DType::Bool => {
            let bit = |leaf: &&Json| bit(leaf).ok_or_else(|| wrong(leaf));
            let bits = leaves.iter().map(bit).collect::<Result<Vec<bool>, _>>()?;
            Tensor::bools(shape, bits.into_iter())
        }
        DType::String => {
            let text = |leaf: &&Json| leaf.as_str().map(str::to_owned).ok_or_else(|| wrong(leaf));
            Tensor::strings(shape, leaves.iter().map(text).collect::<Result<_, _>>()?)
        }
        other => {
            return Err(PayloadError(format!("{name:?} takes {other}, which JSON cannot bring")));
        }
    })
}

/// A number, or a truth value as 0 or 1. Numbers that only infinity could stand for are refused.
fn float<T: 'static + Copy + num_traits::Float>(json: &Json) -> Option<T>
where
    f64: AsPrimitive<T>,
{
    let number = json.as_f64().or_else(|| json.as_bool().map(|bit| f64::from(u8::from(bit))))?;
    let converted: T = number.as_();
    converted.is_finite().then_some(converted)
}

fn integer<T: TryFrom<i64>>(json: &Json) -> Option<T> {
    let number = json.as_i64().or_else(|| json.as_bool().map(i64::from))?;
    T::try_from(number).ok()
}

fn bit(json: &Json) -> Option<bool> {
    json.as_bool().or_else(|| match json.as_u64()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_become_axes() {
        let tensor = tensor_of(&json!([[1, 2.5], [true, -3]]), DType::F32, "x").unwrap();
        assert_eq!(tensor.shape(), [2, 2]);
        assert_eq!(tensor.f32s().unwrap(), [1.0, 2.5, 1.0, -3.0]);
        assert_eq!(tensor_of(&json!(7), DType::I64, "x").unwrap().shape(), [0_usize; 0]);
        assert_eq!(tensor_of(&json!([[], []]), DType::I64, "x").unwrap().shape(), [2, 0]);
        let shaped = json!({"shape": [1, 2], "data": [1, 2]});
        assert_eq!(tensor_of(&shaped, DType::U8, "x").unwrap().shape(), [1, 2]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = [
            (json!([[1], [1, 2]]), DType::F32),
            (json!([1, [2]]), DType::F32),
            (json!([[1], 2]), DType::F32),
            (json!([[], [1]]), DType::F32),
            (json!(["a"]), DType::F32),
            (json!([1e39]), DType::F32),
            (json!([300]), DType::U8),
            (json!([1.5]), DType::I64),
            (json!([null]), DType::F32),
            (json!({"shape": [u64::MAX, 2], "data": [1]}), DType::F32),
            (json!({"shape": [-1], "data": [1]}), DType::F32),
            (json!({"shape": [2]}), DType::F32),
            (json!(1), DType::F8E5M2),
        ];
        for (value, dtype) in refused {
            assert!(tensor_of(&value, dtype, "x").is_err(), "{value} as {dtype}");
        }
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = Json::Array(vec![deep]);
        }
        assert!(tensor_of(&deep, DType::F32, "x").is_err());
    }
}
