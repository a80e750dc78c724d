//! Models in process: any ONNX file, at run time, on [burn](https://burn.dev).
//!
//! A model file is read once ([`Network::open`]): decoded, checked with everything that is wrong reported at once,
//! planned, and from then on run by any number of threads ([`Network::run`]). Nothing here knows topics or records.
//!
//! From the file to the answer: `onnx` decodes, `graph` reads and sorts, `plan` improves and orders, `run`
//! executes `ops` over [`Tensor`]s.

mod bundle;
mod byte_count;
mod cancel;
mod clock;
mod describe;
mod device;
mod dtype;
mod error;
mod graph;
#[cfg(test)]
mod hostile;
mod jpeg;
mod json;
mod limits;
mod mapping;
mod model;
mod nearest;
mod network;
mod on_burn;
mod onnx;
mod ops;
mod plan;
mod post;
mod pre;
mod profile;
mod run;
mod samples;
mod tensor;
mod value;

pub mod conformance;
#[cfg(feature = "shipped")]
pub mod shipped;

pub use bundle::{BundleProblem, OpenError, Overrides};
pub use byte_count::ByteCount;
pub use cancel::Cancel;
pub use clock::{Clock, SystemClock};
pub use describe::{Description, OperatorUse};
pub use device::{Device, DeviceError};
pub use dtype::DType;
pub use error::{LoadError, OpError, Problem, RunError};
pub use graph::{Dim, ValueType};
pub use limits::Limits;
pub use model::{
    Answer, GoldenMismatch, InferError, InstanceOptions, Instances, Model, ModelOptions, Payload,
    Refused, Results, Stage, StartError, Times, WarmUp, Warmed,
};
pub use network::{Network, Port};
pub use post::Content;
pub use profile::StepTime;
pub use samples::{Fill, Sizes, made_up};
pub use tensor::{Shape, Tensor, elements_of};
pub use value::Value;

/// The operators that can be run: their names, with the domain where that is not the default one.
#[must_use]
pub fn operators() -> Vec<String> {
    ops::names()
}
