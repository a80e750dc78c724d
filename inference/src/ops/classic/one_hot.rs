//! OneHotEncoder: <https://onnx.ai/onnx/operators/onnx_aionnxml_OneHotEncoder.html>

use std::collections::HashMap;

use super::labels::Labels;
use crate::dtype::{DType, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
enum Categories {
    Integers(HashMap<i64, usize>),
    Texts(HashMap<String, usize>),
}

#[derive(Debug)]
struct OneHotEncoder {
    categories: Categories,
    count: usize,
    /// What is in no category gives zeros; else it is an error.
    zeros: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let labels = Labels::read(spec, "cats_int64s", "cats_strings")?;
    let count = labels.len();
    let categories = match labels {
        Labels::Ints(labels) => Categories::Integers(labels.into_iter().zip(0..).collect()),
        Labels::Texts(labels) => Categories::Texts(labels.into_iter().zip(0..).collect()),
    };
    let distinct = match &categories {
        Categories::Integers(places) => places.len(),
        Categories::Texts(places) => places.len(),
    };
    if distinct != count {
        return Err(BuildError::invalid("a category is there twice"));
    }
    Ok(Box::new(OneHotEncoder { categories, count, zeros: spec.flag("zeros", true)? }))
}

impl OneHotEncoder {
    fn places(&self, tensor: &Tensor) -> Result<Vec<Option<usize>>, OpError> {
        match &self.categories {
            Categories::Texts(places) => {
                let texts = tensor.as_strings()?;
                Ok(texts.iter().map(|text| places.get(text).copied()).collect())
            }
            Categories::Integers(places) => {
                let integers = truncated(tensor)?;
                Ok(integers.iter().map(|integer| places.get(integer).copied()).collect())
            }
        }
    }
}

/// Floats lose their fractions, as in a conversion to integers.
#[expect(clippy::cast_possible_truncation, reason = "so the operator compares floats")]
fn truncated(tensor: &Tensor) -> Result<Vec<i64>, OpError> {
    for_dtype!(tensor.dtype(), T in [f32, f64], {
        return Ok(tensor.as_slice::<T>()?.iter().map(|x| *x as i64).collect());
    }, else {});
    if matches!(tensor.dtype(), DType::I64 | DType::I32) {
        return tensor.to_i64s();
    }
    Err(OpError::Type { expected: "f32, f64, i64 or i32", found: tensor.dtype() })
}

impl Operator for OneHotEncoder {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let mut shape = tensor.shape().to_vec();
        shape.push(self.count);
        let mut out = vec![0.0_f32; context.claim(&shape, size_of::<f32>())?];
        for (row, place) in out.chunks_exact_mut(self.count.max(1)).zip(self.places(tensor)?) {
            match place {
                Some(place) => row[place] = 1.0,
                None if self.zeros => {}
                None => return Err(OpError::shape("an element is in none of the categories")),
            }
        }
        Ok(vec![Tensor::new(shape, out).into()])
    }
}
