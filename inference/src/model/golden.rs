//! Payloads whose answers are known: what a model says of them shows whether it is what it was when they were written down.
//!
//! The answers are compared as a whole, so that a change of the preparation (a resize, a tokeniser) is found as well as one of the weights or
//! of the engine. Numbers may differ as [`Tolerance`] allows; of an object only what the known answer has is looked at.

use std::fmt;

use bytes::Bytes;
use serde_json::Value as Json;

use super::answer::Payload;
use super::{Model, Recipe};
use crate::bundle::{Section, Surroundings};

/// Known answers of one bundle.
const CASES_MAX: usize = 64;
/// Bytes of a file with a payload or an answer.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Unless the manifest says otherwise: another machine rounds otherwise.
const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-5;

/// A payload and its answer.
#[derive(Debug)]
pub(crate) struct Known {
    input: String,
    output: String,
    payload: Bytes,
    answer: Bytes,
    tolerance: Tolerance,
}

/// How far numbers may differ: by `atol + rtol * |known|`.
#[derive(Clone, Copy, Debug)]
struct Tolerance {
    rtol: f64,
    atol: f64,
}

/// The answer to a known payload is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GoldenMismatch {
    /// The file of the payload.
    pub input: String,
    /// The file of the known answer.
    pub output: String,
    /// Where the worst difference is, what is known, and what was answered.
    pub what: String,
}

impl fmt::Display for GoldenMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "golden: the answer to {} is not {}: {}", self.input, self.output, self.what)
    }
}

impl Known {
    /// Reads `[golden]`, or each of `[[golden]]`.
    pub(super) fn read_all(root: &Section<'_>, around: &Surroundings<'_>) -> Vec<Self> {
        let sections = if root.is_list("golden") {
            root.sections("golden")
        } else {
            vec![root.section("golden")]
        };
        if sections.len() > CASES_MAX {
            root.problem(
                "golden",
                format!("{} answers are known, at most {CASES_MAX} may be", sections.len()),
            );
            return Vec::new();
        }
        let there = sections.into_iter().filter(Section::is_there);
        there.filter_map(|section| Self::read(&section, around)).collect()
    }

    fn read(section: &Section<'_>, around: &Surroundings<'_>) -> Option<Self> {
        let (input, output) = (section.text("input"), section.text("output"));
        let tolerance = Tolerance {
            rtol: section.number("rtol").unwrap_or(RTOL),
            atol: section.number("atol").unwrap_or(ATOL),
        };
        section.finish();
        let missing = |key| section.problem("", format!("it needs {key}: the name of a file"));
        if input.is_none() && !section.has("input") {
            missing("input");
        }
        if output.is_none() && !section.has("output") {
            missing("output");
        }
        if tolerance.rtol < 0.0 || tolerance.atol < 0.0 {
            section.problem("", "rtol and atol are 0 or more");
            return None;
        }
        let (input, output) = (input?, output?);
        let payload = around.file(section, "input", &input, FILE_BYTES_MAX)?;
        let answer = around.file(section, "output", &output, FILE_BYTES_MAX)?;
        Some(Self { input, output, payload, answer, tolerance })
    }
}

impl Recipe {
    /// Payloads whose answers are known.
    pub(super) fn golden(&self) -> &[Known] {
        &self.golden
    }
}

impl Model {
    /// How many payloads there are whose answers the bundle knows.
    #[must_use]
    pub fn golden_count(&self) -> usize {
        self.inner.recipe.golden().len()
    }

    /// Answers the payloads of `[golden]` and compares with what the bundle knows.
    ///
    /// # Errors
    /// Each that differs, with the worst difference.
    pub fn check_golden(&self) -> Result<(), Vec<GoldenMismatch>> {
        let mismatch = |known: &Known| {
            let answer = self.infer(&[Payload::from(known.payload.clone())]).pop()?;
            let what = match answer {
                Err(error) => Some(error.to_string()),
                Ok(answer) => difference(&answer.content.to_bytes(), known),
            };
            let (input, output) = (known.input.clone(), known.output.clone());
            what.map(|what| GoldenMismatch { input, output, what })
        };
        let all: Vec<GoldenMismatch> =
            self.inner.recipe.golden().iter().filter_map(mismatch).collect();
        if all.is_empty() { Ok(()) } else { Err(all) }
    }
}

/// What differs most; `None`: nothing differs more than it may.
fn difference(found: &[u8], known: &Known) -> Option<String> {
    match (serde_json::from_slice(&known.answer), serde_json::from_slice(found)) {
        (Ok(expected), Ok(found)) => {
            let mut worst = Worst::default();
            worst.compare("", &expected, &found, known.tolerance);
            worst.said
        }
        _ if known.answer == found => None,
        (Ok(_), Err(_)) => Some("the answer is no JSON".to_owned()),
        _ => raw_difference(found, &known.answer, known.tolerance),
    }
}

