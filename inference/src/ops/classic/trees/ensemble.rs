//! TreeEnsemble: a target's scores from all trees, put together.

use super::super::rows::{Rows, rounded};
use super::super::scores::PostTransform;
use super::flat;
use super::forest::{Aggregate, Forest, Score};
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct Ensemble {
    forest: Forest,
    aggregate: Aggregate,
    post_transform: PostTransform,
}

pub(in super::super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let aggregate = match spec.int("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return Err(BuildError::invalid(format!("aggregate_function is {other}"))),
    };
    let post_transform = match spec.int("post_transform", 0)? {
        0 => PostTransform::None,
        1 => PostTransform::Softmax,
        2 => PostTransform::Logistic,
        3 => PostTransform::SoftmaxZero,
        4 => PostTransform::Probit,
        other => return Err(BuildError::invalid(format!("post_transform is {other}"))),
    };
    let forest = flat::read(spec)?;
    Ok(Box::new(Ensemble { forest, aggregate, post_transform }))
}

impl Operator for Ensemble {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let x = inputs.tensor(0)?;
        let dtype = x.dtype();
        if !matches!(dtype, DType::F32 | DType::F64 | DType::F16) {
            return Err(OpError::Type { expected: "f32, f64 or f16", found: dtype });
        }
        let rows = Rows::of(x)?;
        let shape = [rows.count, self.forest.targets];
        let elements = context.claim(&shape, size_of::<Score>())?;
        let mut out = Vec::with_capacity(elements);
        self.forest.score(&rows, self.aggregate, |scores| {
            if self.post_transform == PostTransform::None {
                out.extend(scores.iter().map(|score| score.value));
                return;
            }
            let mut scores: Vec<f32> = scores.iter().map(|score| rounded(score.value)).collect();
            self.post_transform.apply(&mut scores);
            out.extend(scores.into_iter().map(f64::from));
        })?;
        let tensor = match dtype {
            DType::F64 => Tensor::new(shape, out),
            DType::F16 => Tensor::new(shape, out.into_iter().map(half::f16::from_f64).collect()),
            _ => Tensor::new(shape, out.into_iter().map(rounded).collect()),
        };
        Ok(vec![tensor.into()])
    }
}
