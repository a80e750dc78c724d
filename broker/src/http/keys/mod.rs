//! Keys over HTTP: `/v1/topics/{topic}/keys/..` for people, and the methods of `RecordService` that read by key.
//!
//! `resource` reads REST requests and `answer` writes their answers; `calls` are the functions that REST and Connect share, in
//! the messages of the contract. `expected` reads what produce and commits expect of keys.

mod answer;
mod calls;
mod expected;
mod resource;
mod routes;

pub(super) use calls::{list_keys, read_key, read_key_history};
pub(super) use expected::{JsonKeyVersion, key_version_is, of_message, of_produce};
pub(super) use resource::is_empty_key;
pub(super) use routes::{ROUTES, schemas};
