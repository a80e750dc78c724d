//! `/v1/models`: registering, naming, showing and deleting models.

mod calls;
mod json;
mod resource;
mod routes;
mod upload;

pub(super) use calls::{models_of, name, part};
pub(super) use routes::{ROUTES, schemas};
