//! The wire contract of EmberMQ: what a broker and its clients in any language agree on.
//!
//! - [`v1`]: the messages of the package `embermq.v1`, generated from `proto/` and committed; with the feature `json`
//!   they speak canonical ProtoJSON through serde.
//! - [`batch`]: record batches as bytes. They are checked and split without being built up, because what a producer
//!   sends is what is stored and what a consumer gets.
//! - [`code`], [`problem`]: every way to fail, with its stable code, statuses and documents.
//! - [`paths`], [`headers`], [`media`]: URLs, header names and media types, shared by server and client.
//! - [`limits`], [`names`]: sizes and names that hold everywhere.
//! - [`client`] (feature `client`): the async Rust client.
//!
//! It knows nothing of the broker: no storage, no server, no clock.

pub mod batch;
#[cfg(feature = "client")]
pub mod client;
pub mod code;
pub mod headers;
pub mod limits;
pub mod media;
pub mod names;
pub mod paths;
#[cfg(feature = "json")]
pub mod problem;
pub mod record;
pub mod time;

pub use code::Code;
pub use names::{GroupName, TopicName};
#[cfg(feature = "json")]
pub use problem::Problem;

#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    clippy::cast_sign_loss,
    clippy::match_same_arms,
    clippy::needless_continue,
    clippy::uninlined_format_args,
    clippy::use_self,
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    reason = "generated; its documentation is that of the proto files"
)]
pub mod v1 {
    //! The package `embermq.v1`, generated from `proto/embermq/v1` (see `tests/generated.rs`).

    include!("generated/embermq.v1.rs");

    #[cfg(feature = "json")]
    include!("generated/embermq.v1.serde.rs");

    /// The package and what it imports as a serialised `google.protobuf.FileDescriptorSet`.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");
}

/// The example of the README compiles.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../../README.md")]
struct Readme;
