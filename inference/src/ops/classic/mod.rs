//! Classical machine learning: the domain `ai.onnx.ml`.

use super::Family;

pub(super) const FAMILY: Family = &[];
