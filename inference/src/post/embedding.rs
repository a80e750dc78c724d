//! One vector for a payload: pooled over positions, of length 1.
//!
//! `pooling = "mean"` averages over the positions that the mask (or the text's length) says are filled, `"cls"` takes the first,
//! `"none"` takes a vector that the model pooled itself.

use serde_json::{Value as Json, json};

use super::{Content, OutputError, Outputs, number, output};
use crate::bundle::{Section, Surroundings};
use crate::tensor::Tensor;

/// How an output becomes a vector.
#[derive(Debug)]
pub(crate) struct Embedding {
    output: usize,
    name: String,
    pooling: Pooling,
    normalise: bool,
    bytes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    Cls,
    Nothing,
}

impl Embedding {
    pub(super) fn read(section: &Section<'_>, around: &Surroundings<'_>) -> Option<Self> {
        let words = [("mean", Pooling::Mean), ("cls", Pooling::Cls), ("none", Pooling::Nothing)];
        if !section.has("pooling") {
            let what = "say how positions become one vector: \"mean\", \"cls\", or \"none\" where the model does it";
            section.problem("pooling", what);
        }
        let pooling = section.choice("pooling", &words);
        let normalise = section.flag("normalise").unwrap_or(true);
        let bytes = if section.has("format") {
            section.choice("format", &[("json", false), ("bytes", true)])?
        } else {
            false
        };
        let at = around.output(section, "output")?;
        let name = around.network.outputs().get(at)?.name.clone();
        Some(Self { output: at, name, pooling: pooling?, normalise, bytes })
    }

    pub(super) fn answer(&self, outputs: &Outputs<'_>) -> Result<Content, OutputError> {
        let tensor = output(outputs, self.output)?;
        let values = tensor.to_f32s().map_err(|error| OutputError::of("output", error))?;
        let mut vector = match self.pooling {
            Pooling::Nothing => values,
            pooling => {
                let shape: Vec<usize> = match outputs.axis {
                    Some(axis) => {
                        let sizes = tensor.shape().iter().enumerate();
                        sizes.filter(|(at, _)| *at != axis).map(|(_, size)| *size).collect()
                    }
                    None => tensor.shape().to_vec(),
                };
                let [positions, width] = shape[..] else {
                    let what = format!(
                        "pooling takes positions and features, the output has the shape {:?}",
                        tensor.shape()
                    );
                    return Err(OutputError::of("pooling", what));
                };
                pooled(&values, positions, width, pooling, outputs)?
            }
        };
        if self.normalise {
            normalise(&mut vector);
        }
        Ok(if self.bytes {
            Content::Tensors(vec![(self.name.clone(), Tensor::new([vector.len()], vector))])
        } else {
            let numbers: Vec<Json> = vector.iter().map(|value| number::short(*value)).collect();
            Content::Json(json!({ "embedding": numbers }))
        })
    }
}

fn pooled(
    values: &[f32],
    positions: usize,
    width: usize,
    pooling: Pooling,
    outputs: &Outputs<'_>,
) -> Result<Vec<f32>, OutputError> {
    if positions == 0 || width == 0 {
        return Err(OutputError::of("pooling", "the output has no positions to pool"));
    }
    if pooling == Pooling::Cls {
        return Ok(values.iter().take(width).copied().collect());
    }
    let counts: Vec<bool> = match outputs.mask {
        Some(mask) => {
            let bits = mask.to_i64s().map_err(|error| OutputError::of("pooling", error))?;
            bits.iter().map(|bit| *bit != 0).collect()
        }
        None => (0..positions).map(|at| outputs.length.is_none_or(|length| at < length)).collect(),
    };
    if counts.len() != positions {
        let what = format!("the output has {positions} positions, the mask {}", counts.len());
        return Err(OutputError::of("pooling", what));
    }
    let mut sums = vec![0.0_f32; width];
    let mut filled = 0.0_f32;
    for (row, _) in values.chunks_exact(width).zip(&counts).filter(|(_, counts)| **counts) {
        filled += 1.0;
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    if filled > 0.0 {
        sums.iter_mut().for_each(|sum| *sum /= filled);
    }
    Ok(sums)
}

/// Divides by the Euclidean length; a vector of nothing stays one.
fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "back to where it came from")]
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pooling: Pooling, mask: Option<&Tensor>, length: Option<usize>) -> Vec<f32> {
        let post =
            Embedding { output: 0, name: "y".into(), pooling, normalise: false, bytes: true };
        let tensors = [Tensor::new([1, 3, 2], vec![1.0_f32, 2.0, 3.0, 4.0, 50.0, 60.0])];
        let outputs = Outputs { tensors: &tensors, axis: Some(0), count: 1, mask, length };
        match post.answer(&outputs).unwrap() {
            Content::Tensors(tensors) => tensors[0].1.f32s().unwrap().to_vec(),
            Content::Json(json) => panic!("{json}"),
        }
    }

    #[test]
    fn only_filled_positions_count() {
        assert_eq!(answer(Pooling::Mean, None, Some(2)), [2.0, 3.0]);
        let mask = Tensor::new([1, 3], vec![1_i64, 0, 1]);
        assert_eq!(answer(Pooling::Mean, Some(&mask), Some(2)), [25.5, 31.0]);
        assert_eq!(answer(Pooling::Cls, None, None), [1.0, 2.0]);
        assert_eq!(answer(Pooling::Nothing, None, None).len(), 6);
        let none = Tensor::new([1, 3], vec![0_i64; 3]);
        assert_eq!(answer(Pooling::Mean, Some(&none), None), [0.0, 0.0]);
    }

    #[test]
    fn vectors_have_length_one() {
        let mut vector = [3.0, 4.0];
        normalise(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut nothing = [0.0, 0.0];
        normalise(&mut nothing);
        assert_eq!(nothing, [0.0, 0.0]);
    }
}
