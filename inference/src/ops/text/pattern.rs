//! RegexFullMatch: <https://onnx.ai/onnx/operators/onnx__RegexFullMatch.html>
//!
//! Patterns are those of the crate `regex`, whose syntax is RE2's but for a few escapes. Matching takes linear time.

use regex::{Regex, RegexBuilder};

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct RegexFullMatch(Regex);

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 10 << 20;

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let pattern = spec
        .text_opt("pattern")?
        .ok_or_else(|| BuildError::invalid("attribute \"pattern\" is missing"))?;
    let compiled = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().map_err(
            |error| match error {
                regex::Error::CompiledTooBig(_) => BuildError::unsupported(format!(
                    "a pattern of more than {PATTERN_BYTES_MAX} bytes"
                )),
                error => BuildError::invalid(format!("attribute \"pattern\": {error}")),
            },
        )
    };
    // By itself first: it may not close the group that it is put into.
    compiled(pattern)?;
    Ok(Box::new(RegexFullMatch(compiled(&format!("\\A(?:{pattern})\\z"))?)))
}

impl Operator for RegexFullMatch {
    fn run(&self, inputs: Inputs, _context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let matches = tensor.as_strings()?.iter().map(|text| self.0.is_match(text));
        Ok(vec![Tensor::bools(tensor.shape(), matches).into()])
    }
}
