//! LabelEncoder and CategoryMapper: <https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html>
//!
//! NaN as a key matches NaN. A key with two different values is refused: it is unsaid which one counts.

use std::collections::HashMap;

use num_traits::AsPrimitive;

use crate::dtype::{DType, for_dtype, for_repr};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Places of values by key. Floats are found by their bits as f64.
#[derive(Debug)]
enum Keys {
    Integers(HashMap<i64, usize>),
    Floats(HashMap<u64, usize>),
    Texts(HashMap<String, usize>),
}

#[derive(Debug)]
struct Encoder {
    dtype: DType,
    keys: Keys,
    /// The default is the last.
    values: Tensor,
}

fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// The elements of a float tensor, as bits of f64.
fn float_bits(tensor: &Tensor) -> Result<Vec<u64>, OpError> {
    for_dtype!(tensor.dtype(), T in [f32, f64], {
        Ok(tensor.as_slice::<T>()?.iter().map(|x| bits((*x).as_())).collect())
    }, else {
        Err(OpError::Type { expected: "f32 or f64", found: tensor.dtype() })
    })
}

/// The values, as one that tells them apart.
fn identities(values: &Tensor) -> Vec<Vec<u8>> {
    match values.as_strings() {
        Ok(texts) => texts.iter().map(|text| text.clone().into_bytes()).collect(),
        Err(_) => values.raw().chunks_exact(values.dtype().bytes()).map(<[u8]>::to_vec).collect(),
    }
}

fn indexed<K: std::hash::Hash + Eq + Clone>(
    keys: impl Iterator<Item = K>,
    values: &[Vec<u8>],
) -> Result<HashMap<K, usize>, BuildError> {
    let mut places = HashMap::new();
    for (at, key) in keys.enumerate() {
        let first = *places.entry(key).or_insert(at);
        if values.get(first) != values.get(at) {
            return Err(BuildError::unsupported(format!("a key, number {at}, with two values")));
        }
    }
    Ok(places)
}

impl Keys {
    fn new(keys: &Tensor, values: &Tensor) -> Result<Self, BuildError> {
        let invalid = |error: OpError| BuildError::invalid(error.to_string());
        let values = identities(values);
        match keys.dtype() {
            DType::String => {
                let keys = keys.as_strings().map_err(invalid)?.iter().cloned();
                Ok(Self::Texts(indexed(keys, &values)?))
            }
            DType::F32 | DType::F64 => {
                let keys = float_bits(keys).map_err(invalid)?.into_iter();
                Ok(Self::Floats(indexed(keys, &values)?))
            }
            _ => {
                let keys = keys.to_i64s().map_err(invalid)?.into_iter();
                Ok(Self::Integers(indexed(keys, &values)?))
            }
        }
    }

    /// The place of each element's value; `default` where it is no key.
    fn places(&self, tensor: &Tensor, default: usize) -> Result<Vec<usize>, OpError> {
        let or_default = |place: Option<&usize>| place.copied().unwrap_or(default);
        Ok(match self {
            Self::Texts(places) => {
                let texts = tensor.as_strings()?;
                texts.iter().map(|text| or_default(places.get(text))).collect()
            }
            Self::Integers(places) => {
                let integers = tensor.to_i64s()?;
                integers.iter().map(|integer| or_default(places.get(integer))).collect()
            }
            Self::Floats(places) => {
                float_bits(tensor)?.iter().map(|bits| or_default(places.get(bits))).collect()
            }
        })
    }
}

/// A list attribute in one of its forms, `keys_floats` say, or as a tensor.
fn list(spec: &NodeSpec<'_>, prefix: &str) -> Result<Option<Tensor>, BuildError> {
    if let Some(texts) = spec.texts_opt(&format!("{prefix}_strings"))? {
        return Ok(Some(Tensor::strings([texts.len()], texts.to_vec())));
    }
    if let Some(integers) = spec.ints_opt(&format!("{prefix}_int64s"))? {
        return Ok(Some(Tensor::new([integers.len()], integers.to_vec())));
    }
    if let Some(floats) = spec.floats_opt(&format!("{prefix}_floats"))? {
        return Ok(Some(Tensor::new([floats.len()], floats.to_vec())));
    }
    let tensor = spec.tensor_opt(&format!("{prefix}_tensor"))?.cloned();
    tensor.map(flat).transpose()
}

fn flat(tensor: Tensor) -> Result<Tensor, BuildError> {
    let length = tensor.len();
    tensor.reshaped([length]).map_err(|error| BuildError::invalid(error.to_string()))
}

