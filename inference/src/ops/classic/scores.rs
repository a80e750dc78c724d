//! What happens to scores at the end: `post_transform`.

use crate::ops::{BuildError, NodeSpec};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    pub(super) fn read(spec: &NodeSpec<'_>) -> Result<Self, BuildError> {
        match spec.text("post_transform", "NONE")? {
            "NONE" => Ok(Self::None),
            "SOFTMAX" => Ok(Self::Softmax),
            "LOGISTIC" => Ok(Self::Logistic),
            "SOFTMAX_ZERO" => Ok(Self::SoftmaxZero),
            "PROBIT" => Ok(Self::Probit),
            other => Err(BuildError::invalid(format!("post_transform is {other:?}"))),
        }
    }

    /// Transforms the scores of one row.
    pub(super) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
            Self::Softmax => normalise(scores, |score, most| (score - most).exp()),
            // Scores that are 0 stay 0: they are those of classes that nothing was said of.
            Self::SoftmaxZero => normalise(scores, |score, most| {
                if score.abs() > 1e-7 { (score - most).exp() } else { score * (-most).exp() }
            }),
        }
    }
}

fn normalise(scores: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = f(*score, most);
        sum += *score;
    }
    if sum == 0.0 {
        scores.fill(0.5);
    } else {
        scores.iter_mut().for_each(|score| *score /= sum);
    }
}

pub(super) fn logistic(score: f32) -> f32 {
    let positive = 1.0 / (1.0 + (-score.abs()).exp());
    if score < 0.0 { 1.0 - positive } else { positive }
}

/// The inverse of the normal distribution, in the approximation that the specification's reference has.
fn probit(score: f32) -> f32 {
    let x = score.mul_add(2.0, -1.0);
    let log = ((1.0 - x) * (1.0 + x)).ln();
    if log == f32::NEG_INFINITY {
        return 0.0;
    }
    let v = 2.0 / (std::f32::consts::PI * 0.147) + 0.5 * log;
    let root = ((v * v - log / 0.147).sqrt() - v).sqrt();
    std::f32::consts::SQRT_2 * if x < 0.0 { -root } else { root }
}

/// The first class with the highest score.
pub(super) fn best(scores: &[f32]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_match_the_reference() {
        let of = |transform: PostTransform, scores: &[f32]| {
            let mut scores = scores.to_vec();
            transform.apply(&mut scores);
            scores
        };
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&of(PostTransform::Softmax, &[0.0, 1.0]), &[0.268_941, 0.731_059]));
        assert!(close(&of(PostTransform::SoftmaxZero, &[0.0, 1.0]), &[0.0, 1.0]));
        assert!(close(&of(PostTransform::SoftmaxZero, &[0.0, 0.0]), &[0.5, 0.5]));
        assert!(close(&of(PostTransform::Logistic, &[-2.0]), &[0.119_203]));
        assert!(close(&of(PostTransform::Probit, &[0.5, 0.7]), &[0.0, 0.524_446]));
        assert_eq!(best(&[]), 0);
        assert_eq!(best(&[1.0, 3.0, 3.0]), 1);
    }
}
