//! `records:call` and `/v1/requests`: a record that is produced and answered in one request, or asked after later.
//!
//! The record is committed before anything is waited for, so whatever becomes of the connection, the stage works on it. A wait holds
//! no body and ends at its time, or when its client leaves (`caller`) or the server closes.

mod answer;
mod call;
mod prefer;
mod routes;
mod show;

pub(super) use routes::{ROUTES, schemas};
