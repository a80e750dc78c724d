//! The model registry: which models there are, and who said so when.
//!
//! Every change is an event in the topic [`TOPIC`], which is an ordinary topic that nothing else writes to. What is true now is a fold over
//! it ([`Registry`]), and so is what was true at any offset. The files of a version lie in the data folder by their
//! digest (`store`), written before the event that names them and removed after the one that ends them.

mod direct;
mod error;
mod event;
mod host;
mod loads;
mod meter;
mod name;
#[cfg(feature = "inference")]
mod onnx;
#[cfg(feature = "inference")]
mod onnx_tensors;
mod overrides;
mod registry;
mod store;
pub(crate) mod sums;
mod tensors;
mod upload;

pub use direct::{Direct, DirectError, DirectOptions, Serving};
pub use error::ModelError;
pub use event::{Event, EventKind};
pub(crate) use host::LOAD_TIMEOUT;
pub use host::{Loader, Models, Registered, Upload};
pub use meter::{LoadedModel, ModelMeter};
pub use name::{Alias, Digest, ModelName, ModelRef, NameInvalid, Selector, Version};
#[cfg(feature = "inference")]
pub use onnx::OnnxLoader;
pub use overrides::Overrides;
pub use registry::{ModelState, Registry, VersionState};
pub use tensors::{Datatype, Elements, RawTensor, TensorFault, TensorModel, TensorPort};

/// The topic of the registry's events.
pub const TOPIC: &str = "_models";
