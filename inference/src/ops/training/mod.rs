//! Optimisers: the domain `ai.onnx.preview.training`.

use super::Family;

pub(super) const FAMILY: Family = &[];
