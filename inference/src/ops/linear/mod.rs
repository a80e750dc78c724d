//! Linear algebra: products of matrices, and convolutions.

mod conv;
mod conv_plain;
mod einsum;
mod equation;
mod fused;
mod gemm;
mod geometry;
mod matmul;
mod packed;
mod replace_nan;
mod widening;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("Conv", conv::build),
    ("Einsum", einsum::build),
    ("Gemm", gemm::build),
    ("MatMul", matmul::build),
];

/// The same with what the planner put behind them. No file may name these.
pub(super) const FUSED: Family = &[
    ("Conv", conv::build_fused),
    ("Gemm", gemm::build_fused),
    ("MatMul", matmul::build_fused),
    ("ReplaceNan", replace_nan::build),
];

pub(crate) use fused::set_activation;
pub(crate) use packed::{Constant, Packs};
