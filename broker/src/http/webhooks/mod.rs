//! `/v1/webhooks`: putting, showing, pausing, testing and removing webhooks.

mod json;
mod resource;
mod routes;

pub(super) use routes::{ROUTES, schemas};
