//! From a payload's bytes to the model's inputs, as `[pre]` of the manifest says.
//!
//! Payloads come from anyone: every kind bounds the bytes that it reads before it takes memory for what is in them, and a payload that
//! cannot be read is an error of that payload alone.

mod bytes;
mod image;
mod json;
mod numbers;
mod tensor;
mod text;

use crate::bundle::{Section, Surroundings, declared};
use crate::byte_count::ByteCount;
use crate::dtype::DType;
use crate::network::Port;
use crate::tensor::Tensor;
use bytes::BytesPre;
use image::ImagePre;
use json::JsonPre;
use tensor::TensorPre;
use text::TextPre;

/// Why a payload is not what the model reads. Sending it again will not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PayloadError(pub(crate) String);

impl PayloadError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// A payload, made ready.
#[derive(Clone, Debug)]
pub(crate) enum Prepared {
    /// To be run.
    Row(Row),
    /// The answer is this label, whatever the model would say.
    Label(String),
}

/// The inputs of one payload, in the model's order.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) inputs: Vec<Tensor>,
    /// Size of the batch axis; 1 unless the payload brings its own batch.
    pub(crate) count: usize,
    /// Positions along the length axis that are filled, for inputs that are padded.
    pub(crate) length: Option<usize>,
}

/// How payloads are read.
#[derive(Debug)]
pub(crate) enum Pre {
    Image(ImagePre),
    Text(Box<TextPre>),
    Bytes(BytesPre),
    Json(JsonPre),
    Tensor(TensorPre),
}

#[derive(Clone, Copy)]
enum Kind {
    Image,
    Text,
    Bytes,
    Json,
    Tensor,
}

const KINDS: [(&str, Kind); 5] = [
    ("image", Kind::Image),
    ("text", Kind::Text),
    ("bytes", Kind::Bytes),
    ("json", Kind::Json),
    ("tensor", Kind::Tensor),
];

impl Pre {
    /// Reads `[pre]`. `axis`: the batch axis of every input, if they have one. `alone`: payloads run one by one.
    pub(crate) fn read(
        section: Section<'_>,
        around: &Surroundings<'_>,
        axis: Option<usize>,
        alone: bool,
    ) -> Option<Self> {
        let kind = if section.has("kind") {
            section.choice("kind", &KINDS)?
        } else {
            if section.is_there() {
                section.problem(
                    "",
                    "it needs a kind: \"image\", \"text\", \"bytes\", \"json\" or \"tensor\"",
                );
            }
            Kind::Json
        };
        let pre = match kind {
            Kind::Image => ImagePre::read(&section, around, axis).map(Self::Image),
            Kind::Text => TextPre::read(&section, around, axis).map(Box::new).map(Self::Text),
            Kind::Bytes => BytesPre::read(&section, around, axis).map(Self::Bytes),
            Kind::Json => JsonPre::read(&section, around, axis, alone).map(Self::Json),
            Kind::Tensor => TensorPre::read(&section, around, axis, alone).map(Self::Tensor),
        };
        match pre {
            Some(_) => section.finish(),
            None => section.finish_early(),
        }
        pre
    }

    /// Reads a payload.
    pub(crate) fn prepare(&self, payload: &[u8]) -> Result<Prepared, PayloadError> {
        match self {
            Self::Image(pre) => pre.prepare(payload).map(Prepared::Row),
            Self::Text(pre) => pre.prepare(payload).map(Prepared::Row),
            Self::Bytes(pre) => pre.prepare(payload),
            Self::Json(pre) => pre.prepare(payload).map(Prepared::Row),
            Self::Tensor(pre) => pre.prepare(payload).map(Prepared::Row),
        }
    }

    /// Whether any text can be a payload.
    pub(crate) const fn takes_any_text(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Bytes(_))
    }

    /// Lengths that texts are padded to. Empty: to the longest that run together, or there are no texts.
    pub(crate) fn lengths(&self) -> &[usize] {
        match self {
            Self::Text(pre) => pre.lengths(),
            _ => &[],
        }
    }

    /// Whether rows differ in length until they are padded to the longest.
    pub(crate) fn is_ragged(&self) -> bool {
        matches!(self, Self::Text(pre) if pre.lengths().is_empty())
    }

    /// Pads rows that run together to the longest of them.
    pub(crate) fn pad(&self, rows: &mut [Row]) {
        if let Self::Text(pre) = self
            && self.is_ragged()
        {
            pre.pad(rows);
        }
    }

    /// The input that says which positions of a text count.
    pub(crate) fn mask_input(&self) -> Option<usize> {
        match self {
            Self::Text(pre) => pre.mask_input(),
            _ => None,
        }
    }

    /// A row of nothing in particular, of a length where that can be chosen. `None`: its shape cannot be known beforehand.
    pub(crate) fn sample(&self, length: Option<usize>, ports: &[Port]) -> Option<Row> {
        match self {
            Self::Image(pre) => pre.sample(),
            Self::Text(pre) => Some(pre.sample(length)),
            Self::Bytes(pre) => Some(pre.sample()),
            Self::Json(pre) => pre.sample(ports),
            Self::Tensor(pre) => pre.sample(ports),
        }
    }
}

/// The only input of a model, for kinds that make one; with its element type, which has to be one of a few.
fn only_input(
    section: &Section<'_>,
    around: &Surroundings<'_>,
    dtypes: &[DType],
) -> Option<(usize, DType)> {
    let ports = around.network.inputs();
    let at = around.input(section, "input")?;
    if ports.len() > 1 {
        let what = format!("this kind fills one input, the model has {}", ports.len());
        section.problem("kind", what);
        return None;
    }
    Some((at, dtype_among(section, ports.get(at)?, dtypes)?))
}

/// A port's element type, if it is one of a few.
fn dtype_among(section: &Section<'_>, port: &Port, dtypes: &[DType]) -> Option<DType> {
    let (dtype, _) = declared(port);
    let found = dtype.filter(|dtype| dtypes.contains(dtype));
    if found.is_none() {
        let names: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
        let what = format!(
            "this kind fills inputs of {}, {:?} is {}",
            names.join(", "),
            port.name,
            port.value_type
        );
        section.problem("kind", what);
    }
    found
}

/// A row's shape: with the batch axis, if there is one.
fn with_axis(shape: &[usize], axis: Option<usize>) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(axis) = axis {
        shape.insert(axis.min(shape.len()), 1);
    }
    shape
}

/// Refuses payloads that are larger than a kind reads.
fn check_bytes(payload: &[u8], bytes_max: usize) -> Result<(), PayloadError> {
    if payload.len() > bytes_max {
        let (found, allowed) = (ByteCount(payload.len() as u64), ByteCount(bytes_max as u64));
        let what = format!("the payload has {found}, pre.bytes_max allows {allowed}");
        return Err(PayloadError(what));
    }
    Ok(())
}
