//! ONNX files: the messages, and what they are turned into.
//!
//! The format is `proto/onnx/` of ONNX 1.19.1 (Apache-2.0). Weights are slices of the mapped file.

mod census;
mod external;
mod file;
mod tensors;

pub(crate) use external::{ExternalData, open_beneath};
pub(crate) use file::ModelFile;
pub(crate) use tensors::read_tensor;

/// The messages, generated from `proto/onnx/`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    rustdoc::all,
    reason = "generated"
)]
pub(crate) mod proto {
    include!("generated/onnx.rs");
}
