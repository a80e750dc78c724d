//! Random numbers: <https://onnx.ai/onnx/operators/onnx__RandomNormal.html> and the like, Bernoulli, Multinomial.
//!
//! With a seed, the same numbers in every run; the specification names no generator, ours is the Mersenne Twister that most use.

use super::cast::convert;
use super::twister::Draws;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Distribution {
    Normal { mean: f64, scale: f64 },
    Uniform { low: f64, high: f64 },
}

#[derive(Debug)]
struct Random {
    distribution: Distribution,
    dtype: Option<DType>,
    /// `None`: that of the operand.
    shape: Option<Vec<usize>>,
    seed: Option<u32>,
}

/// The seed, which is a float. Its bits would be other numbers than people write down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "any number is a seed, as long as it is always the same"
)]
fn seed_of(spec: &NodeSpec<'_>) -> Result<Option<u32>, BuildError> {
    Ok(spec.float_opt("seed")?.filter(|seed| !seed.is_nan()).map(|seed| seed as i64 as u32))
}

fn dtype_of(spec: &NodeSpec<'_>) -> Result<Option<DType>, BuildError> {
    let Some(number) = spec.int_opt("dtype")? else { return Ok(None) };
    let dtype = i32::try_from(number).ok().and_then(DType::from_onnx);
    dtype
        .filter(|dtype| *dtype != DType::String)
        .map(Some)
        .ok_or_else(|| BuildError::unsupported(format!("random numbers of element type {number}")))
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let op = spec.op();
    let distribution = if op.starts_with("RandomNormal") {
        Distribution::Normal {
            mean: spec.float("mean", 0.0)?.into(),
            scale: spec.float("scale", 1.0)?.into(),
        }
    } else {
        Distribution::Uniform {
            low: spec.float("low", 0.0)?.into(),
            high: spec.float("high", 1.0)?.into(),
        }
    };
    let dtype = dtype_of(spec)?;
    if dtype.is_some_and(|dtype| !dtype.is_float()) {
        return Err(BuildError::invalid("attribute \"dtype\" is no float type"));
    }
    let shape = if op.ends_with("Like") { None } else { Some(shape_of(spec)?) };
    let dtype = if shape.is_some() { dtype.or(Some(DType::F32)) } else { dtype };
    Ok(Box::new(Random { distribution, dtype, shape, seed: seed_of(spec)? }))
}

fn shape_of(spec: &NodeSpec<'_>) -> Result<Vec<usize>, BuildError> {
    let sizes = spec
        .ints_opt("shape")?
        .ok_or_else(|| BuildError::invalid("attribute \"shape\" is missing"))?;
    sizes
        .iter()
        .map(|size| usize::try_from(*size))
        .collect::<Result<_, _>>()
        .map_err(|_| BuildError::invalid(format!("attribute \"shape\" is {sizes:?}")))
}

impl Operator for Random {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (shape, dtype) = match &self.shape {
            Some(shape) => (shape.clone(), self.dtype.unwrap_or(DType::F32)),
            None => {
                let like = inputs.tensor(0)?;
                let dtype = if like.dtype().is_float() { like.dtype() } else { DType::F32 };
                (like.shape().to_vec(), self.dtype.unwrap_or(dtype))
            }
        };
        let elements = context.claim(&shape, size_of::<f64>())?;
        let mut draws = Draws::new(self.seed, context);
        let values = (0..elements).map(|_| match self.distribution {
            Distribution::Normal { mean, scale } => mean + scale * draws.normal(),
            Distribution::Uniform { low, high } => low + (high - low) * draws.unit(),
        });
        let values = Tensor::new(shape, values.collect());
        Ok(vec![convert(values, dtype, context)?.into()])
    }

    fn is_pure(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Bernoulli {
    dtype: Option<DType>,
    seed: Option<u32>,
}

pub(super) fn build_bernoulli(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Bernoulli { dtype: dtype_of(spec)?, seed: seed_of(spec)? }))
}

