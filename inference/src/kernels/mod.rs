//! What is hot on the CPU: products of matrices, convolutions, and what is fused behind them.
//!
//! Everything is written over arrays of [`lanes::LANES`] floats that the compiler turns into vector instructions, in functions that
//! [`lanes::dispatch`] compiles for the machine's wider vectors where it has them. What lies in the hot loops is `#[inline(always)]`: a call
//! would fall back to the narrow ones. The sizes are for caches of 32 KiB and 512 KiB per core.

#![allow(
    clippy::needless_range_loop,
    reason = "indices over arrays of a constant size become vector instructions, iterators not always"
)]

mod activation;
mod depthwise;
mod lanes;
mod pool;
mod product;
mod tile;
mod window;

pub(crate) use activation::Activation;
pub(crate) use depthwise::{Depthwise, depthwise};
pub(crate) use pool::{buffer, recycle_tensor};
pub(crate) use product::{Epilogue, PackedColumns, Product, RowMajor, Transposed};
pub(crate) use window::{Padded, Window};
