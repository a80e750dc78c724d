//! TreeEnsembleRegressor.

use super::super::rows::{Rows, rounded};
use super::super::scores::PostTransform;
use super::forest::{Aggregate, Forest, Score};
use super::named::{self, WeightNames, numbers};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

const NAMES: WeightNames = WeightNames {
    trees: "target_treeids",
    nodes: "target_nodeids",
    targets: "target_ids",
    values: "target_weights",
};

#[derive(Debug)]
struct Regressor {
    forest: Forest,
    aggregate: Aggregate,
    /// One for each target, or none.
    base: Vec<f64>,
    post_transform: PostTransform,
}

pub(in super::super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let aggregate = match spec.text("aggregate_function", "SUM")? {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => return Err(BuildError::invalid(format!("aggregate_function is {other:?}"))),
    };
    let targets = spec.int("n_targets", 1)?;
    let targets = usize::try_from(targets)
        .map_err(|_| BuildError::invalid(format!("n_targets is {targets}")))?;
    let base = numbers(spec, "base_values")?.unwrap_or_default();
    if !base.is_empty() && base.len() != targets {
        return Err(BuildError::invalid(format!(
            "there are {} base values for {targets} targets",
            base.len()
        )));
    }
    let post_transform = PostTransform::read(spec)?;
    let ambiguous = !matches!(post_transform, PostTransform::None | PostTransform::Probit);
    if targets == 1 && ambiguous {
        return Err(BuildError::unsupported("a post_transform of a single target"));
    }
    let forest = named::read(spec, &NAMES, targets)?;
    Ok(Box::new(Regressor { forest, aggregate, base, post_transform }))
}

impl Operator for Regressor {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let rows = Rows::of(inputs.tensor(0)?)?;
        let targets = self.forest.targets;
        let shape = [rows.count, targets];
        let mut out: Vec<f32> = Vec::with_capacity(context.claim(&shape, size_of::<Score>())?);
        self.forest.score(&rows, self.aggregate, |scores| {
            let from = out.len();
            let base = self.base.iter().copied().chain(std::iter::repeat(0.0));
            out.extend(scores.iter().zip(base).map(|(score, base)| rounded(score.value + base)));
            self.post_transform.apply(&mut out[from..]);
        })?;
        Ok(vec![Tensor::new(shape, out).into()])
    }
}
