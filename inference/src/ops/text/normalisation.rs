//! StringNormalizer: <https://onnx.ai/onnx/operators/onnx__StringNormalizer.html>
//!
//! An element is removed when it is a stop word as a whole. Case is changed as Unicode has it, whatever the locale.

use std::collections::HashSet;

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Case {
    Lower,
    Upper,
    Unchanged,
}

#[derive(Debug)]
struct StringNormalizer {
    case: Case,
    case_matters: bool,
    /// In lower case where case does not matter.
    stop_words: HashSet<String>,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let case = match spec.text("case_change_action", "NONE")? {
        "LOWER" => Case::Lower,
        "UPPER" => Case::Upper,
        "NONE" => Case::Unchanged,
        other => {
            return Err(BuildError::invalid(format!(
                "attribute \"case_change_action\" is {other:?}"
            )));
        }
    };
    let case_matters = spec.flag("is_case_sensitive", false)?;
    let words = spec.texts_opt("stopwords")?.unwrap_or_default().iter();
    let word = |word: &String| if case_matters { word.clone() } else { word.to_lowercase() };
    Ok(Box::new(StringNormalizer { case, case_matters, stop_words: words.map(word).collect() }))
}

impl StringNormalizer {
    fn is_kept(&self, text: &str) -> bool {
        if self.case_matters {
            return !self.stop_words.contains(text);
        }
        self.stop_words.is_empty() || !self.stop_words.contains(&text.to_lowercase())
    }
}

impl Operator for StringNormalizer {
    fn run(&self, inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        if !matches!(tensor.shape(), [_] | [1, _]) {
            return Err(OpError::shape(format!(
                "shape {:?}, it should be [words] or [1, words]",
                tensor.shape()
            )));
        }
        let kept = tensor.as_strings()?.iter().filter(|text| self.is_kept(text));
        let mut out: Vec<String> = kept
            .map(|text| match self.case {
                Case::Lower => text.to_lowercase(),
                Case::Upper => text.to_uppercase(),
                Case::Unchanged => text.clone(),
            })
            .collect();
        if out.is_empty() {
            out.push(String::new());
        }
        let mut shape = tensor.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out.len();
        }
        Ok(vec![Tensor::strings(shape, out).into()])
    }
}
