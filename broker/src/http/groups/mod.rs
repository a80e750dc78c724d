//! Groups over HTTP: `/v1/topics/{topic}/groups/..` for people, and the methods of `GroupService`.
//!
//! A request goes: `resource` (PUT, GET, PATCH, DELETE) or `verbs` (POST with `:lease`, `:ack`, ..) or `letters` (GET) -> `asked` (what every
//! REST request of a group has) -> `calls`, the functions that REST and Connect share, in the messages of the contract ->
//! the broker. Conversions between messages and the broker's types are in `convert`, those between messages and the
//! JSON of people in `json`.

mod asked;
mod calls;
mod convert;
mod json;
mod letters;
mod resource;
mod routes;
mod schemas;
mod verbs;

pub(super) use asked::place_of;
pub(super) use calls::{
    create_group, delete_group, get_group, lease_message, list_dead_letters, list_groups, redrive,
    seek, settle, update_group,
};
pub(super) use convert::{settled_message, settlements};
pub(super) use json::{SettlementLists, result_out};
pub(super) use routes::ROUTES;
pub(super) use schemas::schemas;
