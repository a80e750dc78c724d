//! `/v1/stages`: putting, showing, pausing and removing stages.

mod json;
mod resource;
mod routes;

pub(super) use resource::{group_taken, stage_name, stages_of};
pub(super) use routes::{ROUTES, schemas};
