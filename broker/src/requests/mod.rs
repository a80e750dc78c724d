//! Requests: a record that somebody wants the answer to, and what became of it.
//!
//! A request is a record of a topic and a stage that reads it. Its id says which (sealed, as lease tokens are), so nothing is kept
//! for a request that is under way: whether it is queued, running or failed is what the stage's group says of the record.
//!
//! What it ended with is found by a *pointer*: the commit that ends a record with the header [`CALL_HEADER`] also appends to the topic
//! [`TOPIC`], by the record's place, where its output or dead letter went. It has the log time of that commit, and
//! so has the output, which is thereby found by time. Whoever waits while it ends is told by `Notices` and needs no pointer.
//!
//! Limits: pointers are kept for [`RESULT_AGE`]; a record that ended without one (it was produced without the header, or buried when its
//! last lease lapsed) is looked for among the dead letters, in a bounded part of them.

mod answering;
mod id;
mod notices;
mod pointer;
mod state;
#[cfg(test)]
mod tests;

pub use id::RequestId;
pub(crate) use notices::{Ending, Notices};
pub use pointer::{CALL_HEADER, RESULT_AGE, TOPIC};
pub(crate) use pointer::{Ended, ensure_topic, pointer_of, wants_answer};
pub use state::{Found, RequestError, RequestState, RequestView};
