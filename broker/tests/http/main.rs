//! The HTTP side from outside: a real listener, real requests, the real broker behind it.
//!
//! Nothing here sleeps or measures time: limits are made tiny through `ServeOptions`, and tests wait for states.

#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod answers_in_headers;
mod calls;
mod commits;
mod complaints;
mod connect;
mod connections;
mod dead_letters;
mod events;
mod fetch;
mod groups;
mod harness;
mod keys;
mod leases;
mod open_inference;
mod operations;
mod produce;
mod refusals;
mod reserved;
mod schedules;
mod stage_metrics;
mod stages;
mod stages_in_change;
mod topics;
mod unread;
mod webhooks;
