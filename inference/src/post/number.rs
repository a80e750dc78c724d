//! Elements of tensors as JSON numbers.

use half::{bf16, f16};
use serde_json::{Number, Value as Json};

use super::OutputError;
use crate::dtype::{DType, for_dtype};
use crate::tensor::Tensor;

/// The shortest number that reads as the same f32. `null` for what is no finite number, which JSON does not have.
pub(super) fn short(value: f32) -> Json {
    let number = value.to_string().parse::<f64>().ok().and_then(Number::from_f64);
    number.map_or(Json::Null, Json::Number)
}

/// Every element, in order.
pub(super) fn elements(tensor: &Tensor) -> Result<Vec<Json>, OutputError> {
    let dtype = tensor.dtype();
    let wrong = |error: crate::error::OpError| OutputError::of("kind", error);
    Ok(match dtype {
        DType::F32 => tensor.as_slice::<f32>().map_err(wrong)?.iter().map(|v| short(*v)).collect(),
        DType::F16 => {
            let all = tensor.as_slice::<f16>().map_err(wrong)?;
            all.iter().map(|value| short(value.to_f32())).collect()
        }
        DType::Bf16 => {
            let all = tensor.as_slice::<bf16>().map_err(wrong)?;
            all.iter().map(|value| short(value.to_f32())).collect()
        }
        DType::Bool => {
            let all = tensor.as_slice::<u8>().map_err(wrong)?;
            all.iter().map(|bit| Json::from(*bit != 0)).collect()
        }
        DType::String => tensor
            .as_strings()
            .map_err(wrong)?
            .iter()
            .map(|text| Json::from(text.as_str()))
            .collect(),
        other => for_dtype!(other, T in [f64, i64, i32, i16, i8, u8, u16, u32, u64], {
            tensor.as_slice::<T>().map_err(wrong)?.iter().map(|value| Json::from(*value)).collect()
        }, else {
            let what = format!("{other} cannot be shown in JSON; use kind = \"tensors\"");
            return Err(OutputError::of("kind", what));
        }),
    })
}

/// Elements as lists within lists.
pub(super) fn nested(elements: Vec<Json>, shape: &[usize]) -> Json {
    let Some((_, inner)) = shape.split_first() else {
        return elements.into_iter().next().unwrap_or(Json::Null);
    };
    let mut level = elements;
    // From the innermost axis outwards.
    for (at, size) in inner.iter().enumerate().rev() {
        let groups: usize = shape.iter().take(at + 1).product();
        let mut items = level.into_iter();
        level = (0..groups).map(|_| Json::Array(items.by_ref().take(*size).collect())).collect();
    }
    Json::Array(level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_short_and_lists_nest() {
        assert_eq!(short(0.1), json!(0.1));
        assert_eq!(short(f32::NAN), Json::Null);
        let tensor = Tensor::new([2, 1, 2], vec![1_i64, 2, 3, 4]);
        let all = elements(&tensor).unwrap();
        assert_eq!(nested(all, tensor.shape()), json!([[[1, 2]], [[3, 4]]]));
        assert_eq!(nested(vec![json!(5)], &[]), json!(5));
        assert_eq!(nested(vec![], &[2, 0]), json!([[], []]));
        assert_eq!(nested(vec![], &[0, 3]), json!([]));
        let bits = Tensor::bools([2], [true, false].into_iter());
        assert_eq!(elements(&bits).unwrap(), [json!(true), json!(false)]);
    }
}
