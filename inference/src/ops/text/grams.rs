//! TfIdfVectorizer: <https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html>
//!
//! Weights belong to places of the output, as in the reference implementation; the specification's text says n-grams.

use std::collections::HashMap;

use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
enum Mode {
    Frequency,
    Presence,
    Weighted,
}

/// Words by number: n-grams are sequences of these.
#[derive(Debug)]
enum Words {
    Texts(HashMap<String, u32>),
    Integers(HashMap<i64, u32>),
}

#[derive(Debug)]
struct TfIdfVectorizer {
    mode: Mode,
    words: Words,
    /// Each n-gram's place in the output.
    grams: HashMap<Vec<u32>, usize>,
    lengths: (usize, usize),
    skips_max: usize,
    output: usize,
    weights: Vec<f32>,
}

/// Numbers words as they come.
fn number<K: std::hash::Hash + Eq>(words: &mut HashMap<K, u32>, word: K) -> u32 {
    let next = u32::try_from(words.len()).unwrap_or(u32::MAX);
    *words.entry(word).or_insert(next)
}

fn pool_of(spec: &NodeSpec<'_>) -> Result<(Words, Vec<u32>), BuildError> {
    match (spec.texts_opt("pool_strings")?, spec.ints_opt("pool_int64s")?) {
        (Some(texts), None) => {
            let mut words = HashMap::new();
            let pool = texts.iter().map(|text| number(&mut words, text.clone())).collect();
            Ok((Words::Texts(words), pool))
        }
        (None, Some(integers)) => {
            let mut words = HashMap::new();
            let pool = integers.iter().map(|integer| number(&mut words, *integer)).collect();
            Ok((Words::Integers(words), pool))
        }
        _ => Err(BuildError::invalid("it should have one of pool_strings and pool_int64s")),
    }
}

fn size_of_attribute(spec: &NodeSpec<'_>, name: &str) -> Result<usize, BuildError> {
    let size = spec
        .int_opt(name)?
        .ok_or_else(|| BuildError::invalid(format!("attribute {name:?} is missing")))?;
    usize::try_from(size).map_err(|_| BuildError::invalid(format!("attribute {name:?} is {size}")))
}

fn sizes_of(spec: &NodeSpec<'_>, name: &str) -> Result<Vec<usize>, BuildError> {
    let sizes = spec.ints_opt(name)?.unwrap_or_default().iter();
    sizes
        .map(|size| usize::try_from(*size))
        .collect::<Result<_, _>>()
        .map_err(|_| BuildError::invalid(format!("attribute {name:?} has a number below 0")))
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let mode = match spec.text("mode", "")? {
        "TF" => Mode::Frequency,
        "IDF" => Mode::Presence,
        "TFIDF" => Mode::Weighted,
        other => return Err(BuildError::invalid(format!("attribute \"mode\" is {other:?}"))),
    };
    let (words, pool) = pool_of(spec)?;
    let (starts, places) = (sizes_of(spec, "ngram_counts")?, sizes_of(spec, "ngram_indexes")?);
    let lengths =
        (size_of_attribute(spec, "min_gram_length")?, size_of_attribute(spec, "max_gram_length")?);
    if lengths.0 == 0 || lengths.1 < lengths.0 || lengths.1 > starts.len() {
        return Err(BuildError::invalid(format!(
            "n-grams of {} to {} words, with ngram_counts for {}",
            lengths.0,
            lengths.1,
            starts.len()
        )));
    }
    let grams = grams_of(&pool, &starts, &places, lengths)?;
    let output = places.iter().max().map_or(0, |last| last.saturating_add(1));
    let weights = spec.floats_opt("weights")?.unwrap_or_default().to_vec();
    if !weights.is_empty() && weights.len() < output {
        return Err(BuildError::invalid(format!("{} weights for {output} outputs", weights.len())));
    }
    let skips_max = size_of_attribute(spec, "max_skip_count")?;
    Ok(Box::new(TfIdfVectorizer { mode, words, grams, lengths, skips_max, output, weights }))
}

