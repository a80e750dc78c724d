//! Operators over quantised numbers: QuantizeLinear and what computes with its results.
//!
//! Products are summed up in 32-bit integers, which wrap as the specification has it.

mod blocks;
mod convolution;
mod dequantize;
mod dynamic;
mod product;
mod quantize;
mod requantize;
mod window;

use super::Family;

pub(super) const FAMILY: Family = &[
    ("ConvInteger", convolution::build),
    ("DequantizeLinear", dequantize::build),
    ("DynamicQuantizeLinear", dynamic::build),
    ("MatMulInteger", product::build),
    ("QLinearConv", convolution::build_requantized),
    ("QLinearMatMul", product::build_requantized),
    ("QuantizeLinear", quantize::build),
];
