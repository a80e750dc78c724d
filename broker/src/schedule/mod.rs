//! Records that are to appear later: put off in a store, delivered when their time has come, cancelled, listed.
//!
//! The decisions are the state machine's (`state/schedule_decide.rs`), and the committer makes them. What is here makes the store,
//! reads it, and asks for what is due.
//!
//! ```text
//! schedule:  store topic made on demand -> Commit { scheduled } (appended to the store, noted in the state)
//! deliver:   alarm -> batches read from the store -> Deliver (appended to the topic and ended, in one commit)
//! tidy:      what lies below the lowest pending offset is trimmed off the store; stragglers move to its end
//! ```
//!
//! Nobody sees a record before its time: it is in no group's window, in no lag, and under no offset of its topic. It is delivered at
//! its time or soon after, once, by kill -9 and power loss undisturbed. Those of one topic are delivered in the order of their time;
//! those of the same moment in the order in which they were scheduled.

mod agenda;
mod broker;
mod delivery;
mod id;
mod store;
mod tidy;

pub(crate) use agenda::{Agendas, Shown};
pub use broker::ScheduleCounts;
pub(crate) use delivery::Deliverer;
pub use id::{ScheduleId, ScheduleIdInvalid};
#[cfg(test)]
pub(crate) use {delivery::find, store::Found, tidy::starts};
