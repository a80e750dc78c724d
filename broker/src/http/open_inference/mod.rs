//! The Open Inference Protocol, version 2, over HTTP, with the extension for binary tensors:
//! <https://github.com/kserve/open-inference-protocol>
//!
//! A model's network, tensors in and tensors out, past the log: nothing is kept, nothing is prepared. Requests are read, run and
//! written on the model's own threads. Errors are `{"error": ".."}` with the statuses of the other routes.
//!
//! Limits: a request is a body of [`REQUEST_BYTES_MAX`](embermq_protocol::limits::REQUEST_BYTES_MAX) at most; its tensors may not take
//! more than that either, nor may those of the answer. FP16 and BF16 travel in binary form only.

mod answer;
mod ask;
mod describe;
mod elements;
mod failing;
mod resource;
mod routes;

pub(super) use routes::{ROUTES, schemas};

use embermq_protocol::paths::OPEN_INFERENCE;

/// Whether a path is of this protocol.
pub(super) fn is_ours(path: &str) -> bool {
    path.strip_prefix(OPEN_INFERENCE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
