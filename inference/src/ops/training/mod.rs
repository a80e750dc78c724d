//! Optimisers: the domain `ai.onnx.preview.training`.
//!
//! `Gradient` is not among them: what runs here is never trained.

mod optimiser;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("Adagrad", optimiser::build_adagrad),
    ("Adam", optimiser::build_adam),
    ("Momentum", optimiser::build_momentum),
];
