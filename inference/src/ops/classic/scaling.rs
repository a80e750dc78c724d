//! Scaler, Normalizer, Binarizer, Imputer: <https://onnx.ai/onnx/operators/onnx_aionnxml_Scaler.html>

use num_traits::AsPrimitive;

use crate::dtype::{Element, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// The size of the last axis, over which there is one number for each feature or one for all.
fn width_of(tensor: &Tensor, counts: &[usize]) -> Result<usize, OpError> {
    let width = tensor.shape().last().copied().unwrap_or(1);
    match counts.iter().find(|count| **count != width && **count != 1) {
        None => Ok(width),
        Some(count) => {
            Err(OpError::shape(format!("there are {count} numbers for {width} features")))
        }
    }
}

#[derive(Debug)]
struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

pub(super) fn build_scaler(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let floats = |name: &str| match spec.floats_opt(name)? {
        Some(floats) if !floats.is_empty() => Ok(floats.to_vec()),
        _ => Err(BuildError::invalid(format!("attribute {name:?} is missing"))),
    };
    Ok(Box::new(Scaler { offset: floats("offset")?, scale: floats("scale")? }))
}

impl Operator for Scaler {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let width = width_of(&tensor, &[self.offset.len(), self.scale.len()])?;
        context.claim(tensor.shape(), size_of::<f32>())?;
        let shape = tensor.shape().to_vec();
        let mut out = match tensor.get::<f32>() {
            Some(_) => tensor.into_vec()?,
            None => tensor.to_f32s()?,
        };
        for row in out.chunks_exact_mut(width.max(1)) {
            let numbers = self.offset.iter().cycle().zip(self.scale.iter().cycle());
            for (x, (offset, scale)) in row.iter_mut().zip(numbers) {
                *x = (*x - offset) * scale;
            }
        }
        Ok(vec![Tensor::new(shape, out).into()])
    }
}

#[derive(Clone, Copy, Debug)]
enum Norm {
    Max,
    L1,
    L2,
}

#[derive(Debug)]
struct Normalizer(Norm);

pub(super) fn build_normalizer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Normalizer(match spec.text("norm", "MAX")? {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => return Err(BuildError::invalid(format!("norm is {other:?}"))),
    })))
}

impl Operator for Normalizer {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let width = match *tensor.shape() {
            [width] | [_, width] => width,
            ref other => {
                return Err(OpError::shape(format!("{other:?} where rows are wanted")));
            }
        };
        context.claim(tensor.shape(), size_of::<f32>())?;
        let mut out = tensor.to_f32s()?;
        for row in out.chunks_exact_mut(width.max(1)) {
            // The reference takes absolute values for the maximum, as scikit-learn does; ONNX Runtime does not.
            let size = match self.0 {
                Norm::Max => row.iter().fold(0.0, |most: f32, x| most.max(x.abs())),
                Norm::L1 => row.iter().map(|x| x.abs()).sum(),
                Norm::L2 => row.iter().map(|x| x * x).sum::<f32>().sqrt(),
            };
            // A row of zeros stays one.
            if size != 0.0 {
                row.iter_mut().for_each(|x| *x /= size);
            }
        }
        Ok(vec![Tensor::new(tensor.shape(), out).into()])
    }
}

#[derive(Debug)]
struct Binarizer {
    threshold: f32,
}

pub(super) fn build_binarizer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Binarizer { threshold: spec.float("threshold", 0.0)? }))
}

/// Whether an element lies above a threshold.
fn flags<T: Element>(tensor: Tensor, above: impl Fn(T) -> bool) -> Result<Tensor, OpError> {
    let shape = tensor.shape().to_vec();
    let mut elements = tensor.into_vec::<T>()?;
    for x in &mut elements {
        *x = if above(*x) { T::ONE } else { T::ZERO };
    }
    Ok(Tensor::new(shape, elements))
}

impl Operator for Binarizer {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let threshold = f64::from(self.threshold);
        Ok(vec![for_dtype!(tensor.dtype(), T in [f32, f64, i64, i32], {
            flags(tensor, |x: T| AsPrimitive::<f64>::as_(x) > threshold)?.into()
        }, else {
            return Err(OpError::Type { expected: "f32, f64, i64 or i32", found: tensor.dtype() });
        })])
    }
}

#[derive(Debug)]
struct Imputer {
    floats: Option<(Vec<f32>, f32)>,
    integers: Option<(Vec<i64>, i64)>,
}

pub(super) fn build_imputer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let float = spec.float("replaced_value_float", 0.0)?;
    let integer = spec.int("replaced_value_int64", 0)?;
    let floats = spec.floats_opt("imputed_value_floats")?.filter(|values| !values.is_empty());
    let integers = spec.ints_opt("imputed_value_int64s")?.filter(|values| !values.is_empty());
    if floats.is_some() == integers.is_some() {
        return Err(BuildError::invalid("either floats or integers should be imputed"));
    }
    Ok(Box::new(Imputer {
        floats: floats.map(|values| (values.to_vec(), float)),
        integers: integers.map(|values| (values.to_vec(), integer)),
    }))
}

fn impute<T: Element>(
    tensor: Tensor,
    values: &[T],
    replaced: impl Fn(&T) -> bool,
) -> Result<Tensor, OpError> {
    let width = width_of(&tensor, &[values.len()])?;
    let shape = tensor.shape().to_vec();
    let mut elements = tensor.into_vec::<T>()?;
    for row in elements.chunks_exact_mut(width.max(1)) {
        for (x, value) in row.iter_mut().zip(values.iter().cycle()) {
            if replaced(x) {
                *x = *value;
            }
        }
    }
    Ok(Tensor::new(shape, elements))
}

impl Operator for Imputer {
    fn run(&self, mut inputs: Inputs, _: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.take_tensor(0)?;
        let found = tensor.dtype();
        if let Some((values, replaced)) = &self.floats {
            return Ok(vec![for_dtype!(found, T in [f32, f64], {
                let values: Vec<T> = values.iter().map(|x| T::from(*x)).collect();
                let replaced = T::from(*replaced);
                let same = |x: &T| *x == replaced || (x.is_nan() && replaced.is_nan());
                impute(tensor, &values, same)?.into()
            }, else {
                return Err(OpError::Type { expected: "f32 or f64", found });
            })]);
        }
        let (values, replaced) = self.integers.as_ref().map_or((&[][..], 0), |(v, r)| (v, *r));
        Ok(vec![for_dtype!(found, T in [i64, i32], {
            let narrow = |x: i64| {
                T::try_from(x).map_err(|_| OpError::shape(format!("{x} does not fit {found}")))
            };
            let values = values.iter().map(|x| narrow(*x)).collect::<Result<Vec<T>, _>>()?;
            let replaced = narrow(replaced)?;
            impute(tensor, &values, |x: &T| *x == replaced)?.into()
        }, else {
            return Err(OpError::Type { expected: "i64 or i32", found });
        })])
    }
}