/// Raw tensors: numbers of 32 bits, as far as that fits.
fn raw_difference(found: &[u8], expected: &[u8], tolerance: Tolerance) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} bytes are known, {} were answered", expected.len(), found.len()));
    }
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        let chunks = bytes.chunks_exact(4);
        let number = |chunk: &[u8]| {
            chunk.try_into().map_or(f64::NAN, |bytes| f64::from(f32::from_le_bytes(bytes)))
        };
        chunks.map(number).collect()
    };
    let mut worst = Worst::default();
    for (at, (expected, found)) in numbers(expected).into_iter().zip(numbers(found)).enumerate() {
        worst.number(&format!("/{at}"), expected, found, tolerance);
    }
    worst.said
}

/// The largest difference so far, in units of what is allowed.
#[derive(Debug, Default)]
struct Worst {
    excess: f64,
    said: Option<String>,
}

impl Worst {
    fn say(&mut self, excess: f64, what: String) {
        if self.said.is_none() || excess > self.excess {
            (self.excess, self.said) = (excess, Some(what));
        }
    }

    fn compare(&mut self, at: &str, expected: &Json, found: &Json, tolerance: Tolerance) {
        match (expected, found) {
            (Json::Object(expected), Json::Object(found)) => {
                for (key, expected) in expected {
                    let found = found.get(key).unwrap_or(&Json::Null);
                    self.compare(&format!("{at}/{key}"), expected, found, tolerance);
                }
            }
            (Json::Array(expected), Json::Array(found)) if expected.len() == found.len() => {
                for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                    self.compare(&format!("{at}/{index}"), expected, found, tolerance);
                }
            }
            (Json::Array(expected), Json::Array(found)) => {
                let what =
                    format!("{at} has {} elements, {} are known", found.len(), expected.len());
                self.say(f64::INFINITY, what);
            }
            (Json::Number(expected), Json::Number(found)) => {
                let number = |number: &serde_json::Number| number.as_f64().unwrap_or(f64::NAN);
                self.number(at, number(expected), number(found), tolerance);
            }
            _ if expected == found => {}
            _ => self.say(f64::INFINITY, format!("{at} is {found}, known is {expected}")),
        }
    }

    fn number(&mut self, at: &str, expected: f64, found: f64, tolerance: Tolerance) {
        let allowed = tolerance.atol + tolerance.rtol * expected.abs();
        let off = (found - expected).abs();
        if off <= allowed || (found.is_nan() && expected.is_nan()) {
            return;
        }
        let excess =
            if off.is_nan() { f64::INFINITY } else { off / allowed.max(f64::MIN_POSITIVE) };
        let what = format!(
            "{at} is {found}, known is {expected}: off by {off:.3e}, allowed are {allowed:.3e}"
        );
        self.say(excess, what);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn worst(expected: &Json, found: &Json) -> Option<String> {
        let mut worst = Worst::default();
        worst.compare("", expected, found, Tolerance { rtol: 0.01, atol: 0.0 });
        worst.said
    }

    #[test]
    fn the_worst_difference_is_told_with_its_place() {
        let known = json!({"label": "cat", "scores": [0.5, 0.25]});
        assert_eq!(
            worst(&known, &json!({"label": "cat", "scores": [0.501, 0.25], "more": 1})),
            None
        );
        let off = worst(&known, &json!({"label": "cat", "scores": [0.52, 0.5]})).unwrap();
        assert!(off.starts_with("/scores/1 is 0.5, known is 0.25: off by 2.5"), "{off}");
        let other = worst(&known, &json!({"label": "dog", "scores": [0.6, 0.25]})).unwrap();
        assert_eq!(other, "/label is \"dog\", known is \"cat\"");
        let less = worst(&known, &json!({"label": "cat", "scores": [0.5]})).unwrap();
        assert_eq!(less, "/scores has 1 elements, 2 are known");
        assert_eq!(worst(&json!(null), &json!(null)), None);
        assert!(worst(&json!(1), &json!(null)).is_some());
    }

    #[test]
    fn raw_numbers_are_compared_as_such() {
        let raw = |numbers: &[f32]| -> Vec<u8> {
            numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
        };
        let off = |found: &[f32]| {
            let tolerance = Tolerance { rtol: 0.01, atol: 0.0 };
            raw_difference(&raw(found), &raw(&[1.0, -2.0]), tolerance)
        };
        assert_eq!(off(&[1.001, -2.0]), None);
        assert!(off(&[1.0, 2.0]).unwrap().starts_with("/1 is 2, known is -2"));
        assert!(off(&[1.0]).unwrap().starts_with("8 bytes are known"));
        assert!(off(&[1.0, f32::NAN]).is_some());
    }
}
