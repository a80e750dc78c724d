//! From the model's outputs to the answer to one payload, as `[post]` of the manifest says.

mod classes;
mod embedding;
mod every;
mod labels;
mod number;

use serde_json::Value as Json;

use crate::bundle::{Section, Surroundings};
use crate::tensor::Tensor;
use classes::Classes;
use embedding::Embedding;
use every::Every;

/// The outputs of a model for one payload, and what is known of its inputs.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    /// In the model's order; with the batch axis.
    pub(crate) tensors: &'a [Tensor],
    /// The batch axis, if there is one.
    pub(crate) axis: Option<usize>,
    /// Size of that axis.
    pub(crate) count: usize,
    /// Which positions of a text count: 1 or 0 each.
    pub(crate) mask: Option<&'a Tensor>,
    /// Positions of a text that are filled.
    pub(crate) length: Option<usize>,
}

/// The outputs are not what the manifest takes them for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct OutputError {
    /// The key of `[post]` that takes them for it.
    pub(crate) key: &'static str,
    pub(crate) what: String,
}

impl OutputError {
    fn of(key: &'static str, what: impl ToString) -> Self {
        Self { key, what: what.to_string() }
    }
}

/// What an answer says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Content {
    /// For people and programs.
    Json(Json),
    /// As the model gave them: name and tensor.
    Tensors(Vec<(String, Tensor)>),
}

impl Content {
    /// The media type of [`to_bytes`](Self::to_bytes).
    #[must_use]
    pub const fn media_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json",
            Self::Tensors(_) => "application/octet-stream",
        }
    }

    /// JSON text, or the raw little-endian elements of the tensors, one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Json(json) => json.to_string().into_bytes(),
            Self::Tensors(tensors) => {
                let bytes: usize = tensors.iter().map(|(_, tensor)| tensor.raw().len()).sum();
                let mut all = Vec::with_capacity(bytes);
                for (_, tensor) in tensors {
                    all.extend_from_slice(tensor.raw());
                }
                all
            }
        }
    }

    /// The same as JSON: tensors with their shapes and elements.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Json(json) => json.clone(),
            Self::Tensors(tensors) => every::described(tensors),
        }
    }
}

/// How answers are made.
#[derive(Debug)]
pub(crate) enum Post {
    Classes(Box<Classes>),
    Embedding(Embedding),
    Every(Every),
}

#[derive(Clone, Copy)]
enum Kind {
    Classes,
    Embedding,
    Tensors,
    Values,
}

const KINDS: [(&str, Kind); 4] = [
    ("classes", Kind::Classes),
    ("embedding", Kind::Embedding),
    ("tensors", Kind::Tensors),
    ("values", Kind::Values),
];

impl Post {
    /// Reads `[post]`.
    pub(crate) fn read(section: Section<'_>, around: &Surroundings<'_>) -> Option<Self> {
        let kind = if section.has("kind") {
            section.choice("kind", &KINDS)?
        } else {
            if section.is_there() {
                let what = "it needs a kind: \"classes\", \"embedding\", \"tensors\" or \"values\"";
                section.problem("", what);
            }
            Kind::Values
        };
        let post = match kind {
            Kind::Classes => Classes::read(&section, around).map(Box::new).map(Self::Classes),
            Kind::Embedding => Embedding::read(&section, around).map(Self::Embedding),
            Kind::Tensors => Every::read(&section, around, false).map(Self::Every),
            Kind::Values => Every::read(&section, around, true).map(Self::Every),
        };
        match post {
            Some(_) => section.finish(),
            None => section.finish_early(),
        }
        post
    }

    /// The answer to a payload.
    pub(crate) fn answer(&self, outputs: &Outputs<'_>) -> Result<Content, OutputError> {
        if outputs.count != 1 && !matches!(self, Self::Every(_)) {
            let what = format!(
                "the payload brought {} rows; answers of this kind are for one",
                outputs.count
            );
            return Err(OutputError::of("kind", what));
        }
        match self {
            Self::Classes(post) => post.answer(outputs),
            Self::Embedding(post) => post.answer(outputs),
            Self::Every(post) => post.answer(outputs),
        }
    }

    /// The answer when the label is known without the model.
    pub(crate) fn answer_for(&self, label: &str) -> Content {
        match self {
            Self::Classes(post) => post.answer_for(label),
            _ => Content::Json(serde_json::json!({ "label": label })),
        }
    }
}

/// The output at a place.
fn output<'a>(outputs: &Outputs<'a>, at: usize) -> Result<&'a Tensor, OutputError> {
    let none = || OutputError::of("output", format!("there is no output {at}"));
    outputs.tensors.get(at).ok_or_else(none)
}

/// Whether a tensor of floats has one that is no finite number.
pub(crate) fn has_nonfinite(tensor: &Tensor) -> bool {
    use crate::dtype::{DType, for_dtype};
    use half::{bf16, f16};
    match tensor.dtype() {
        DType::F32 => tensor.get::<f32>().is_some_and(|all| all.iter().any(|v| !v.is_finite())),
        other => for_dtype!(other, T in [f64, f16, bf16], {
            tensor.get::<T>().is_some_and(|all| all.iter().any(|value| !value.is_finite()))
        }, else { false }),
    }
}
