//! SVMRegressor and SVMClassifier: <https://onnx.ai/onnx/operators/onnx_aionnxml_SVMClassifier.html>
//!
//! A classifier needs support vectors; one that is linear without them is refused.

use super::labels::Labels;
use super::rows::{Rows, rounded};
use super::scores::{PostTransform, logistic};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Kernel {
    Linear,
    Poly { gamma: f64, coef0: f64, degree: i32 },
    Rbf { gamma: f64 },
    Sigmoid { gamma: f64, coef0: f64 },
}

impl Kernel {
    fn read(spec: &NodeSpec<'_>) -> Result<Self, BuildError> {
        let parameters = spec.floats_opt("kernel_params")?.unwrap_or_default();
        let kernel = spec.text("kernel_type", "LINEAR")?;
        if kernel == "LINEAR" {
            return Ok(Self::Linear);
        }
        let [gamma, coef0, degree] = *parameters else {
            return Err(BuildError::invalid(format!(
                "kernel_params has {} values, it should have 3",
                parameters.len()
            )));
        };
        let (gamma, coef0) = (f64::from(gamma), f64::from(coef0));
        match kernel {
            "POLY" => {
                if degree.fract() != 0.0 || degree.abs() > 1000.0 {
                    let what = format!("a polynomial of degree {degree}");
                    return Err(BuildError::unsupported(what));
                }
                #[expect(clippy::cast_possible_truncation, reason = "it is a small integer")]
                let degree = degree as i32;
                Ok(Self::Poly { gamma, coef0, degree })
            }
            "RBF" => Ok(Self::Rbf { gamma }),
            "SIGMOID" => Ok(Self::Sigmoid { gamma, coef0 }),
            other => Err(BuildError::invalid(format!("kernel_type is {other:?}"))),
        }
    }

    fn of(self, a: &[f64], b: &[f64]) -> f64 {
        let product = || a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        match self {
            Self::Linear => product(),
            Self::Poly { gamma, coef0, degree } => (product() * gamma + coef0).powi(degree),
            Self::Sigmoid { gamma, coef0 } => (product() * gamma + coef0).tanh(),
            Self::Rbf { gamma } => {
                let distance: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
                (-gamma * distance).exp()
            }
        }
    }
}

fn floats(spec: &NodeSpec<'_>, name: &str) -> Result<Vec<f64>, BuildError> {
    let floats = spec.floats_opt(name)?.unwrap_or_default();
    Ok(floats.iter().map(|x| f64::from(*x)).collect())
}

/// Support vectors of one length.
#[derive(Debug)]
struct Vectors {
    kernel: Kernel,
    elements: Vec<f64>,
    width: usize,
}

impl Vectors {
    fn read(spec: &NodeSpec<'_>, count: usize) -> Result<Self, BuildError> {
        let elements = floats(spec, "support_vectors")?;
        if count == 0 || elements.is_empty() || !elements.len().is_multiple_of(count) {
            return Err(BuildError::invalid(format!(
                "{count} support vectors with {} elements together",
                elements.len()
            )));
        }
        let width = elements.len() / count;
        Ok(Self { kernel: Kernel::read(spec)?, elements, width })
    }

    /// The kernel of a row with each vector.
    fn kernels(&self, row: &[f64], to: &mut Vec<f64>) {
        to.clear();
        let vectors = self.elements.chunks_exact(self.width);
        to.extend(vectors.map(|vector| self.kernel.of(row, vector)));
    }

    fn check(&self, rows: &Rows<'_>) -> Result<(), OpError> {
        if rows.width == self.width {
            return Ok(());
        }
        Err(OpError::shape(format!(
            "rows have {} features, the support vectors {}",
            rows.width, self.width
        )))
    }
}

#[derive(Debug)]
struct Regressor {
    vectors: Vectors,
    /// One for each support vector.
    coefficients: Vec<f64>,
    rho: f64,
    one_class: bool,
}

