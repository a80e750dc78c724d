//! Opening and decoding a model file.

use std::path::{Path, PathBuf};

use prost::Message;

use super::census::decoded_bytes;
use super::proto::ModelProto;
use crate::byte_count::ByteCount;
use crate::error::{LoadError, Problem};
use crate::limits::Limits;
use crate::mapping::{self, Mapping};

/// Any model may take this much once it is decoded.
const DECODED_BYTES_MIN: u64 = 256 << 20;

/// A decoded model. Its byte fields are slices of the file, which stays mapped while they live.
#[derive(Debug)]
pub(crate) struct ModelFile {
    pub(crate) path: PathBuf,
    pub(crate) proto: ModelProto,
    pub(crate) mapping: Mapping,
}

impl ModelFile {
    /// Maps and decodes a file.
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self, LoadError> {
        let mapping = mapping::read(path, limits.file_bytes_max)
            .map_err(|source| LoadError::Io { file: path.to_owned(), source })?;
        Self::decode(path, mapping, limits)
    }

    /// Decodes a file that is in memory. `path` says where external data would lie.
    pub(crate) fn decode(
        path: &Path,
        mapping: Mapping,
        limits: &Limits,
    ) -> Result<Self, LoadError> {
        let bytes = mapping.bytes();
        if bytes.len() as u64 > limits.file_bytes_max {
            let what = format!(
                "the file has {}, a model may have {}",
                ByteCount(bytes.len() as u64),
                ByteCount(limits.file_bytes_max)
            );
            return Err(LoadError::Problems(vec![Problem::Limit { what }]));
        }
        // Weights that are spelt out as numbers take about as much as in the file; what goes beyond that is structure.
        let decoded_max = DECODED_BYTES_MIN.saturating_add(3 * bytes.len() as u64);
        if decoded_bytes(bytes, decoded_max) > decoded_max {
            let what = format!("decoding the file would take more than {}", ByteCount(decoded_max));
            return Err(LoadError::Problems(vec![Problem::Limit { what }]));
        }
        let not_onnx = |what: String| LoadError::NotOnnx { file: path.to_owned(), what };
        let proto =
            ModelProto::decode(bytes.clone()).map_err(|error| not_onnx(error.to_string()))?;
        if proto.graph.is_none() {
            return Err(not_onnx("it has no graph".to_owned()));
        }
        Ok(Self { path: path.to_owned(), proto, mapping })
    }
}
