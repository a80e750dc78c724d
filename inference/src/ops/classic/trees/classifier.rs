//! TreeEnsembleClassifier.
//!
//! With two classes of which leaves speak of the first only, that one score is the second's, and stands for both. What it means is unsaid.
//! Without a `post_transform` this does as ONNX Runtime does: where all weights are positive it is a probability, else a margin with
//! the other class on its negative side. With `LOGISTIC` it is a margin, as the libraries have it that write such files.

use super::super::labels::Labels;
use super::super::rows::{Rows, rounded};
use super::super::scores::{PostTransform, best};
use super::forest::{Aggregate, Forest, Score};
use super::named::{self, WeightNames, numbers};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

const NAMES: WeightNames = WeightNames {
    trees: "class_treeids",
    nodes: "class_nodeids",
    targets: "class_ids",
    values: "class_weights",
};

/// What the one score of two classes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binary {
    Probability,
    Margin,
}

#[derive(Debug)]
struct Classifier {
    forest: Forest,
    labels: Labels,
    base: Vec<f64>,
    post_transform: PostTransform,
    /// `None`: leaves speak of more than one class.
    binary: Option<Binary>,
}

pub(in super::super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let labels = Labels::read(spec, "classlabels_int64s", "classlabels_strings")?;
    let classes = labels.len();
    if classes < 2 {
        return Err(BuildError::unsupported("trees that know one class only"));
    }
    let base = numbers(spec, "base_values")?.unwrap_or_default();
    let forest = named::read(spec, &NAMES, classes)?;
    let post_transform = PostTransform::read(spec)?;
    let binary = binary(&forest, post_transform)?;
    let bases = if binary.is_some() { 1 } else { classes };
    if !(base.is_empty() || base.len() == bases) {
        return Err(BuildError::unsupported(format!(
            "{} base values where leaves speak of {bases} classes",
            base.len()
        )));
    }
    Ok(Box::new(Classifier { forest, labels, base, post_transform, binary }))
}

/// What the one score of two classes is. `None`: each class has its own.
fn binary(forest: &Forest, transform: PostTransform) -> Result<Option<Binary>, BuildError> {
    let weights = forest.weights();
    let speaks_of = |class: usize| weights.iter().any(|weight| weight.target == class);
    if forest.targets != 2 || (speaks_of(0) && speaks_of(1)) {
        return Ok(None);
    }
    if speaks_of(1) {
        return Err(BuildError::unsupported(
            "two classes of which leaves speak of the second only",
        ));
    }
    match transform {
        PostTransform::None if weights.iter().all(|weight| weight.value >= 0.0) => {
            Ok(Some(Binary::Probability))
        }
        PostTransform::None | PostTransform::Logistic => Ok(Some(Binary::Margin)),
        other => Err(BuildError::unsupported(format!("{other:?} of one score for two classes"))),
    }
}

impl Operator for Classifier {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let rows = Rows::of(inputs.tensor(0)?)?;
        let shape = [rows.count, self.labels.len()];
        let mut out: Vec<f32> = Vec::with_capacity(context.claim(&shape, size_of::<Score>())?);
        let mut classes = Vec::with_capacity(rows.count);
        self.forest.score(&rows, Aggregate::Sum, |scores| {
            let from = out.len();
            let class = match self.binary {
                Some(kind) => self.two(kind, scores[0].value, &mut out),
                None => {
                    let base = self.base.iter().copied().chain(std::iter::repeat(0.0));
                    let total = |(score, base): (&mut Score, f64)| rounded(score.value + base);
                    out.extend(scores.iter_mut().zip(base).map(total));
                    best(&out[from..])
                }
            };
            self.post_transform.apply(&mut out[from..]);
            classes.push(class);
        })?;
        Ok(vec![self.labels.tensor(&classes).into(), Tensor::new(shape, out).into()])
    }
}

impl Classifier {
    /// Writes the scores of both classes from the one that leaves speak of.
    fn two(&self, kind: Binary, score: f64, out: &mut Vec<f32>) -> usize {
        let score = rounded(score + self.base.first().copied().unwrap_or(0.0));
        let (other, half) = match kind {
            Binary::Probability => (1.0 - score, 0.5),
            Binary::Margin => (-score, 0.0),
        };
        out.extend([other, score]);
        usize::from(score > half)
    }
}
