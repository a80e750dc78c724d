//! The HTTP side: REST for people and curl, Connect for generated clients, both on one port over HTTP/1.1 and HTTP/2.
//!
//! A request goes: `server` (accept loop, limits of a connection) -> `exchange` (name, head bound, net for panics,
//! rendering of failures) -> `routes` (the one table) -> a resource (`topics`, `produce`, `fetch`, `groups`, `keys`,
//! `commits`, `connect`). Resources decide nothing: they read the request, call the broker, write the answer. REST and Connect
//! call the same functions. Every failure is a `Failure` with a code of the one enum and is rendered in one place.
//!
//! What bounds memory: a body's length is checked against its route and taken from the broker's byte budget before a byte
//! is read; elements are counted before anything is built from them; answers count until they are taken (`held`); a slow sender and a
//! slow reader are cut off.

mod append;
mod attached;
mod awaiting;
mod body;
mod caller;
mod catalog;
mod closing;
mod commits;
mod connect;
mod errors;
mod exchange;
mod failure;
mod fetch;
mod fingerprint;
mod groups;
mod health;
mod held;
pub(crate) mod json;
mod keys;
mod media;
mod messages;
mod metrics;
mod models;
mod named;
mod open_inference;
mod openapi;
mod options;
mod patience;
mod places;
mod portions;
mod produce;
mod protobuf;
mod query;
mod render;
mod repeat;
mod requests;
mod routes;
mod schedules;
mod server;
mod shared;
mod span;
mod stages;
mod topics;
mod webhooks;

pub use options::ServeOptions;
pub use server::{Server, serve};
pub use shared::Serving;