/// What stands for elements that are no keys, of the values' type.
fn default(spec: &NodeSpec<'_>, dtype: DType) -> Result<Tensor, BuildError> {
    if let Some(tensor) = spec.tensor_opt("default_tensor")? {
        if tensor.dtype() != dtype || tensor.len() != 1 {
            return Err(BuildError::invalid(format!(
                "default_tensor is {} of {}, it should be one {dtype}",
                tensor.dtype(),
                tensor.len()
            )));
        }
        return flat(tensor.clone());
    }
    let integer = spec.int("default_int64", -1)?;
    Ok(match dtype {
        DType::String => {
            Tensor::strings([1], vec![spec.text("default_string", "_Unused")?.to_owned()])
        }
        DType::F32 => Tensor::new([1], vec![spec.float("default_float", -0.0)?]),
        DType::F64 => Tensor::new([1], vec![f64::from(spec.float("default_float", -0.0)?)]),
        DType::I64 => Tensor::new([1], vec![integer]),
        DType::I32 => Tensor::new([1], vec![i32::try_from(integer).unwrap_or(-1)]),
        DType::I16 => Tensor::new([1], vec![i16::try_from(integer).unwrap_or(-1)]),
        other => return Err(BuildError::invalid(format!("values are {other}"))),
    })
}

/// Values with the default behind them.
fn with_default(values: &Tensor, default: &Tensor) -> Result<Tensor, BuildError> {
    let invalid = |error: OpError| BuildError::invalid(error.to_string());
    let length = values.len() + 1;
    if let Ok(texts) = values.as_strings() {
        let all = [texts, default.as_strings().map_err(invalid)?].concat();
        return Ok(Tensor::strings([length], all));
    }
    for_repr!(values.dtype(), T, {
        let values_units = values.as_units::<T>().map_err(invalid)?;
        let all = [values_units, default.as_units::<T>().map_err(invalid)?].concat();
        Ok(Tensor::from_units(values.dtype(), [length], all))
    }, else {
        Err(BuildError::invalid("values of strings"))
    })
}

fn build(keys: &Tensor, values: &Tensor, default: &Tensor) -> Result<Encoder, BuildError> {
    if keys.len() != values.len() {
        return Err(BuildError::invalid(format!(
            "there are {} keys and {} values",
            keys.len(),
            values.len()
        )));
    }
    let dtype = keys.dtype();
    Ok(Encoder { dtype, keys: Keys::new(keys, values)?, values: with_default(values, default)? })
}

pub(super) fn build_label_encoder(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    if spec.version() < 2 {
        let classes = spec.texts_opt("classes_strings")?.unwrap_or_default();
        return build_both_ways(spec, classes, None);
    }
    let (Some(keys), Some(values)) = (list(spec, "keys")?, list(spec, "values")?) else {
        return Err(BuildError::invalid("keys or values are missing"));
    };
    let default = default(spec, values.dtype())?;
    Ok(Box::new(build(&keys, &values, &default)?))
}

pub(super) fn build_category_mapper(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let integers = spec.ints_opt("cats_int64s")?.unwrap_or_default();
    build_both_ways(spec, spec.texts_opt("cats_strings")?.unwrap_or_default(), Some(integers))
}

/// Strings become integers and integers strings.
#[derive(Debug)]
struct BothWays {
    to_integer: Encoder,
    to_text: Encoder,
}

fn build_both_ways(
    spec: &NodeSpec<'_>,
    texts: &[String],
    integers: Option<&[i64]>,
) -> Result<Box<dyn Operator>, BuildError> {
    let texts = Tensor::strings([texts.len()], texts.to_vec());
    let integers: Vec<i64> = match integers {
        Some(integers) => integers.to_vec(),
        None => (0..).take(texts.len()).collect(),
    };
    let integers = Tensor::new([integers.len()], integers);
    let to_integer = build(&texts, &integers, &default(spec, DType::I64)?)?;
    let to_text = build(&integers, &texts, &default(spec, DType::String)?)?;
    Ok(Box::new(BothWays { to_integer, to_text }))
}

impl Operator for BothWays {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let is_text = inputs.tensor(0)?.dtype() == DType::String;
        if is_text { &self.to_integer } else { &self.to_text }.run(inputs, context)
    }
}

impl Operator for Encoder {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        if tensor.dtype() != self.dtype {
            return Err(OpError::Type { expected: self.dtype.name(), found: tensor.dtype() });
        }
        context.claim(tensor.shape(), self.values.dtype().bytes())?;
        let places = self.keys.places(tensor, self.values.len() - 1)?;
        if let Ok(values) = self.values.as_strings() {
            let texts = places.iter().map(|at| values[*at].clone()).collect();
            return Ok(vec![Tensor::strings(tensor.shape(), texts).into()]);
        }
        for_repr!(self.values.dtype(), T, {
            let values = self.values.as_units::<T>()?;
            let units = places.iter().map(|at| values[*at]).collect();
            Ok(vec![Tensor::from_units(self.values.dtype(), tensor.shape(), units).into()])
        }, else {
            Err(OpError::Type { expected: "a number", found: self.values.dtype() })
        })
    }
}
