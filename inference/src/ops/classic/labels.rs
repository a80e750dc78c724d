//! What a classifier calls its classes.

use crate::ops::{BuildError, NodeSpec};
use crate::tensor::Tensor;

#[derive(Debug)]
pub(super) enum Labels {
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// Reads the one attribute of both that is set.
    pub(super) fn read(spec: &NodeSpec<'_>, ints: &str, texts: &str) -> Result<Self, BuildError> {
        let of_ints = spec.ints_opt(ints)?.filter(|labels| !labels.is_empty());
        let of_texts = spec.texts_opt(texts)?.filter(|labels| !labels.is_empty());
        match (of_ints, of_texts) {
            (Some(labels), None) => Ok(Self::Ints(labels.to_vec())),
            (None, Some(labels)) => Ok(Self::Texts(labels.to_vec())),
            _ => Err(BuildError::invalid(format!("one of {ints:?} and {texts:?} should be set"))),
        }
    }

    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Ints(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    /// The labels of some classes. A class without a label has the last one.
    pub(super) fn tensor(&self, classes: &[usize]) -> Tensor {
        let last = self.len().saturating_sub(1);
        let places = classes.iter().map(|class| (*class).min(last));
        match self {
            Self::Ints(labels) => {
                Tensor::new([classes.len()], places.map(|at| labels[at]).collect())
            }
            Self::Texts(labels) => {
                Tensor::strings([classes.len()], places.map(|at| labels[at].clone()).collect())
            }
        }
    }
}