pub(super) fn build_regressor(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    if PostTransform::read(spec)? != PostTransform::None {
        return Err(BuildError::unsupported("a post_transform of a single target"));
    }
    let mut coefficients = floats(spec, "coefficients")?;
    let count = usize::try_from(spec.int("n_supports", 0)?)
        .map_err(|_| BuildError::invalid("n_supports is negative"))?;
    let vectors = if count > 0 {
        Vectors::read(spec, count)?
    } else {
        // Linear, the coefficients are the only vector.
        let width = coefficients.len();
        let elements = std::mem::replace(&mut coefficients, vec![1.0]);
        Vectors { kernel: Kernel::Linear, elements, width }
    };
    let rho = floats(spec, "rho")?;
    let (Some(rho), true) = (rho.first(), vectors.width > 0 && coefficients.len() == count.max(1))
    else {
        return Err(BuildError::invalid(format!(
            "{} coefficients and {} rho for {count} support vectors",
            coefficients.len(),
            rho.len()
        )));
    };
    let one_class = spec.flag("one_class", false)?;
    Ok(Box::new(Regressor { vectors, coefficients, rho: *rho, one_class }))
}

impl Operator for Regressor {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let rows = Rows::of(inputs.tensor(0)?)?;
        self.vectors.check(&rows)?;
        let shape = [rows.count, 1];
        let mut out = Vec::with_capacity(context.claim(&shape, size_of::<f32>())?);
        let (mut row, mut kernels) = (Vec::new(), Vec::new());
        for at in 0..rows.count {
            rows.copy(at..at + 1, &mut row)?;
            self.vectors.kernels(&row, &mut kernels);
            let sum: f64 = kernels.iter().zip(&self.coefficients).map(|(a, b)| a * b).sum();
            let score = sum + self.rho;
            let sign = if score > 0.0 { 1.0 } else { -1.0 };
            out.push(if self.one_class { sign } else { rounded(score) });
        }
        Ok(vec![Tensor::new(shape, out).into()])
    }
}

#[derive(Debug)]
struct Classifier {
    vectors: Vectors,
    /// The vectors of each class.
    ranges: Vec<std::ops::Range<usize>>,
    /// For each class but one, and each vector.
    coefficients: Vec<f64>,
    /// For each pair of classes, as what follows.
    rho: Vec<f64>,
    /// Empty: there are no probabilities.
    prob: Vec<(f64, f64)>,
    labels: Labels,
    post_transform: PostTransform,
}

pub(super) fn build_classifier(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let labels = Labels::read(spec, "classlabels_ints", "classlabels_strings")?;
    let counts = spec.ints_opt("vectors_per_class")?.unwrap_or_default();
    let classes = counts.len();
    if classes < 2 || classes != labels.len() {
        return Err(BuildError::unsupported(format!(
            "support vectors of {classes} classes with {} labels",
            labels.len()
        )));
    }
    let mut total = 0_usize;
    let mut ranges = Vec::with_capacity(classes);
    for count in counts {
        let end = usize::try_from(*count).ok().and_then(|count| total.checked_add(count));
        let end = end.ok_or_else(|| BuildError::invalid(format!("a class of {count} vectors")))?;
        ranges.push(total..end);
        total = end;
    }
    let vectors = Vectors::read(spec, total)?;
    let coefficients = floats(spec, "coefficients")?;
    let rho = floats(spec, "rho")?;
    let (a, b) = (floats(spec, "prob_a")?, floats(spec, "prob_b")?);
    let pairs = classes.checked_mul(classes - 1).map(|twice| twice / 2);
    let fits = Some(rho.len()) == pairs
        && Some(coefficients.len()) == total.checked_mul(classes - 1)
        && a.len() == b.len()
        && (a.is_empty() || a.len() == rho.len());
    if !fits {
        return Err(BuildError::invalid(format!(
            "{} coefficients, {} rho and {} prob_a for {classes} classes and {total} vectors",
            coefficients.len(),
            rho.len(),
            a.len()
        )));
    }
    let post_transform = PostTransform::read(spec)?;
    let margin = classes == 2 && a.is_empty();
    if margin && !matches!(post_transform, PostTransform::None | PostTransform::Logistic) {
        let what = format!("the post_transform {post_transform:?} of a margin between two classes");
        return Err(BuildError::unsupported(what));
    }
    if margin && coefficients.iter().all(|coefficient| *coefficient >= 0.0) {
        return Err(BuildError::unsupported("two classes with positive coefficients only"));
    }
    let prob = a.into_iter().zip(b).collect();
    Ok(Box::new(Classifier { vectors, ranges, coefficients, rho, prob, labels, post_transform }))
}

