//! StringSplit: <https://onnx.ai/onnx/operators/onnx__StringSplit.html>
//!
//! Without a delimiter, at runs of white space, as Python's `str.split` does it.

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct StringSplit {
    /// `None`: white space.
    delimiter: Option<String>,
    splits_max: usize,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let delimiter = spec.text_opt("delimiter")?.filter(|text| !text.is_empty());
    let splits = spec.int_opt("maxsplit")?.and_then(|count| usize::try_from(count).ok());
    Ok(Box::new(StringSplit {
        delimiter: delimiter.map(str::to_owned),
        splits_max: splits.unwrap_or(usize::MAX),
    }))
}

impl StringSplit {
    fn parts<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let parts_max = self.splits_max.saturating_add(1);
        if let Some(delimiter) = &self.delimiter {
            return text.splitn(parts_max, delimiter.as_str()).collect();
        }
        let mut parts = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let end =
                if parts.len() < self.splits_max { rest.find(char::is_whitespace) } else { None };
            let Some((part, behind)) = end.and_then(|end| rest.split_at_checked(end)) else {
                parts.push(rest);
                break;
            };
            parts.push(part);
            rest = behind.trim_start();
        }
        parts
    }
}

impl Operator for StringSplit {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let split: Vec<Vec<&str>> =
            tensor.as_strings()?.iter().map(|text| self.parts(text)).collect();
        let most = split.iter().map(Vec::len).max().unwrap_or(0);
        let mut shape = tensor.shape().to_vec();
        shape.push(most);
        // One text with many parts makes every other text's row as long.
        let mut out = Vec::with_capacity(context.claim(&shape, size_of::<String>())?);
        for parts in &split {
            out.extend(parts.iter().map(|part| (*part).to_owned()));
            out.extend(std::iter::repeat_n(String::new(), most - parts.len()));
        }
        let counts = split.iter().map(|parts| i64::try_from(parts.len()).unwrap_or(i64::MAX));
        let counts = Tensor::new(tensor.shape(), counts.collect());
        Ok(vec![Tensor::strings(shape, out).into(), counts.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_split_as_in_python() {
        let split = |delimiter: Option<&str>, splits_max, text| {
            StringSplit { delimiter: delimiter.map(str::to_owned), splits_max }.parts(text)
        };
        assert_eq!(split(None, usize::MAX, "  a  b "), ["a", "b"]);
        assert_eq!(split(None, 1, " a  b c "), ["a", "b c "]);
        assert_eq!(split(None, 0, " a b "), ["a b "]);
        assert_eq!(split(Some(","), usize::MAX, ",a,,b"), ["", "a", "", "b"]);
        assert_eq!(split(Some(","), 1, "a,b,c"), ["a", "b,c"]);
        assert!(split(None, usize::MAX, " ").is_empty());
    }
}