/// The n-grams of the pool, which holds those of one word first, then those of two, and so on.
fn grams_of(
    pool: &[u32],
    starts: &[usize],
    places: &[usize],
    lengths: (usize, usize),
) -> Result<HashMap<Vec<u32>, usize>, BuildError> {
    let mut grams = HashMap::new();
    let mut places = places.iter();
    for (at, start) in starts.iter().enumerate() {
        let length = at + 1;
        let end = starts.get(at + 1).copied().unwrap_or(pool.len());
        let part = pool.get(*start..end).filter(|part| part.len().is_multiple_of(length));
        let part = part.ok_or_else(|| {
            BuildError::invalid(format!(
                "ngram_counts {starts:?} do not divide a pool of {} words",
                pool.len()
            ))
        })?;
        for gram in part.chunks_exact(length) {
            let place = places.next().copied().ok_or_else(|| {
                BuildError::invalid("there are more n-grams than ngram_indexes".to_owned())
            })?;
            if (lengths.0..=lengths.1).contains(&length) {
                grams.insert(gram.to_vec(), place);
            }
        }
    }
    Ok(grams)
}

impl TfIdfVectorizer {
    /// The numbers of words; of those in no n-gram, one that none has.
    fn numbers(&self, tensor: &Tensor) -> Result<Vec<u32>, OpError> {
        let unknown = u32::MAX;
        match &self.words {
            Words::Texts(words) => {
                let texts = tensor.as_strings()?.iter();
                Ok(texts.map(|text| words.get(text).copied().unwrap_or(unknown)).collect())
            }
            Words::Integers(words) => {
                let integers = tensor.to_i64s()?;
                Ok(integers
                    .iter()
                    .map(|word| words.get(word).copied().unwrap_or(unknown))
                    .collect())
            }
        }
    }

    fn count(&self, row: &[u32], counts: &mut [f32]) {
        let (shortest, longest) = self.lengths;
        let mut gram = Vec::with_capacity(longest.min(row.len()));
        // Words further apart than the row is long are in no n-gram of it.
        for distance in 1..=self.skips_max.saturating_add(1).min(row.len()) {
            for length in shortest..=longest {
                // Single words are the same at any distance.
                if length == 1 && distance > 1 {
                    continue;
                }
                let span = distance.saturating_mul(length - 1);
                for start in 0..row.len().saturating_sub(span) {
                    gram.clear();
                    gram.extend(row[start..].iter().step_by(distance).take(length));
                    if let Some(place) = self.grams.get(&gram) {
                        counts[*place] += 1.0;
                    }
                }
            }
        }
    }
}

impl Operator for TfIdfVectorizer {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let tensor = inputs.tensor(0)?;
        let (rows, length, shape) = match *tensor.shape() {
            [] => (1, 1, vec![self.output]),
            [length] => (1, length, vec![self.output]),
            [rows, length] => (rows, length, vec![rows, self.output]),
            _ => {
                return Err(OpError::shape(format!(
                    "shape {:?}, it should be [words] or [rows, words]",
                    tensor.shape()
                )));
            }
        };
        let mut out = vec![0.0_f32; context.claim(&shape, size_of::<f32>())?];
        let numbers = self.numbers(tensor)?;
        if self.output == 0 || length == 0 {
            return Ok(vec![Tensor::new(shape, out).into()]);
        }
        for (row, counts) in
            numbers.chunks_exact(length).take(rows).zip(out.chunks_exact_mut(self.output))
        {
            self.count(row, counts);
            let weight = |at: usize| self.weights.get(at).copied().unwrap_or(1.0);
            for (at, count) in counts.iter_mut().enumerate() {
                *count = match self.mode {
                    Mode::Frequency => *count,
                    Mode::Presence if *count > 0.0 => weight(at),
                    Mode::Presence => 0.0,
                    Mode::Weighted => *count * weight(at),
                };
            }
        }
        Ok(vec![Tensor::new(shape, out).into()])
    }
}