impl Operator for Classifier {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let rows = Rows::of(inputs.tensor(0)?)?;
        self.vectors.check(&rows)?;
        let classes = self.ranges.len();
        let width = if self.prob.is_empty() { self.rho.len().max(2) } else { classes };
        let shape = [rows.count, width];
        let mut out = Vec::with_capacity(context.claim(&shape, size_of::<f32>())?);
        let mut chosen = Vec::with_capacity(rows.count);
        let (mut row, mut kernels) = (Vec::new(), Vec::new());
        for at in 0..rows.count {
            rows.copy(at..at + 1, &mut row)?;
            self.vectors.kernels(&row, &mut kernels);
            let margins = self.margins(&kernels);
            chosen.push(self.winner(&margins));
            let from = out.len();
            match margins.as_slice() {
                _ if !self.prob.is_empty() => {
                    out.extend(self.probabilities(&margins).into_iter().map(rounded));
                }
                [margin] => out.extend([rounded(-margin), rounded(*margin)]),
                margins => out.extend(margins.iter().map(|margin| rounded(*margin))),
            }
            self.post_transform.apply(&mut out[from..]);
        }
        Ok(vec![self.labels.tensor(&chosen).into(), Tensor::new(shape, out).into()])
    }
}

impl Classifier {
    /// For each pair of classes, how far the row lies on the side of the first.
    fn margins(&self, kernels: &[f64]) -> Vec<f64> {
        let total = kernels.len();
        let part = |coefficients: usize, class: usize| -> f64 {
            let range = self.ranges[class].clone();
            let row = &self.coefficients[coefficients * total..(coefficients + 1) * total];
            row[range.clone()].iter().zip(&kernels[range]).map(|(a, b)| a * b).sum()
        };
        let pairs = pairs(self.ranges.len());
        pairs.zip(&self.rho).map(|((i, j), rho)| rho + part(j - 1, i) + part(i, j)).collect()
    }

    /// The class that wins most pairs.
    fn winner(&self, margins: &[f64]) -> usize {
        let mut votes = vec![0_usize; self.ranges.len()];
        for ((i, j), margin) in pairs(votes.len()).zip(margins) {
            votes[if *margin > 0.0 { i } else { j }] += 1;
        }
        let most = votes.iter().max().copied().unwrap_or(0);
        votes.iter().position(|votes| *votes == most).unwrap_or(0)
    }

    /// Probabilities of the classes from those of the pairs, by the second method of Wu, Lin and Weng (2004).
    #[expect(clippy::cast_precision_loss, reason = "there are few classes")]
    fn probabilities(&self, margins: &[f64]) -> Vec<f64> {
        let classes = self.ranges.len();
        let mut of_pairs = vec![0.0; classes * classes];
        for (((i, j), margin), (a, b)) in pairs(classes).zip(margins).zip(&self.prob) {
            let value = f64::from(1.0 - logistic(rounded(margin * a + b)));
            let value = value.clamp(1e-7, 1.0 - 1e-7);
            of_pairs[i * classes + j] = value;
            of_pairs[j * classes + i] = 1.0 - value;
        }
        let r = |i: usize, j: usize| of_pairs[i * classes + j];
        let mut q = vec![0.0; classes * classes];
        for t in 0..classes {
            for j in (0..classes).filter(|j| *j != t) {
                q[t * classes + t] += r(j, t) * r(j, t);
                q[t * classes + j] = -r(j, t) * r(t, j);
            }
        }
        let mut p = vec![1.0 / classes as f64; classes];
        for _ in 0..classes.max(100) {
            let row = |t: usize| &q[t * classes..(t + 1) * classes];
            let mut qp: Vec<f64> =
                (0..classes).map(|t| row(t).iter().zip(&p).map(|(a, b)| a * b).sum()).collect();
            let mut pqp: f64 = p.iter().zip(&qp).map(|(a, b)| a * b).sum();
            let error = qp.iter().fold(0.0, |most: f64, value| most.max((value - pqp).abs()));
            if error < 0.005 / classes as f64 {
                break;
            }
            for t in 0..classes {
                let own = row(t)[t];
                let difference = (pqp - qp[t]) / own;
                p[t] += difference;
                let scale = 1.0 + difference;
                pqp = (pqp + difference * (difference * own + 2.0 * qp[t])) / (scale * scale);
                for ((p, qp), q) in p.iter_mut().zip(&mut qp).zip(row(t)) {
                    *p /= scale;
                    *qp = (*qp + difference * q) / scale;
                }
            }
        }
        p
    }
}

/// All pairs of classes, the first before the second.
fn pairs(classes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..classes).flat_map(move |i| (i + 1..classes).map(move |j| (i, j)))
}
