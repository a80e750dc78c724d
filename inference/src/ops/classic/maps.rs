//! ZipMap, DictVectorizer, CastMap: <https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html>

use std::collections::HashMap;
use std::sync::Arc;

use super::labels::Labels;
use crate::dtype::{DType, for_repr};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct ZipMap {
    /// All labels, as the keys of every map.
    keys: Tensor,
}

pub(super) fn build_zip_map(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let labels = Labels::read(spec, "classlabels_int64s", "classlabels_strings")?;
    let all: Vec<usize> = (0..labels.len()).collect();
    Ok(Box::new(ZipMap { keys: labels.tensor(&all) }))
}

impl Operator for ZipMap {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let width = self.keys.len();
        let rows = match *tensor.shape() {
            [found] if found == width => 1,
            [rows, found] if found == width => rows,
            ref other => {
                return Err(OpError::shape(format!("{other:?} does not go with {width} labels")));
            }
        };
        context.claim(&[rows], size_of::<Value>() + size_of::<(Tensor, Value)>())?;
        let row = |row: &[f32]| {
            let values = Tensor::new([width], row.to_vec());
            Value::Map(Arc::new((self.keys.clone(), values.into())))
        };
        let maps = tensor.as_slice::<f32>()?.chunks_exact(width.max(1)).map(row).collect();
        Ok(vec![Value::Sequence(Arc::new(maps))])
    }
}

/// The keys and the values of a map.
fn map_of(value: &Value) -> Result<(&Tensor, &Tensor), OpError> {
    match value {
        Value::Map(map) => Ok((&map.0, map.1.as_tensor()?)),
        other => Err(OpError::Kind { expected: "a map", found: other.kind() }),
    }
}

#[derive(Debug)]
struct DictVectorizer {
    vocabulary: Labels,
}

pub(super) fn build_dict_vectorizer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let vocabulary = Labels::read(spec, "int64_vocabulary", "string_vocabulary")?;
    Ok(Box::new(DictVectorizer { vocabulary }))
}

/// For each key that is wanted, where it is.
fn places<K: std::hash::Hash + Eq>(wanted: &[K], keys: &[K]) -> Vec<Option<usize>> {
    let at: HashMap<&K, usize> = keys.iter().zip(0..).collect();
    wanted.iter().map(|key| at.get(key).copied()).collect()
}

impl Operator for DictVectorizer {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let value = inputs.get(0).ok_or(OpError::Missing(0))?;
        let (keys, values) = map_of(value)?;
        let places = match &self.vocabulary {
            Labels::Ints(wanted) => places(wanted, keys.as_slice::<i64>()?),
            Labels::Texts(wanted) => places(wanted, keys.as_strings()?),
        };
        let shape = [1, places.len()];
        if let Ok(texts) = values.as_strings() {
            let text = |at: Option<usize>| at.and_then(|at| texts.get(at)).cloned();
            let out = places.into_iter().map(|at| text(at).unwrap_or_default()).collect();
            return Ok(vec![Tensor::strings(shape, out).into()]);
        }
        for_repr!(values.dtype(), T, {
            let units = values.as_units::<T>()?;
            let unit = |at: Option<usize>| at.and_then(|at| units.get(at)).copied().unwrap_or(0);
            let out = places.into_iter().map(unit).collect();
            Ok(vec![Tensor::from_units(values.dtype(), shape, out).into()])
        }, else {
            Err(OpError::Type { expected: "a number", found: values.dtype() })
        })
    }
}

#[derive(Debug)]
struct CastMap {
    to: DType,
    /// The number of columns; `None`: as many as there are keys.
    columns: Option<usize>,
}

pub(super) fn build_cast_map(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let to = match spec.text("cast_to", "TO_FLOAT")? {
        "TO_FLOAT" => DType::F32,
        "TO_INT64" => DType::I64,
        "TO_STRING" => DType::String,
        other => return Err(BuildError::invalid(format!("cast_to is {other:?}"))),
    };
    let columns = match spec.text("map_form", "DENSE")? {
        "DENSE" => None,
        "SPARSE" => {
            let most = spec.int("max_map", 1)?;
            Some(
                usize::try_from(most)
                    .map_err(|_| BuildError::invalid(format!("max_map is {most}")))?,
            )
        }
        other => return Err(BuildError::invalid(format!("map_form is {other:?}"))),
    };
    if to == DType::String {
        return Err(BuildError::unsupported("a map's numbers as strings"));
    }
    Ok(Box::new(CastMap { to, columns }))
}