impl Operator for Bernoulli {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let chances = inputs.tensor(0)?;
        let dtype = self.dtype.unwrap_or(chances.dtype());
        let chances = convert(chances.clone(), DType::F64, context)?;
        let mut draws = Draws::new(self.seed, context);
        // As NumPy turns a uniform number into a binomial one, for the same bits from the same seed.
        let bit = |chance: &f64| {
            let unit = draws.unit();
            if *chance <= 0.5 { unit > 1.0 - chance } else { unit <= *chance }
        };
        let bits = chances.as_slice::<f64>()?.iter().map(bit);
        let bits = Tensor::bools(chances.shape(), bits.collect::<Vec<_>>().into_iter());
        Ok(vec![convert(bits, dtype, context)?.into()])
    }

    fn is_pure(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Multinomial {
    dtype: DType,
    samples: usize,
    seed: Option<u32>,
}

pub(super) fn build_multinomial(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let dtype = dtype_of(spec)?.unwrap_or(DType::I32);
    if !matches!(dtype, DType::I32 | DType::I64) {
        return Err(BuildError::invalid("attribute \"dtype\" should be int32 or int64"));
    }
    let samples = spec.int("sample_size", 1)?;
    let samples = usize::try_from(samples)
        .map_err(|_| BuildError::invalid(format!("attribute \"sample_size\" is {samples}")))?;
    Ok(Box::new(Multinomial { dtype, samples, seed: seed_of(spec)? }))
}

impl Operator for Multinomial {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let logits = inputs.tensor(0)?;
        let [batch, classes] = *logits.shape() else {
            return Err(OpError::shape(format!(
                "shape {:?}, it should be [batch, classes]",
                logits.shape()
            )));
        };
        let shape = [batch, self.samples];
        let elements = context.claim(&shape, size_of::<i64>())?;
        if classes == 0 && elements > 0 {
            return Err(OpError::shape("there are no classes to draw from"));
        }
        let logits = convert(logits.clone(), DType::F64, context)?;
        let mut draws = Draws::new(self.seed, context);
        let mut out = Vec::with_capacity(elements);
        for row in logits.as_slice::<f64>()?.chunks_exact(classes.max(1)) {
            let sums = cumulative(row);
            let total = sums.last().copied().unwrap_or(0.0);
            for _ in 0..self.samples {
                let place = draws.unit() * total;
                let class = sums.partition_point(|sum| *sum <= place).min(classes - 1);
                out.push(i64::try_from(class).unwrap_or(i64::MAX));
            }
        }
        Ok(vec![convert(Tensor::new(shape, out), self.dtype, context)?.into()])
    }

    fn is_pure(&self) -> bool {
        false
    }
}

/// Sums of the weights up to each class, the weights being exponentials of logits.
fn cumulative(logits: &[f64]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    let add = |logit: &f64| {
        sum += (logit - highest).exp();
        sum
    };
    logits.iter().map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn draws_are_where_they_should_be() {
        let limits = Limits::default();
        let run = |operator: &dyn Operator, inputs: Vec<Tensor>, seed| {
            let inputs = Inputs(inputs.into_iter().map(|tensor| Some(tensor.into())).collect());
            let mut out = operator.run(inputs, &mut Context::new(&limits, seed)).unwrap();
            out.remove(0).into_tensor().unwrap()
        };
        let distribution = Distribution::Normal { mean: 3.0, scale: 2.0 };
        let normal = |seed| Random {
            distribution,
            dtype: Some(DType::F64),
            shape: Some(vec![10_000]),
            seed,
        };
        let values = run(&normal(None), vec![], 1);
        let mean = values.as_slice::<f64>().unwrap().iter().sum::<f64>() / 10_000.0;
        assert!((mean - 3.0).abs() < 0.1, "{mean}");
        let seeded = [1, 2].map(|seed| run(&normal(Some(7)), vec![], seed));
        assert_eq!(seeded[0].raw(), seeded[1].raw());
        assert_ne!(values.raw(), run(&normal(None), vec![], 2).raw());
        let logits = Tensor::new([1, 3], vec![f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]);
        let drawn =
            run(&Multinomial { dtype: DType::I32, samples: 5, seed: None }, vec![logits], 3);
        assert_eq!(drawn.as_slice::<i32>().unwrap(), [1; 5]);
    }
}
