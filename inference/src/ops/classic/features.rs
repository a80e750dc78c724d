//! ArrayFeatureExtractor and FeatureVectorizer:
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_ArrayFeatureExtractor.html>

use crate::dtype::for_repr;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Extractor;

pub(super) fn build_extractor(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Extractor))
}

impl Operator for Extractor {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (tensor, places) = (inputs.tensor(0)?, inputs.tensor(1)?.to_i64s()?);
        let Some((width, outer)) = tensor.shape().split_last() else {
            return Err(OpError::shape("a scalar has no features"));
        };
        let within = |place: i64| {
            usize::try_from(place).ok().filter(|place| place < width).ok_or_else(|| {
                OpError::shape(format!("feature {place} is asked for, there are {width}"))
            })
        };
        let places = places.into_iter().map(within).collect::<Result<Vec<_>, _>>()?;
        // One row keeps its axis.
        let mut shape = if outer.is_empty() { vec![1] } else { outer.to_vec() };
        shape.push(places.len());
        context.claim(&shape, tensor.dtype().bytes())?;
        let width = (*width).max(1);
        if let Ok(texts) = tensor.as_strings() {
            let rows = texts.chunks_exact(width);
            let out = rows.flat_map(|row| places.iter().map(|at| row[*at].clone())).collect();
            return Ok(vec![Tensor::strings(shape, out).into()]);
        }
        for_repr!(tensor.dtype(), T, {
            let rows = tensor.as_units::<T>()?.chunks_exact(width);
            let out = rows.flat_map(|row| places.iter().map(|at| row[*at])).collect();
            Ok(vec![Tensor::from_units(tensor.dtype(), shape, out).into()])
        }, else {
            Err(OpError::Type { expected: "a number", found: tensor.dtype() })
        })
    }
}

#[derive(Debug)]
struct Vectorizer {
    widths: Vec<usize>,
}

pub(super) fn build_vectorizer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let widths = spec.ints_opt("inputdimensions")?.unwrap_or_default();
    if widths.len() != spec.input_count() {
        return Err(BuildError::invalid(format!(
            "inputdimensions has {} sizes for {} operands",
            widths.len(),
            spec.input_count()
        )));
    }
    let width = |width: &i64| {
        usize::try_from(*width)
            .map_err(|_| BuildError::invalid(format!("an operand has {width} features")))
    };
    Ok(Box::new(Vectorizer { widths: widths.iter().map(width).collect::<Result<_, _>>()? }))
}

impl Operator for Vectorizer {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let mut rows = None;
        let mut operands = Vec::with_capacity(self.widths.len());
        for (at, width) in self.widths.iter().enumerate() {
            let tensor = inputs.tensor(at)?;
            // One axis is one feature of each row.
            let (count, found) = match *tensor.shape() {
                [count] => (count, 1),
                [count, found] => (count, found),
                ref other => return Err(OpError::shape(format!("operand {at} is {other:?}"))),
            };
            if *rows.get_or_insert(count) != count {
                return Err(OpError::shape(format!(
                    "operand {at} has {count} rows, others have not"
                )));
            }
            operands.push((tensor.to_f32s()?, found, *width));
        }
        let total = self.widths.iter().try_fold(0_usize, |sum, width| sum.checked_add(*width));
        let shape = [rows.unwrap_or(0), total.unwrap_or(usize::MAX)];
        let expected = context.claim(&shape, size_of::<f32>())?;
        let mut out = Vec::with_capacity(expected);
        if expected == 0 {
            return Ok(vec![Tensor::new(shape, out).into()]);
        }
        for row in 0..shape[0] {
            for (elements, found, width) in &operands {
                let kept = *found.min(width);
                out.extend_from_slice(&elements[row * found..row * found + kept]);
                out.extend(std::iter::repeat_n(0.0, width - kept));
            }
        }
        Ok(vec![Tensor::new(shape, out).into()])
    }
}