impl CastMap {
    fn numbers(&self, values: &Tensor) -> Result<Tensor, OpError> {
        let failed = |text: &str| OpError::shape(format!("{text:?} is no number"));
        match (values.dtype(), self.to) {
            (DType::String, DType::F32) => {
                let texts = values.as_strings()?.iter();
                let parse = |text: &String| text.trim().parse::<f32>().map_err(|_| failed(text));
                let elements = texts.map(parse).collect::<Result<Vec<_>, _>>()?;
                Ok(Tensor::new([elements.len()], elements))
            }
            (DType::String, _) => {
                let texts = values.as_strings()?.iter();
                let parse = |text: &String| text.trim().parse::<i64>().map_err(|_| failed(text));
                let elements = texts.map(parse).collect::<Result<Vec<_>, _>>()?;
                Ok(Tensor::new([elements.len()], elements))
            }
            (DType::F32, DType::F32) => Ok(values.clone()),
            (DType::F32, _) => {
                #[expect(clippy::cast_possible_truncation, reason = "floats lose their fractions")]
                let elements = values.as_slice::<f32>()?.iter().map(|x| *x as i64).collect();
                Ok(Tensor::new([values.len()], elements))
            }
            (found, _) => Err(OpError::Type { expected: "f32 or string", found }),
        }
    }
}

impl Operator for CastMap {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let value = inputs.get(0).ok_or(OpError::Missing(0))?;
        let (keys, values) = map_of(value)?;
        let (keys, values) = (keys.as_slice::<i64>()?, self.numbers(values)?);
        // Either way the columns are in the order of the keys.
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|at| keys[*at]);
        let columns = self.columns.unwrap_or(keys.len());
        let shape = [1, columns];
        let elements = context.claim(&shape, self.to.bytes())?;
        for_repr!(self.to, T, {
            let units = values.as_units::<T>()?;
            let mut out = vec![0; elements];
            for (number, at) in order.into_iter().enumerate() {
                let column = match self.columns {
                    None => number,
                    Some(columns) => usize::try_from(keys[at])
                        .ok()
                        .filter(|column| *column < columns)
                        .ok_or_else(|| OpError::shape(format!("the key {} is no column", keys[at])))?,
                };
                out[column] = units.get(at).copied().ok_or(OpError::Missing(0))?;
            }
            Ok(vec![Tensor::from_units(self.to, shape, out).into()])
        }, else {
            Err(OpError::Type { expected: "a number", found: self.to })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn run(operator: &dyn Operator, value: Value) -> Result<Vec<Value>, OpError> {
        let limits = Limits::default();
        operator.run(Inputs(vec![Some(value)]), &mut Context::new(&limits, 0))
    }

    #[test]
    fn rows_become_maps_and_vectors_again() {
        let labels = Labels::Texts(vec!["a".to_owned(), "b".to_owned()]);
        let zip = ZipMap { keys: labels.tensor(&[0, 1]) };
        let rows = Tensor::new([2, 2], vec![0.1_f32, 0.9, 0.7, 0.3]);
        let maps = run(&zip, rows.into()).unwrap();
        let maps = maps[0].as_sequence().unwrap();
        assert_eq!(maps.len(), 2);
        let wanted = ["b", "c", "a"].map(str::to_owned).to_vec();
        let vectorizer = DictVectorizer { vocabulary: Labels::Texts(wanted) };
        let out = run(&vectorizer, maps[1].clone()).unwrap();
        assert_eq!(out[0].as_tensor().unwrap().as_slice::<f32>().unwrap(), [0.3, 0.0, 0.7]);
        assert!(run(&zip, Tensor::new([1, 3], vec![0.0_f32; 3]).into()).is_err());
        assert!(run(&vectorizer, Tensor::scalar(1.0_f32).into()).is_err());
    }

    #[test]
    fn sparse_maps_have_their_columns() {
        let map = |keys: Vec<i64>| {
            let values = Tensor::new([2], vec![1.5_f32, 2.5]);
            Value::Map(Arc::new((Tensor::new([2], keys), values.into())))
        };
        let sparse = CastMap { to: DType::F32, columns: Some(4) };
        let out = run(&sparse, map(vec![3, 1])).unwrap();
        assert_eq!(out[0].as_tensor().unwrap().as_slice::<f32>().unwrap(), [0.0, 2.5, 0.0, 1.5]);
        assert!(run(&sparse, map(vec![4, 1])).is_err());
        assert!(run(&sparse, map(vec![-1, 1])).is_err());
        let dense = CastMap { to: DType::I64, columns: None };
        let out = run(&dense, map(vec![9, 1])).unwrap();
        assert_eq!(out[0].as_tensor().unwrap().as_slice::<i64>().unwrap(), [2, 1]);
    }
}
