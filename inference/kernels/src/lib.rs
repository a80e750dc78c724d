//! What is hot on the CPU: products of matrices, convolutions, and what is fused behind them.
//!
//! A crate of its own, so that it is optimised in every build: see the profiles of the workspace. For the same reason nothing that it
//! offers is generic: generic code is compiled, and optimised or not, where it is used.
//!
//! Everything is written over arrays of `lanes::LANES` floats that the compiler turns into vector instructions, in functions that
//! `lanes::dispatch` compiles for the machine's wider vectors where it has them. What lies in the hot loops is `#[inline(always)]`: a call
//! would fall back to the narrow ones. The sizes are for caches of 32 KiB and 512 KiB per core.

#![allow(
    clippy::needless_range_loop,
    reason = "indices over arrays of a constant size become vector instructions, iterators not always"
)]

mod activation;
mod columns;
mod depthwise;
mod epilogue;
mod frame;
mod lanes;
mod pages;
mod pool;
mod product;
mod rows;
mod tile;
mod window;

pub use activation::Activation;
pub use columns::{PackedColumns, Right, RowMajor, Transposed};
pub use depthwise::{Depthwise, depthwise};
pub use epilogue::Epilogue;
pub use pages::Pages;
pub use pool::{Buffer, FLOATS_MIN, recycle};
pub use product::Product;
pub use rows::{Left, LyingRows, PackedRows};
pub use window::{Padded, Window};
