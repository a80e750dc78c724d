//! LinearRegressor and LinearClassifier: <https://onnx.ai/onnx/operators/onnx_aionnxml_LinearClassifier.html>

use super::labels::Labels;
use super::rows::{Rows, rounded};
use super::scores::{PostTransform, best};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Linear functions of the features: each has a coefficient for each, and an intercept.
#[derive(Debug)]
struct Functions {
    coefficients: Vec<f64>,
    intercepts: Vec<f64>,
    width: usize,
}

impl Functions {
    fn read(spec: &NodeSpec<'_>, count: Option<usize>) -> Result<Self, BuildError> {
        let floats = |name: &str| -> Result<Vec<f64>, BuildError> {
            let floats = spec.floats_opt(name)?.unwrap_or_default();
            Ok(floats.iter().map(|x| f64::from(*x)).collect())
        };
        let (coefficients, mut intercepts) = (floats("coefficients")?, floats("intercepts")?);
        let count = count.unwrap_or(intercepts.len());
        if intercepts.is_empty() && count <= coefficients.len() {
            intercepts = vec![0.0; count];
        }
        let fits = count > 0
            && intercepts.len() == count
            && !coefficients.is_empty()
            && coefficients.len().is_multiple_of(count);
        if !fits {
            return Err(BuildError::invalid(format!(
                "{} coefficients and {} intercepts for {count} functions",
                coefficients.len(),
                intercepts.len()
            )));
        }
        let width = coefficients.len() / count;
        Ok(Self { coefficients, intercepts, width })
    }

    const fn count(&self) -> usize {
        self.intercepts.len()
    }

    /// Calls `finish` with the values of each row, in order.
    fn evaluate(&self, rows: &Rows<'_>, mut finish: impl FnMut(&[f32])) -> Result<(), OpError> {
        if rows.width != self.width {
            return Err(OpError::shape(format!(
                "rows have {} features, there are coefficients for {}",
                rows.width, self.width
            )));
        }
        let (mut features, mut values) = (Vec::new(), Vec::new());
        for row in 0..rows.count {
            rows.copy(row..row + 1, &mut features)?;
            values.clear();
            for (row, intercept) in self.coefficients.chunks_exact(self.width).zip(&self.intercepts)
            {
                let product: f64 = row.iter().zip(&features).map(|(a, b)| a * b).sum();
                values.push(rounded(product + intercept));
            }
            finish(&values);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Regressor {
    functions: Functions,
    post_transform: PostTransform,
}

pub(super) fn build_regressor(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let targets = spec.int("targets", 1)?;
    let count = usize::try_from(targets)
        .map_err(|_| BuildError::invalid(format!("targets is {targets}")))?;
    let post_transform = PostTransform::read(spec)?;
    let functions = Functions::read(spec, Some(count))?;
    let ambiguous = !matches!(post_transform, PostTransform::None | PostTransform::Probit);
    if count == 1 && ambiguous {
        return Err(BuildError::unsupported("a post_transform of a single target"));
    }
    Ok(Box::new(Regressor { functions, post_transform }))
}

impl Operator for Regressor {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let rows = Rows::of(inputs.tensor(0)?)?;
        let shape = [rows.count, self.functions.count()];
        let mut out = Vec::with_capacity(context.claim(&shape, size_of::<f32>())?);
        self.functions.evaluate(&rows, |values| {
            let from = out.len();
            out.extend_from_slice(values);
            self.post_transform.apply(&mut out[from..]);
        })?;
        Ok(vec![Tensor::new(shape, out).into()])
    }
}

#[derive(Debug)]
struct Classifier {
    functions: Functions,
    labels: Labels,
    post_transform: PostTransform,
}

pub(super) fn build_classifier(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let labels = Labels::read(spec, "classlabels_ints", "classlabels_strings")?;
    let post_transform = PostTransform::read(spec)?;
    // Without intercepts nothing but the labels says how many functions there are.
    let intercepts = spec.floats_opt("intercepts")?.unwrap_or_default();
    let count = if intercepts.is_empty() { Some(labels.len()) } else { None };
    let functions = Functions::read(spec, count)?;
    match (functions.count(), labels.len(), post_transform) {
        (1, 2, PostTransform::None | PostTransform::Logistic) => {}
        (1, ..) => {
            return Err(BuildError::unsupported(format!(
                "one function for {} classes with the post_transform {post_transform:?}",
                labels.len()
            )));
        }
        (functions, labels, _) if functions == labels => {}
        (functions, labels, _) => {
            return Err(BuildError::invalid(format!("{functions} functions for {labels} classes")));
        }
    }
    Ok(Box::new(Classifier { functions, labels, post_transform }))
}

impl Operator for Classifier {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let rows = Rows::of(inputs.tensor(0)?)?;
        let shape = [rows.count, self.labels.len()];
        let mut out = Vec::with_capacity(context.claim(&shape, size_of::<f32>())?);
        let mut classes = Vec::with_capacity(rows.count);
        self.functions.evaluate(&rows, |values| {
            let from = out.len();
            if let [score] = values {
                let logistic = self.post_transform == PostTransform::Logistic;
                out.extend([if logistic { -score } else { 1.0 - score }, *score]);
                classes.push(usize::from(*score > 0.0));
            } else {
                out.extend_from_slice(values);
                classes.push(best(values));
            }
            self.post_transform.apply(&mut out[from..]);
        })?;
        Ok(vec![self.labels.tensor(&classes).into(), Tensor::new(shape, out).into()])
    }
}
